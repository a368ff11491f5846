"""What an edge keeps: nearly the same frame is answered without the model, in order, once, and not for ever."""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
from msgspec import structs
from numpy.typing import NDArray
from PIL import Image

from edge_node.answer_cache import FRAME_BYTES, MAX_NOTED, AnswerCache
from edge_node.in_flight import MAX_WAIT_S, FramesInFlight, SiteStream
from edge_node.settings import Settings
from edge_node.tensor_distance import ComparableTensors
from tests.aio import async_test, until
from tests.brokers import Mosquitto
from tests.bundles import exits_bundle
from tests.sites import Outcomes, by_hand, new_site
from tests.test_programs import programs, results_of
from tests.test_worker import work as plain_work
from tiercut.errors import BadEnvelope, SettingsError
from tiercut.launch.processes import Processes
from tiercut.model.bundle import Bundle
from tiercut.node.node import Node
from tiercut.pipeline.decide import Drop, Finish, Forward, FrameState, Here, LookUp, Run, Wait, decide
from tiercut.pipeline.jobs import Job, Processed
from tiercut.plan import Deadline, Plan
from tiercut.protocol import events
from tiercut.protocol.frames import Work
from tiercut.protocol.results import read_journey
from tiercut.protocol.stream_settings import StreamSettings
from tiercut.results.classes import Classes
from tiercut.results.reading import Reading, write_result
from tiercut.results.table import KINDS

Array = NDArray[Any]
Running = TypeVar("Running", bound=Node)

# ---------------------------------------------------------------------- how far frames are from each other


@pytest.mark.parametrize("dtype", ["float32", "float16", "float64", "uint8", "int64"])
@pytest.mark.parametrize("size", [1, 1000, 70_001])
def test_distance_is_that_of_the_whole_relative_to_the_kept_tensor(dtype: str, size: int) -> None:
    rng = np.random.default_rng(size)
    for scale in (0.0, 1.0, 30.0):
        kept = rng.integers(1, 200, size).astype(dtype)
        other = (kept.astype(np.float64) + np.round(scale * rng.random(size))).astype(dtype)
        a, b = ComparableTensors({"x": other}), ComparableTensors({"x": kept})
        apart = float(np.linalg.norm(other.astype(float) - kept) / np.linalg.norm(kept.astype(float)))
        assert a.distance_to(b) == pytest.approx(apart, rel=1e-3)
        assert a.distance_to(b, apart * 1.01) == a.distance_to(b)
    assert a.distance_to(b, apart * 0.99) == math.inf


def test_distance_is_that_of_the_tensor_that_is_farthest() -> None:
    kept = {"a": np.full(10, 100.0, np.float32), "b": np.full(10, 1.0, np.float32)}
    other = kept | {"b": np.full(10, 1.5, np.float32)}
    assert ComparableTensors(other).distance_to(ComparableTensors(kept)) == pytest.approx(0.5)


@pytest.mark.parametrize("value", [math.nan, math.inf, 1e30])
def test_values_without_a_finite_norm_are_like_nothing(value: float) -> None:
    odd = ComparableTensors({"a": np.array([1.0, value], np.float32)})
    assert odd.distance_to(odd) == math.inf
    assert odd.distance_to(ComparableTensors({"a": np.ones(2, np.float32)}), 1.0) == math.inf


def test_zeros_are_like_zeros_only() -> None:
    zeros, ones = (ComparableTensors({"a": np.full(70, value, np.float32)}) for value in (0.0, 1.0))
    assert zeros.distance_to(zeros) == 0
    assert ones.distance_to(zeros) == math.inf


def test_tensors_of_another_name_shape_or_type_are_not_compared() -> None:
    kept = ComparableTensors({"a": np.ones((2, 3), np.float32)})
    for other in ({"b": np.ones((2, 3), np.float32)}, {"a": np.ones(6, np.float32)}, {"a": np.ones((2, 3))}, {}):
        assert ComparableTensors(other).distance_to(kept) == math.inf


# ---------------------------------------------------------------------- what is kept

CAM = SiteStream("home", "cam")


def frame(value: float, size: int = 100) -> dict[str, Array]:
    return {"x": np.full(size, value, np.float32)}


def read(seq: int) -> Reading:
    return Reading(KINDS["classes"], Classes(labels=()), 0.5, "full", seq)


