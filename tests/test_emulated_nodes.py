"""Nodes that are slowed on purpose: how long they take, and what they say of their pace."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge_node.node import EdgeNode
from edge_node.settings import Settings as EdgeSettings
from tests.aio import async_test
from tests.bundles import bundle_of
from tests.profiles import profile_of
from tests.sites import SITE_URL, Site, new_site
from tiercut.bus.memory import MemoryBus
from tiercut.clock import ManualClock
from tiercut.pipeline.jobs import Arrays
from tiercut.pipeline.segment_runner import SegmentName
from tiercut.profiling.machine import this_machine
from tiercut.profiling.predictor import load_predictor
from tiercut.profiling.wire import decode_profile
from tiercut.protocol.topics import PROFILE


@pytest.fixture
def site() -> Site:
    return new_site(bundle_of("chain").folder.parent)


@pytest.mark.parametrize(
    ("slowdown", "runs_s", "takes_s"),
    [
        (50.0, [0.005, 0.002, 0.001, 0.001, 0.001], 0.05),  # the first was waking up
        (50.0, [0.02], 1.0),  # a long one is not run again
        (1.5, [0.004], 0.006),  # nor is one where another run would be too long
    ],
)
def test_slowed_segment_takes_a_multiple_of_its_quickest_run(
    site: Site, monkeypatch: pytest.MonkeyPatch, slowdown: float, runs_s: list[float], takes_s: float
) -> None:
    clock, left = ManualClock(), list(runs_s)
    settings = EdgeSettings(**site.common("e", emulated_slowdown=slowdown))
    edge = EdgeNode(settings, open_bus=site.opener("e"), clock=clock)
    monkeypatch.setattr("tiercut.pipeline.segment_runner.time.sleep", clock.advance)
    started_s = clock.monotonic_s()
    clock.advance(left.pop(0))
    edge.frames.segments.take_longer(lambda: clock.advance(left.pop(0)), started_s)
    assert clock.monotonic_s() - started_s == pytest.approx(takes_s)


@async_test
@pytest.mark.parametrize(("profiled", "least", "most"), [(False, 100.0, 1e4), (True, 1.0, 90.0)])
async def test_pace_counts_the_slowdown_unless_the_profile_has_it(
    site: Site, *, profiled: bool, least: float, most: float
) -> None:
    edge = site.edge(emulated_slowdown=100.0, emulated_profile=profiled)
    await edge.load.measure()
    assert least <= edge.load.figures()["pace"] < most


@async_test
async def test_slowed_segment_takes_as_long_as_the_slowed_nodes_profile_says(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle, clock = bundle_of("chain"), ManualClock()
    settings = EdgeSettings(**site.common("e", emulated_slowdown=10.0, emulated_profile=True))
    edge = EdgeNode(settings, open_bus=site.opener("e"), clock=clock)
    monkeypatch.setattr("tiercut.pipeline.segment_runner.time.sleep", clock.advance)
    profile = replace(profile_of(tuple(float(k) for k in range(bundle.end + 1))), model=bundle.model)
    edge.frames.segments.profiled(profile)
    arrays = {spec.name: np.zeros(spec.shape, spec.dtype) for spec in bundle.cuts[1].tensors}
    name = SegmentName(bundle.model, 1, 3, "full")
    assert edge.frames.segments.run(name, arrays)[1] == pytest.approx(2.0)
    edge.frames.segments.slowdown = 15.0  # it has become busier than when it was profiled
    assert edge.frames.segments.run(name, arrays)[1] == pytest.approx(3.0)


@async_test
async def test_segment_that_the_profile_does_not_know_is_slowed_as_without_one(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle, clock = bundle_of("chain"), ManualClock()
    settings = EdgeSettings(**site.common("e", emulated_slowdown=10.0, emulated_profile=True))
    edge = EdgeNode(settings, open_bus=site.opener("e"), clock=clock)
    monkeypatch.setattr("tiercut.pipeline.segment_runner.time.sleep", clock.advance)
    profile = replace(profile_of((0.0, 1.0, 2.0)), model=bundle.model)  # of a shorter model
    edge.frames.segments.profiled(profile)
    loaded = edge.frames.segments._models.segment

    def segment_of_20_ms(*name: object) -> object:
        run = loaded(*name)  # type: ignore[arg-type]

        def slow(arrays: Arrays) -> Arrays:
            clock.advance(0.02)
            return run(arrays)

        return slow

    monkeypatch.setattr(edge.frames.segments._models, "segment", segment_of_20_ms)
    arrays = {spec.name: np.zeros(spec.shape, spec.dtype) for spec in bundle.cuts[1].tensors}
    assert edge.frames.segments.run(SegmentName(bundle.model, 1, 3, "full"), arrays)[1] == pytest.approx(0.2)


@async_test
async def test_slowed_node_without_a_stored_profile_is_the_same_on_all_machines(site: Site, tmp_path: Path) -> None:
    bundle = bundle_of("chain")
    edge = site.edge(emulated_slowdown=40.0, emulated_profile=True, profiles=tmp_path)
    async with MemoryBus(site.brokers[SITE_URL]) as bus, site.running(edge), asyncio.timeout(20):
        topic = PROFILE.of(site="home", tier="edge", node="e", model=bundle.model)
        said = decode_profile((await anext(aiter(await bus.subscribe(topic)))).payload)
    usual = load_predictor().predict(bundle, scale=1.0, machine=this_machine(1))
    assert said.cut_seconds == pytest.approx([40 * each for each in usual.cut_seconds])
