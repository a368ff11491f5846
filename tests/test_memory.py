"""Memory of live nodes: a model that none of them holds alone runs cut, and what does not fit is said."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from msgspec import UNSET, structs
from torch import nn

import tiercut
from broker.coordination.goals import goal_of
from broker.node import Hub
from broker.settings import Settings as HubSettings
from tests.aio import async_test
from tests.coordinating import Told, goal, times
from tests.given_sensors import first_frame
from tests.profiles import profile_of
from tests.sites import SITE_URL, Outcomes, Site, by_hand, new_site, noise
from tiercut.bus import Message
from tiercut.bus.memory import MemoryBus
from tiercut.coordinator.events import ProfileHeard
from tiercut.coordinator.problem import build
from tiercut.coordinator.sharing import beside_others
from tiercut.coordinator.stream import PlannedStream
from tiercut.declared import encode_json
from tiercut.errors import BundleError, SettingsError
from tiercut.model.bundle import Bundle
from tiercut.model.confidence import probabilities
from tiercut.model.memory import BlockMemory, graph_bytes
from tiercut.model.preprocess import FrameSpec
from tiercut.node.settings import NodeSettings
from tiercut.plan import Tier
from tiercut.planner import Choice, Problem, evaluate
from tiercut.profiling.memory import measure_memory, pieces_of
from tiercut.profiling.profile import Span
from tiercut.profiling.store import from_document, to_document
from tiercut.profiling.wire import decode_profile, encode_profile
from tiercut.protocol.nodes import PrepareSegment
from tiercut.protocol.stream_settings import StreamSettings
from tiercut.protocol.topics import PREPARE
from tiercut.repository.store import ModelStore
from tiercut.results.classes import top_labels
from tiercut.settings import from_table

WIDTH, LAYERS = 400, 12


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``heavy``: twelve layers of 640 kB each, 7.8 MB in all."""
    path = tmp_path_factory.mktemp("heavy")
    torch.manual_seed(0)
    layers = [layer for _ in range(LAYERS) for layer in (nn.Linear(WIDTH, WIDTH), nn.ReLU())]
    module = nn.Sequential(nn.Flatten(), nn.Linear(300, WIDTH), *layers, nn.Linear(WIDTH, 4)).eval()
    frame = FrameSpec(size=(10, 10), resize="stretch", mean=(127.0,), std=(128.0,))
    tiercut.export(module, (torch.randn(1, 3, 10, 10),), path / "heavy", labels=list("abcd"), preprocess=frame)
    return path


@pytest.fixture(scope="module")
def heavy(folder: Path) -> Bundle:
    return Bundle.load(folder / "heavy")


def hub(site: Site, **more: Any) -> Hub:
    wanted = StreamSettings(name="cam", model="heavy", device="d", **more)
    return Hub(HubSettings(**site.common("hub", streams=(wanted,))), open_bus=site.opener("hub"))


def explanation(outcomes: Outcomes) -> dict[str, Any]:
    said = [each for each in outcomes.deliveries if each.topic.endswith("/explain")]
    return dict(json.loads(said[-1].payload)) if said else {}


async def until(found: Callable[[], Any]) -> None:
    while not found():  # noqa: ASYNC110 - what a node knows has no event
        await asyncio.sleep(0.02)


async def said(outcomes: Outcomes, kind: str, number: int = 1) -> dict[str, Any]:
    """The message of that number on a stream's topic of that name."""

    def found() -> list[bytes]:
        return [each.payload for each in outcomes.deliveries if each.topic.endswith(f"/{kind}")]

    await until(lambda: len(found()) >= number)
    return dict(json.loads(found()[number - 1]))


def in_memory_problem(held: Mapping[str, BlockMemory]) -> Problem:
    """The problem of a stream whose edges have 40 MB."""
    site = Told().site()
    for node, factor in (("e", 0.1), ("f", 0.15)):
        site.status("edge", node, memory_mb=40.0)
        site.coordinator.handle(
            ProfileHeard(tier="edge", node=node, profile=replace(times(factor), memory=held), site="home")
        )
    problem = build(site.coordinator.goal("cam"), site.coordinator.view, site.now_s)
    assert problem is not None
    return problem