def work(seq: int, **more: Any) -> Work:
    return plain_work(seq, captured_unix_s=seq + 1.0, **more)


def cache(**more: Any) -> AnswerCache:
    return AnswerCache(**{"frames": 4, "distance": 0.05, "keep_s": 60.0, **more})


def filled(values: Sequence[float], **more: Any) -> AnswerCache:
    """Frames of these values that were finished here, a second apart."""
    answers = cache(**more)
    for seq, value in enumerate(values):
        assert answers.find(work(seq), frame(value), float(seq)) is None
        answers.keep(work(seq), read(seq), float(seq))
    return answers


def event(seq: int) -> str:
    return events.event_id(seq, seq + 1.0)


def result_of(frame_work: Work, **more: Any) -> bytes:
    return write_result(frame_work, read(frame_work.seq), "m", stages=(), finished_by="c", latency_s=None, **more)


def test_nearest_of_those_within_the_distance_answers() -> None:
    answers = filled([1.0, 1.08, 2.0])
    for value, seq in ((1.0, 0), (1.03, 0), (1.06, 1), (1.12, 1), (2.05, 2)):
        found = answers.find(work(9), frame(value), 3.0)
        assert found is not None
        assert found.seq == seq
    assert answers.find(work(9), frame(1.5), 3.0) is None


PLAN = work(0).plan


@pytest.mark.parametrize(
    "other",
    [
        {"model": "1" * 64},
        {"site": "elsewhere"},
        {"stream": "door"},
        {"cut": 1},
        {"plan": structs.replace(PLAN, exit="full@8")},
        {"plan": structs.replace(PLAN, threshold=0.9)},
    ],
)
def test_answer_is_for_its_own_kind_of_frame_only(other: dict[str, Any]) -> None:
    answers = filled([1.0])
    assert answers.find(work(1, **other), frame(1.0), 1.0) is None
    assert answers.find(work(2, plan=structs.replace(PLAN, epoch=7)), frame(1.0), 1.0) is not None


def test_answers_are_kept_for_their_time() -> None:
    answers = filled([1.0], keep_s=60.0)
    assert answers.find(work(1), frame(1.0), 60.0) is not None
    assert answers.find(work(2), frame(1.0), 60.1) is None
    assert len(answers) == 1  # the one that was just noted


def test_least_recently_used_makes_room_in_its_stream() -> None:
    answers = filled([1.0, 2.0, 3.0, 4.0])
    assert answers.find(work(8), frame(1.0), 5.0) is not None
    assert answers.find(work(9), frame(5.0), 5.0) is None
    answers.keep(work(9), read(9), 5.0)
    assert [answers.find(work(10), frame(v), 5.0) is not None for v in (1.0, 2.0, 3.0)] == [True, False, True]


def test_memory_is_bounded_over_all_streams() -> None:
    bound = 20 * (FRAME_BYTES + 4 * 1000 + 50)
    answers = cache(frames=256, max_bytes=bound)
    for seq in range(100):
        answers.find(work(seq, stream=f"s{seq % 7}"), frame(seq, 1000), 0.0)
        if seq % 2:
            answers.keep(work(seq, stream=f"s{seq % 7}"), read(seq), 0.0)
        assert answers.nbytes <= bound
    assert 15 < len(answers) <= 20
    assert answers.find(work(200), frame(1.0, bound), 0.0) is None
    assert 15 < len(answers) <= 20


def test_frames_without_an_answer_are_bounded_and_go_with_their_time() -> None:
    answers = cache(frames=1)
    for seq in range(3 * MAX_NOTED):
        answers.find(work(seq), frame(float(seq)), 0.0)
    assert len(answers) == MAX_NOTED
    answers.find(work(999), frame(0.0), 100.0)
    assert len(answers) == 1


def test_result_from_elsewhere_is_the_answer_of_its_frame() -> None:
    answers = cache()
    first = work(0)
    answers.find(first, frame(1.0), 0.0)
    answers.result(CAM, event(5), b"of another frame, not even read", 1.0)
    answers.result(CAM, event(0), result_of(first), 1.0)
    assert answers.find(work(1), frame(1.0), 60.9) == read(0)


