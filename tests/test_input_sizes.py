"""Input sizes as variants: frames follow their plan's size, at a change and when sent again, and plans choose sizes."""

from __future__ import annotations

import asyncio
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import iot_node.stream
from broker.coordination.goals import goal_of
from iot_node.stream import Stream
from tests.aio import async_test, until
from tests.bundles import exits_bundle
from tests.coordinating import Told
from tests.profiles import profile_of
from tests.sites import ON_NO_BUS, Outcomes, by_hand, new_site
from tests.test_codec_table import table_of
from tests.test_exits_site import expected, grey, publish
from tiercut.clock import ManualClock
from tiercut.coordinator.events import ProfileHeard, StreamWanted
from tiercut.model.bundle import Bundle
from tiercut.pipeline.jobs import Job
from tiercut.plan import Plan
from tiercut.profiling.codec_table_file import write_table
from tiercut.protocol.nodes import StreamPlan
from tiercut.protocol.stream_settings import StreamSettings as Planned

SMALL = "full@8"
SHAPES = {"full": (1, 16, 16, 1), SMALL: (1, 8, 8, 1)}


@pytest.fixture
def bundle() -> Bundle:
    return exits_bundle()


def plan_of(epoch: int, variant: str, *, first: int = 2) -> Plan:
    return Plan(
        epoch=epoch,
        first_cut=first,
        second_cut=7,
        exit=variant,
        device="d",
        edge="e",
        cloud="c",
        codecs=("raw", "raw+zstd"),
    )


def check_each_by_its_plan(outcomes: Outcomes, bundle: Bundle) -> None:
    """Each result is what the variant of its own plan makes of its frame."""
    for result in outcomes.results:
        assert result["exit"] == result["plan"]["exit"]
        logits = expected(bundle, result["seq"], result["exit"])
        assert result["labels"][0]["class"] == int(logits.argmax())
        weights = np.exp(logits - logits.max())
        assert result["confidence"] == pytest.approx(float((weights / weights.sum()).max()), abs=1e-4)


@async_test
@pytest.mark.parametrize("first", [0, 2])
async def test_frames_follow_a_change_of_size_without_a_loss(bundle: Bundle, *, first: int) -> None:
    site = new_site(bundle.folder.parent)
    await publish(site, bundle, plan_of(1, "full", first=first))
    device = site.device(grey(bundle, frames=40, fps=200, in_flight=4))
    async with site.running(site.cloud(), site.edge(), device) as outcomes:
        for epoch, variant in enumerate((SMALL, "full", SMALL), start=2):
            await outcomes.until(results=8 * (epoch - 1))
            await publish(site, bundle, plan_of(epoch, variant, first=first))
        await outcomes.until(results=40)
    assert outcomes.seqs() == list(range(40))
    assert len({result["plan"]["epoch"] for result in outcomes.results}) == 4
    check_each_by_its_plan(outcomes, bundle)


@async_test
async def test_frames_of_both_sizes_are_under_way_at_a_time(bundle: Bundle) -> None:
    site = new_site(bundle.folder.parent)
    await publish(site, bundle, plan_of(1, "full"))
    cloud = site.cloud(emulated_slowdown=30.0)
    device = site.device(grey(bundle, frames=None, delivery="latest", in_flight=6, fps=100))
    async with site.running(cloud, site.edge(), device) as outcomes:
        for epoch in range(2, 8):
            await outcomes.until(results=2 * epoch)
            await publish(site, bundle, plan_of(epoch, (SMALL, "full")[epoch % 2]))
        await until(lambda: outcomes.results[-1]["plan"]["epoch"] == 7)
    assert len({result["plan"]["epoch"] for result in outcomes.results}) >= 4
    assert {drop["reason"] for drop in outcomes.dropped} <= {"newer_frame"}
    check_each_by_its_plan(outcomes, bundle)


@async_test
async def test_no_exit_of_the_whole_model_is_tried_on_another_size(bundle: Bundle) -> None:
    site = new_site(bundle.folder.parent)
    plan = by_hand(bundle, exit=SMALL, threshold=0.0)
    nodes = site.cloud(), site.edge(), site.device(grey(bundle, frames=3)), site.hub(plan)
    async with site.running(*nodes) as outcomes:
        await outcomes.until(results=3)
    assert {(result["exit"], result["finished_by"]) for result in outcomes.results} == {(SMALL, "c")}


class Device:
    """A stream that gives its frames to nobody."""

    def __init__(self, bundle: Bundle, **more: Any) -> None:
        self.clock = ManualClock(start_s=1.0)
        self.jobs: list[Job] = []
        self.counters: Counter[str] = Counter()
        self.bundle = bundle
        self.stream = Stream(
            grey(bundle, timeout_s=10.0, **more),
            site="home",
            node="d",
            bundle=bundle,
            clock=self.clock,
            counters=self.counters,
            submit=self.jobs.append,
            **ON_NO_BUS,
        )

    async def plan(self, epoch: int, variant: str) -> None:
        offered = StreamPlan(
            stream="cam", model=self.bundle.model, model_name=self.bundle.name, plan=plan_of(epoch, variant)
        )
        self.stream.check(offered)
        self.stream.new_plan(offered)

    def start(self) -> list[asyncio.Task[None]]:
        return [asyncio.create_task(task()) for task in (self.stream.sensor.read, self.stream.watch_overdue)]

    def shapes(self) -> list[tuple[int, ...]]:
        """Shape of each frame that it gave away, and whether that is its plan's."""
        for job in self.jobs:
            assert job.arrays is not None
            assert next(iter(job.arrays.values())).shape == SHAPES[job.work.plan.exit]
        return [SHAPES[job.work.plan.exit] for job in self.jobs]