@async_test
async def test_model_that_no_node_holds_alone_runs_cut_and_gives_its_answer(folder: Path, heavy: Bundle) -> None:
    site, memory = new_site(folder), measure_memory(heavy)["full"]
    whole_mb = memory.needed_mb(0, heavy.end)
    device = site.device(noise(heavy), memory_mb=0.45 * whole_mb)
    edge = site.edge(memory_mb=0.75 * whole_mb)
    async with site.running(edge, device, hub(site, codecs=("raw+zstd",))) as outcomes:
        await outcomes.until(results=10)
    plan = outcomes.results[0]["plan"]
    assert (plan["device"], plan["edge"], plan["cloud"]) == ("d", "e", None)
    assert 0 < memory.needed_mb(0, plan["first_cut"]) <= 0.5 * whole_mb  # measured again by each node
    assert memory.needed_mb(plan["first_cut"], heavy.end) <= 0.8 * whole_mb
    whole = heavy.segment(0, heavy.end).run(heavy.to_inputs(first_frame(noise(heavy))))
    wanted = top_labels(probabilities(whole[heavy.outputs[0].name]), heavy.labels or ())
    scores = {label["label"]: label["score"] for label in outcomes.results[0]["labels"]}
    assert scores == pytest.approx({each.label: each.score for each in wanted}, abs=1e-4)


@async_test
async def test_memory_too_small_for_any_plan_is_a_sentence(folder: Path, heavy: Bundle) -> None:
    site = new_site(folder)
    nodes = site.edge(memory_mb=3.0), site.device(noise(heavy), memory_mb=3.0), hub(site)
    async with site.running(*nodes) as outcomes:
        await until(lambda: "no plan fits into the memory of" in str(explanation(outcomes).get("trouble")))
    said = explanation(outcomes)["trouble"]
    assert "has 3 MB" in said
    assert 5 < float(said.partition("it needs ")[2].partition(" MB")[0]) < 20
    assert not outcomes.results


@async_test
async def test_node_refuses_a_segment_that_does_not_fit_when_asked_to_prepare_it(folder: Path, heavy: Bundle) -> None:
    site = new_site(folder)
    async with site.running(site.edge(memory_mb=5.0)) as outcomes, MemoryBus(site.brokers[SITE_URL]) as bus:
        asked = PrepareSegment(site="home", stream="cam", epoch=1, model=heavy.model, start=0, stop=heavy.end)
        topic = PREPARE.of(site="home", tier="edge", node="e")
        await bus.publish(Message(topic, encode_json(asked)))
        ready = await said(outcomes, "ready")
        await bus.publish(Message(topic, encode_json(structs.replace(asked, stop=4))))
        fits = await said(outcomes, "ready", number=2)
    assert not ready["ok"]
    assert "no memory for a segment of 'heavy'" in ready["message"]
    assert "5 MB (memory_mb)" in ready["message"]
    assert fits["ok"]