@pytest.mark.parametrize(
    "payload",
    [
        result_of(work(0, plan=structs.replace(PLAN, threshold=0.5))),
        result_of(work(0, plan=structs.replace(PLAN, exit="early"))),
        result_of(work(0, model="2" * 64)),
        result_of(work(0), cached=True),
    ],
)
def test_result_by_another_plan_or_from_a_cache_is_not_kept(payload: bytes) -> None:
    answers = cache()
    answers.find(work(0), frame(1.0), 0.0)
    answers.result(CAM, event(0), payload, 1.0)
    assert answers.find(work(1), frame(1.0), 1.0) is None


@pytest.mark.parametrize("payload", [b"", b"{}", b"[" * 10_000, result_of(work(0)).replace(b"0.5", b"NaN")])
def test_bad_result_is_refused_and_not_kept(payload: bytes) -> None:
    answers = cache()
    answers.find(work(0), frame(1.0), 0.0)
    with pytest.raises(BadEnvelope):
        answers.result(CAM, event(0), payload, 1.0)
    assert answers.find(work(1), frame(1.0), 1.0) is None


def test_dropped_frame_is_forgotten_and_an_answered_one_is_not() -> None:
    answers = cache()
    answers.find(work(0), frame(1.0), 0.0)
    answers.forget(work(0))
    assert len(answers) == 0
    answers = filled([1.0])
    answers.dropped(CAM, event(0))  # the second copy of a frame that was sent again
    assert answers.find(work(1), frame(1.0), 1.0) is not None


def test_frames_alike_that_were_under_way_together_are_kept_once() -> None:
    answers = cache()
    for seq in range(4):
        assert answers.find(work(seq), frame(1.0), 0.0) is None
    for seq in range(4):
        answers.keep(work(seq), read(seq), 1.0)
    assert len(answers) == 1
    found = answers.find(work(9), frame(1.0), 1.0)
    assert found == read(0)


def test_frame_that_comes_again_is_not_taken_for_its_own_twin() -> None:
    answers = cache()
    assert answers.find(work(0), frame(1.0), 0.0) is None
    assert answers.find(work(0), frame(1.0), 1.0) is None
    answers.keep(work(0), read(0), 2.0)
    assert answers.find(work(0), frame(1.0), 3.0) == read(0)


def test_frames_ahead_are_those_without_an_outcome() -> None:
    ahead = FramesInFlight()
    for seq in range(3):
        ahead.sent_on(CAM, event(seq), 0, float(seq))
    ahead.outcome(CAM, event(0))
    assert ahead.of(CAM, event(9), 0, 2.0)
    assert not ahead.of(SiteStream("home", "door"), event(9), 0, 2.0)
    ahead.outcome(CAM, event(1))
    assert not ahead.of(CAM, event(2), 0, 2.0)  # itself, sent again
    assert ahead.of(CAM, event(9), 0, 2.0 + MAX_WAIT_S)
    assert not ahead.of(CAM, event(9), 0, 2.1 + MAX_WAIT_S)
    assert not ahead._order
    assert not ahead._in_flight


def test_frames_of_another_lane_are_not_ahead() -> None:
    ahead = FramesInFlight()
    ahead.sent_on(CAM, event(0), 1, 0.0)
    assert not ahead.of(CAM, event(9), 0, 1.0)
    assert ahead.of(CAM, event(9), 1, 1.0)
    ahead.outcome(CAM, event(0))
    assert not ahead.of(CAM, event(9), 1, 1.0)


@pytest.mark.parametrize(
    "wrong", [{"cache_frames": -1}, {"cache_frames": 257}, {"cache_distance": 1.5}, {"cache_s": 0.0}]
)
def test_bad_settings_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match=next(iter(wrong))):
        Settings(**wrong)


# ---------------------------------------------------------------------- what is decided

WAY = Plan(epoch=1, first_cut=3, second_cut=5, device="d", edge="e", cloud="c", codecs=("raw", "raw"))
EDGE = Here(tier="edge", node="e", end=9, reachable=lambda _tier, _node: True, remembers=True)
CAME = FrameState(plan=WAY, cut=3, delivery="every", came_at=3)


def test_frame_is_looked_up_once_as_it_comes() -> None:
    assert decide(CAME, EDGE) == LookUp()
    assert decide(structs.replace(CAME, looked_up=True), EDGE) == Run(3, 5)
    assert decide(structs.replace(CAME, cut=5), EDGE) == Forward("cloud", "c", "raw")
    assert decide(structs.replace(CAME, cut=9, came_at=9), EDGE) == Finish()
    assert decide(CAME, structs.replace(EDGE, remembers=False)) == Run(3, 5)