async def stop(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def test_frame_is_sent_again_in_the_size_of_todays_plan(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(iot_node.stream, "OVERDUE_EVERY_S", 0.002)

    @async_test
    async def run() -> None:
        device = Device(bundle, frames=1)
        await device.plan(1, "full")
        tasks = device.start()
        for sent, variant in enumerate((SMALL, "full", "full"), start=1):
            await until(lambda sent=sent: len(device.jobs) == sent)  # type: ignore[misc]
            device.jobs[-1].ack()
            await device.plan(sent + 1, variant)
            device.clock.advance(81.0)
        await until(lambda: len(device.jobs) == 4)
        await stop(tasks)
        assert device.shapes() == [SHAPES[name] for name in ("full", SMALL, "full", "full")]
        first, last = (next(iter((device.jobs[i].arrays or {}).values())) for i in (0, 3))
        assert np.array_equal(first, last)  # made of what the sensor gave, not of the smaller one

    run()


@async_test
async def test_frame_that_waits_for_its_turn_takes_the_new_plans_size(bundle: Bundle) -> None:
    device = Device(bundle, frames=2, in_flight=1, delivery="latest", fps=200)
    await device.plan(1, "full")
    tasks = device.start()
    await until(lambda: len(device.jobs) == 1 and device.counters["frames_captured"] == 2)
    await device.plan(2, SMALL)
    device.stream.outcome(0)
    await until(lambda: len(device.jobs) == 2)
    await stop(tasks)
    assert device.shapes() == [SHAPES["full"], SHAPES[SMALL]]


@async_test
async def test_frame_that_is_read_before_the_first_plan_takes_its_size(bundle: Bundle) -> None:
    device = Device(bundle, frames=2, in_flight=1)
    tasks = device.start()
    await until(lambda: device.counters["frames_captured"] == 1)
    await device.plan(1, SMALL)
    await until(lambda: len(device.jobs) == 1)
    await stop(tasks)
    assert device.shapes() == [SHAPES[SMALL]]


# ---------------------------------------------------------------------- chosen by the coordinator


@pytest.fixture
def measured(bundle: Bundle, tmp_path: Path) -> Bundle:
    """The bundle with a codec table that says what each variant is worth."""
    own = Bundle.load(shutil.copytree(bundle.folder, tmp_path / bundle.name))
    accuracies = {"full": 0.9, "early": 0.5, "late": 0.7, SMALL: 0.85}
    write_table(own, replace(table_of(own), variants=accuracies))
    return own


def planned(measured: Bundle, **wanted: Any) -> Told:
    """A device alone: 400 ms for the whole model and 120 ms for the smaller size."""
    goal = goal_of(Planned(name="cam", model=measured.name, device="d", **wanted), measured)
    seconds = {"full": 0.4, "early": 0.15, "late": 0.3, SMALL: 0.12}
    chains = {
        each.name: tuple(np.linspace(0.0, seconds[each.name], each.end + 1).tolist()) for each in measured.variants
    }
    profile = replace(
        profile_of(chains.pop("full")),
        model=measured.model,
        model_name=measured.name,
        cut_bytes=tuple(cut.bytes for cut in measured.cuts),
        variants=chains,
    )
    told = Told()
    told.coordinator.handle(StreamWanted(goal))
    told.status("device", "d", models={measured.name: measured.model})
    told.coordinator.handle(ProfileHeard(tier="device", node="d", profile=profile, site="home"))
    told.passes(2.0)
    return told


@pytest.mark.parametrize(("deadline_ms", "variant"), [(600.0, "full"), (250.0, SMALL), (20.0, SMALL)])
def test_smaller_size_is_planned_where_the_whole_one_misses_the_deadline(
    measured: Bundle, deadline_ms: float, variant: str
) -> None:
    told = planned(measured, objective="accuracy", deadline_ms=deadline_ms)
    plan = told.plans["cam"]
    assert plan.exit == variant
    plan.check_fits(measured.variant(plan.exit).end, model=measured.name)
    assert ("no plan meets the deadline" in told.said("trouble")) is (deadline_ms == 20.0)


@pytest.mark.parametrize(("max_drop", "variant"), [(0.04, "full"), (0.06, SMALL)])
def test_smaller_size_is_planned_as_far_as_it_may_cost_accuracy(
    measured: Bundle, max_drop: float, variant: str
) -> None:
    assert planned(measured, max_accuracy_drop=max_drop, exits="none").plans["cam"].exit == variant