@async_test
async def test_rest_of_a_model_that_does_not_fit_is_not_run_when_the_next_node_is_gone(
    folder: Path, heavy: Bundle
) -> None:
    site = new_site(folder)
    first = str(heavy.end // 4)
    by_edge = by_hand(heavy, cloud=None, first_cut=first, second_cut=str(heavy.end), codecs=("raw",))
    device = site.device(noise(heavy, frames=1, delivery="latest"), memory_mb=6.0)
    async with site.running(site.hub(by_edge), device) as outcomes:
        await outcomes.until(dropped=1)
    assert outcomes.dropped[0]["reason"] == "segment_failed"
    assert "no memory for a segment of 'heavy'" in outcomes.dropped[0]["message"]
    assert not outcomes.results


@async_test
async def test_node_with_a_limit_says_it_and_what_it_takes(folder: Path) -> None:
    site = new_site(folder)
    edge = site.edge(memory_mb=64.0)
    async with site.running(edge):
        status = edge._status._status("online")
    assert status.memory_mb == 64.0
    assert status.memory_used_mb is not UNSET
    plain = site.another_edge("f")
    async with site.running(plain):
        assert plain._status._status("online").memory_mb is UNSET


def test_segments_make_room_before_another_is_loaded(heavy: Bundle) -> None:
    third = heavy.end // 3
    models = ModelStore(heavy.folder.parent, memory_mb=6.0)
    first = models.segment(heavy.model, 0, third)
    assert models.segment(heavy.model, 0, third) is first
    models.segment(heavy.model, third, 2 * third)
    assert models._segments.used_bytes <= models.memory_mb * 1e6  # type: ignore[operator]
    assert models.segment(heavy.model, 0, third) is not first
    with pytest.raises(BundleError, match=r"no memory for a segment of 'heavy'.*raise memory_mb"):
        models.segment(heavy.model, 0, heavy.end)


def test_what_a_profile_measured_counts_in_place_of_the_graph(heavy: Bundle) -> None:
    models = ModelStore(heavy.folder.parent, memory_mb=5.0)
    light = BlockMemory(weights_mb=(0.1,) * heavy.end, peak_mb=(0.2,) * heavy.end)
    assert models.needed_mb(heavy, [(0, heavy.end, "full")]) > 12
    models.know(heavy.model, {"full": light})
    assert models.needed_mb(heavy, [(0, heavy.end, "full")]) == pytest.approx(0.1 * heavy.end + 0.2)
    models.segment(heavy.model, 0, heavy.end)


def test_measured_memory_is_what_a_process_grows_by(heavy: Bundle) -> None:
    memory = measure_memory(heavy)["full"]
    weights_mb = sum(graph_bytes(heavy)[0]) / 1e6
    assert weights_mb <= memory.needed_mb(0, heavy.end) <= 3 * weights_mb
    assert memory.needed_mb(0, heavy.end // 2) < memory.needed_mb(0, heavy.end)


def test_pieces_cover_the_model_in_equal_parts() -> None:
    assert pieces_of([0, 0, 0]) == [(0, 3)]
    assert pieces_of([64_000_000] * 4) == [(0, 1), (1, 2), (2, 3), (3, 4)]
    pieces = pieces_of([40_000_000] * 40)
    assert (len(pieces), pieces[0][0], pieces[-1][1]) == (8, 0, 40)
    assert pieces_of([500_000_000, 1, 1]) == [(0, 1), (1, 3)] or pieces_of([500_000_000, 1, 1])[-1][1] == 3


def test_profile_keeps_memory_and_older_ones_are_read() -> None:
    memory = {"full": BlockMemory(weights_mb=(1.0, 2.0), peak_mb=(0.5, 0.25))}
    profile = replace(profile_of((0.0, 0.1, 0.2)), memory=memory)
    assert decode_profile(encode_profile(profile)) == profile
    document = to_document(profile)
    del document["memory"]
    assert from_document(document).memory == {}
    document["memory"] = {"full": {"weights_mb": [1.0], "peak_mb": [1.0]}}
    with pytest.raises(SettingsError, match="one of each per block"):
        from_document(document)


@pytest.mark.parametrize("memory_mb", [0.0, -1.0, 1.1e9, True, math.inf, math.nan])
def test_memory_that_is_none_is_refused(memory_mb: float) -> None:
    with pytest.raises(SettingsError, match="memory_mb"):
        NodeSettings(node="e", memory_mb=memory_mb)


def test_coordinator_plans_within_the_memory_that_nodes_say() -> None:
    site = Told().site()
    assert site.plans["cam"].first_cut == 0
    held = {"full": BlockMemory(weights_mb=(10.0,) * 4, peak_mb=(5.0,) * 4)}
    nodes: tuple[tuple[Tier, str, float], ...] = (("edge", "e", 0.1), ("edge", "f", 0.15), ("cloud", "c", 0.01))
    for tier, node, factor in nodes:
        site.status(tier, node, memory_mb=26.0)  # two blocks
        site.coordinator.handle(
            ProfileHeard(tier=tier, node=node, profile=replace(times(factor), memory=held), site="home")
        )
    site.passes(3.0)
    plan = site.plans["cam"]
    assert 4 - plan.second_cut <= 2
    assert plan.second_cut - plan.first_cut <= 2


def test_memory_that_is_too_small_in_reality_is_a_warning() -> None:
    site = Told().site()
    site.status("edge", "e", memory_mb=100.0, memory_used_mb=180.0)
    warnings = site.coordinator.view.nodes["edge", "e"].warnings
    assert "edge/e has grown by 180 MB, its memory_mb is 100" in warnings["memory"]
    site.status("edge", "e", memory_mb=200.0, memory_used_mb=180.0)
    assert "memory" not in warnings


def test_segments_of_other_streams_take_memory_each_once() -> None:
    problem = in_memory_problem({"full": BlockMemory(weights_mb=(10.0,) * 4, peak_mb=(5.0,) * 4)})
    one, other = goal("one"), goal("other")
    first, foreign = PlannedStream(one), PlannedStream(replace(other, model="cd" * 32))
    same, again = PlannedStream(other), PlannedStream(replace(other, name="again"))
    for each in (foreign, same, again):
        each.held = {("edge/e", Span(0, 2)): 15.0}
    for others, taken_mb, loaded in (
        ([foreign], 15.0, frozenset()),
        ([same, again], 15.0, {("full", 0, 2)}),
        ([foreign, same], 30.0, {("full", 0, 2)}),
    ):
        edge, spare = beside_others(first, problem, others, 0.0).edges
        assert (edge.memory_taken_mb, edge.loaded) == (taken_mb, loaded)
        assert (spare.memory_taken_mb, spare.loaded) == (0.0, frozenset())


def test_stream_runs_what_is_loaded_or_what_fits_beside_it() -> None:
    problem = in_memory_problem({"full": BlockMemory(weights_mb=(10.0,) * 4, peak_mb=(5.0,) * 4)})
    stream, same = PlannedStream(goal("one")), PlannedStream(goal("other"))
    foreign = PlannedStream(replace(goal("other"), model="cd" * 32))
    same.held = foreign.held = {("edge/e", Span(1, 4)): 35.0}

    def fit(others: list[PlannedStream]) -> list[int]:
        """First cuts from which on the edge has memory for the rest of the model."""
        seen = beside_others(stream, problem, others, 0.0)
        plans = {k: Choice(variant="full", first_cut=k, second_cut=4, edge="edge/e", codecs=("raw",)) for k in range(4)}
        return [k for k, plan in plans.items() if not evaluate(seen, plan).too_large]

    assert fit([]) == [1, 2, 3]
    assert fit([same]) == [1]
    assert fit([foreign]) == []


def test_node_of_an_older_version_is_estimated_from_the_cuts() -> None:
    problem = in_memory_problem({})
    (variant,) = problem.variants
    assert variant.block_peak_mb is not None
    assert variant.block_peak_mb[0] == pytest.approx(0.5 + 1.5 * (50_000 + 100_000) / 1e6)


def test_setting_of_a_stream_says_who_waits_for_its_results(heavy: Bundle) -> None:
    settings = StreamSettings(name="cam", model="heavy", results_to="cloud")
    assert goal_of(settings, heavy).results_to == "cloud"
    table = {"name": "cam", "model": "heavy", "results_to": "home"}
    with pytest.raises(SettingsError, match="one of device, site, cloud, got 'home'"):
        from_table(StreamSettings, table, where="the request")


def test_way_back_counts_in_a_streams_problem() -> None:
    site = Told().site(goal(results_to="device"))
    problem = build(site.coordinator.goal("cam"), site.coordinator.view, site.now_s)
    assert problem is not None
    assert problem.way_back is not None
    assert problem.way_back.seconds["device/d"] == 0.0
    assert problem.way_back.seconds["edge/e"] == pytest.approx(problem.links["device/d", "edge/e"].latency_seconds)


def test_site_without_a_cloud_node_has_plans_for_results_that_the_cloud_waits_for() -> None:
    site = Told().site(goal(results_to="cloud"))
    problem = build(site.coordinator.goal("cam"), site.coordinator.view, site.now_s)
    assert problem is not None
    assert problem.way_back is not None
    site.status("cloud", "c", state="offline")
    problem = build(site.coordinator.goal("cam"), site.coordinator.view, site.now_s)
    assert problem is not None
    assert problem.way_back is None
    assert site.plans["cam"] is not None