def test_known_answer_waits_for_the_frames_ahead_unless_their_node_is_gone() -> None:
    known = structs.replace(CAME, looked_up=True, known=True)
    assert decide(known, EDGE) == Finish()
    assert decide(structs.replace(known, overtakes=True), EDGE) == Wait()
    gone = structs.replace(EDGE, reachable=lambda _tier, _node: False)
    assert decide(structs.replace(known, overtakes=True), gone) == Finish()


def test_frame_that_is_too_late_for_the_model_may_still_be_answered() -> None:
    due = structs.replace(WAY, deadline=Deadline(seconds=1.0, rest_s=(0.9, 0.6, 0.1)))
    late = structs.replace(CAME, plan=due, age_s=0.5, deadline_s=1.0)
    assert decide(late, EDGE) == LookUp()
    assert decide(structs.replace(late, looked_up=True, known=True), EDGE) == Finish()
    dropped = decide(structs.replace(late, looked_up=True), EDGE)
    assert isinstance(dropped, Drop)
    assert dropped.reason == "too_late"
    past = decide(structs.replace(late, age_s=1.1), EDGE)
    assert isinstance(past, Drop)
    assert past.reason == "past_deadline"


# ---------------------------------------------------------------------- on a whole site


def pictures(folder: Path, order: str) -> StreamSettings:
    """A stream of pictures, one per letter; equal letters are equal pictures."""
    files = []
    for number, letter in enumerate(order):
        pixels = np.random.default_rng(ord(letter)).integers(0, 256, (16, 16, 3), dtype=np.uint8)
        files.append(folder / f"{number:03}-{letter}.png")
        Image.fromarray(pixels).save(files[-1])
    return StreamSettings(
        name="cam", model="chain", sensor="images", path=tuple(files), loop=False, delivery="every", in_flight=1
    )


def slowed(node: Node, seconds: float) -> None:
    """Let a node take so long for a frame, on its thread."""
    process = node.frames.processor.process

    def slow(job: Job) -> Processed:
        time.sleep(seconds)  # the slowness that is tested, on the worker's thread
        return process(job)

    node.frames.processor.process = slow  # type: ignore[method-assign]


def letters(said: Sequence[dict[str, Any]]) -> str:
    return "".join(result["label"].split("-")[1][0] for result in said)


def check_outcomes(outcomes: Outcomes, order: str) -> None:
    """One result per frame, in order, each what the model made of a frame with the same picture."""
    assert outcomes.seqs() == list(range(len(order)))
    assert not outcomes.dropped
    assert letters(outcomes.results) == order
    truth = {letters([r]): r["labels"] for r in outcomes.results if "cached" not in r}
    for result in outcomes.results:
        assert result["labels"] == truth[letters([result])]
        if result.get("cached"):
            assert result["finished_by"] == "e"
            assert letters([outcomes.results[result["cached_from"]]]) == letters([result])


@async_test
@pytest.mark.parametrize("two_brokers", [False, True])
async def test_equal_frames_are_answered_without_running_the_rest(
    bundles: Path, chain: Bundle, tmp_path: Path, *, two_brokers: bool
) -> None:
    site = new_site(bundles, two_brokers=two_brokers)
    cloud, edge = site.cloud(), site.edge(cache_frames=4)
    nodes = site.hub(by_hand(chain)), cloud, edge, site.device(pictures(tmp_path, "aaaabbbbab"))
    async with site.running(*nodes) as outcomes:
        await outcomes.until(results=10)
    check_outcomes(outcomes, "aaaabbbbab")
    assert [result.get("cached", False) for result in outcomes.results] == [
        *([False, True, True, True] * 2),
        True,
        True,
    ]
    assert cloud.counters["frames_arrived"] == 2
    assert (edge.counters["cache_hits"], edge.counters["cache_misses"]) == (8, 2)
    last = outcomes.results[-1]
    assert [s["where"] for s in last["stages"] if s["kind"] == "compute"] == ["d"]
    assert (last["cached_from"], last["fallback"], last["exit"]) == (4, None, "full")
    assert read_journey(outcomes.of_kind("result")[-1].payload).cached


@async_test
@pytest.mark.parametrize("two_brokers", [False, True])
async def test_known_answers_do_not_overtake_frames_in_flight(
    bundles: Path, chain: Bundle, tmp_path: Path, *, two_brokers: bool
) -> None:
    order = "aaaaaabcbaaacdaabbcd" * 2
    site = new_site(bundles, two_brokers=two_brokers)
    cloud, edge = site.cloud(), site.edge(cache_frames=8)
    slowed(cloud, 0.02)
    device = site.device(replace(pictures(tmp_path, order), in_flight=6))
    async with site.running(site.hub(by_hand(chain)), cloud, edge, device) as outcomes:
        await outcomes.until(results=len(order))
        await until(lambda: edge.frames.worker.waiting == 0)
    check_outcomes(outcomes, order)
    assert edge.counters["cache_hits"] >= 20
    assert cloud.counters["frames_arrived"] == edge.counters["cache_misses"] < 20


@async_test
async def test_latest_stream_keeps_its_order_too(bundles: Path, chain: Bundle, tmp_path: Path) -> None:
    order = "abaabbacabaacabbaabc" * 2
    site = new_site(bundles)
    cloud, edge = site.cloud(), site.edge(cache_frames=8)
    slowed(cloud, 0.02)
    device = site.device(replace(pictures(tmp_path, order), in_flight=6, delivery="latest"))
    async with site.running(site.hub(by_hand(chain)), cloud, edge, device) as outcomes:
        await until(lambda: len(outcomes.results) + len(outcomes.dropped) == len(order))
    assert outcomes.seqs() == sorted(set(outcomes.seqs()))
    assert {drop["reason"] for drop in outcomes.dropped} <= {"newer_frame"}
    assert any(result.get("cached") for result in outcomes.results)


@async_test
async def test_different_frames_are_not_answered(bundles: Path, chain: Bundle, tmp_path: Path) -> None:
    site = new_site(bundles)
    edge = site.edge(cache_frames=8, cache_distance=0.05)
    nodes = site.hub(by_hand(chain)), site.cloud(), edge, site.device(pictures(tmp_path, "abcdefgh"))
    async with site.running(*nodes) as outcomes:
        await outcomes.until(results=8)
    assert not any("cached" in result for result in outcomes.results)
    assert edge.counters["cache_misses"] == 8


@async_test
async def test_without_the_setting_nothing_is_kept(bundles: Path, chain: Bundle, tmp_path: Path) -> None:
    site = new_site(bundles)
    edge = site.edge()
    nodes = site.hub(by_hand(chain)), site.cloud(), edge, site.device(pictures(tmp_path, "aaaa"))
    async with site.running(*nodes) as outcomes:
        await outcomes.until(results=4)
    assert edge.frames.processor.answers is None
    assert {result["finished_by"] for result in outcomes.results} == {"c"}


@async_test
async def test_edge_keeps_what_it_finishes_itself_by_plan_or_as_the_cloud_is_gone(
    bundles: Path, chain: Bundle, tmp_path: Path
) -> None:
    plans: tuple[dict[str, Any], ...] = ({"cloud": None, "second_cut": "100%", "codecs": ("raw",)}, {})
    for plan in plans:
        site = new_site(bundles)
        nodes = site.edge(cache_frames=4), site.device(pictures(tmp_path, "aaba")), site.hub(by_hand(chain, **plan))
        async with site.running(*nodes) as outcomes:
            await outcomes.until(results=4)
        check_outcomes(outcomes, "aaba")
        assert [result.get("cached_from") for result in outcomes.results] == [None, 0, None, 0]
        assert bool(outcomes.results[0]["fallback"]) is not bool(plan)
        assert outcomes.results[1]["fallback"] is None


@async_test
async def test_frames_that_leave_at_an_exit_are_kept_with_it(tmp_path: Path) -> None:
    bundle = exits_bundle()
    site = new_site(bundle.folder.parent)
    stream = replace(pictures(tmp_path, "aabb"), model=bundle.name)
    early, late = bundle.exits
    cuts: dict[str, Any] = {"first_cut": str(early.cut - 1), "second_cut": str(late.cut), "threshold": 0.0}
    edge = site.edge(cache_frames=4)
    async with site.running(site.cloud(), edge, site.device(stream), site.hub(by_hand(bundle, **cuts))) as outcomes:
        await outcomes.until(results=4)
    assert [(r["exit"], r.get("cached_from")) for r in outcomes.results] == [
        ("early", None), ("early", 0), ("early", None), ("early", 2),
    ]  # fmt: skip
    assert outcomes.results[0]["confidence"] == outcomes.results[1]["confidence"]


@async_test
async def test_dropped_frame_is_not_kept(bundles: Path, chain: Bundle, tmp_path: Path) -> None:
    site = new_site(bundles)
    cloud, edge = site.cloud(bundles=tmp_path), site.edge(cache_frames=4)  # a cloud without the model
    nodes = site.hub(by_hand(chain)), cloud, edge, site.device(pictures(tmp_path, "aaa"))
    async with site.running(*nodes) as outcomes:
        await outcomes.until(dropped=3)
        await until(lambda: len(edge.answers) == 0)
    assert not outcomes.results
    assert edge.counters["cache_misses"] == 3


@async_test
async def test_frame_that_the_edge_only_relays_goes_on_as_it_came(bundles: Path, chain: Bundle, tmp_path: Path) -> None:
    site = new_site(bundles)
    plan = by_hand(chain, first_cut="0", second_cut="0", codecs=("jpeg", "jpeg"))
    nodes = site.hub(plan), site.cloud(), site.edge(cache_frames=4), site.device(pictures(tmp_path, "aba"))
    async with site.running(*nodes) as outcomes:
        await outcomes.until(results=3)
    kinds = {s["kind"] for s in outcomes.results[0]["stages"] if s["where"] == "e"}
    assert kinds == {"wire", "queue", "decode"}
    assert outcomes.results[2]["cached_from"] == 0


@asynccontextmanager
async def alone(node: Running) -> AsyncIterator[Running]:
    """A node with an end of its own."""
    stop = asyncio.Event()
    running = asyncio.create_task(node.run(stop))
    try:
        yield node
    finally:
        stop.set()
        await running


@async_test
@pytest.mark.parametrize("two_brokers", [False, True])
async def test_edge_that_starts_again_begins_with_nothing_and_each_frame_has_its_result(
    bundles: Path, chain: Bundle, tmp_path: Path, *, two_brokers: bool
) -> None:
    site = new_site(bundles, two_brokers=two_brokers)
    cloud = site.cloud()
    slowed(cloud, 0.01)
    stream = replace(pictures(tmp_path, "ab"), loop=True, frames=80, fps=50, in_flight=3, timeout_s=0.5)
    device = site.device(stream)
    async with site.running(site.hub(by_hand(chain)), cloud) as outcomes, AsyncExitStack() as later:
        async with alone(site.edge(cache_frames=4)) as first:
            await later.enter_async_context(alone(device))
            await outcomes.until(results=20)
        async with alone(site.edge(cache_frames=4)) as second:
            await until(lambda: set(outcomes.seqs()) == set(range(80)))
    assert first.counters["cache_hits"] > 0
    assert second.counters["cache_hits"] > 0
    assert second.counters["cache_misses"] >= 2
    assert len(outcomes.results) <= 80 + device.counters["frames_resent"]


@pytest.mark.slow
@async_test
async def test_programs_at_two_brokers_answer_equal_frames_and_lose_none_when_the_edge_is_killed(
    chain: Bundle, tmp_path: Path
) -> None:
    with Mosquitto(tmp_path) as site, Mosquitto(tmp_path) as cloud:
        stream = pictures(tmp_path, "aab")
        source = {"sensor": "images", "path": [str(path) for path in stream.path], "fps": 50, "frames": 150}
        wanted = programs(site, cloud, chain, **source)
        wanted["e"][1].update(cache_frames=4, cache_distance=0.01)
        heard: list[dict[str, Any]] = []
        async with Processes(tmp_path, wanted) as started, results_of(site) as said:
            for name in wanted:
                await started.start(name)
            while not {result["seq"] for result in heard} >= set(range(150)):
                delivery = await anext(said)
                delivery.ack()
                heard.append(json.loads(delivery.payload))
                if len(heard) == 50:
                    await started.kill("e")
                    await started.start("e")
    cached = [result["seq"] for result in heard if result.get("cached")]
    assert min(cached) < 40
    assert max(cached) > 100
    assert all(result["finished_by"] == "e" for result in heard if result.get("cached"))
