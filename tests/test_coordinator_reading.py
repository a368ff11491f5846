"""The coordinator reads few results, and learns from them what it would learn from all; it rests while all is calm."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.coordinating import Told, goal
from tiercut.coordinator.deadline import Punctuality
from tiercut.coordinator.events import DroppedHeard, ResultHeard, ResultPassed
from tiercut.coordinator.node_view import NodeView
from tiercut.coordinator.reading import AFTER_A_CHANGE, FIRST
from tiercut.coordinator.way import route
from tiercut.estimate.links import LinkEstimator, LinkSample
from tiercut.plan import Deadline
from tiercut.protocol.frames import Dropped
from tiercut.protocol.results import Journey


def hear(
    told: Told, count: int, *, fps: float = 25.0, slow: dict[str, float] | None = None, every: bool = False
) -> int:
    """Results arrive as from a real bus: those that the coordinator does not read pass. How many were read."""
    read = 0
    for _ in range(count):
        told.seq += 1
        told.now_s += 1 / fps
        journey = replace(told.journey("cam", slow or {}), captured_unix_s=told.now_s)
        wanted = every or told.coordinator.reads("cam", told.now_s)
        read += wanted
        event = ResultHeard(journey, told.now_s) if wanted else ResultPassed("cam", told.now_s)
        told.do(told.coordinator.handle(event))
        if told.now_s - told.ticked_s > 0.25 - 1e-9:
            told.tick()
    return read


def last_node(told: Told) -> NodeView:
    """The last node of the stream's plan."""
    return told.coordinator.view.nodes[route(told.plans["cam"])[-1]]


def test_results_of_a_new_plan_are_all_read_and_then_about_five_a_second() -> None:
    told = Told().site()
    assert hear(told, FIRST) == FIRST
    assert 35 <= hear(told, 250) <= 60  # of ten seconds


def test_stream_with_few_frames_is_read_wholly() -> None:
    told = Told().site()
    hear(told, FIRST)
    assert hear(told, 30, fps=3) == 30


def test_streams_that_nobody_plans_are_not_read() -> None:
    assert not Told().site().coordinator.reads("yard", 1e6)


def test_rate_is_right_although_few_results_are_read() -> None:
    told = Told().site()
    hear(told, 200)
    stream = told.coordinator._streams["cam"]
    assert stream.rate(told.now_s) == pytest.approx(25.0, rel=0.01)
    hear(told, 50, fps=50)
    assert stream.rate(told.now_s) == pytest.approx(50.0, rel=0.05)


def test_stream_whose_results_only_pass_is_not_silent() -> None:
    told = Told().site()
    hear(told, 200)
    told.coordinator.handle(ResultPassed("cam", told.now_s + 6.0))
    assert told.coordinator._streams["cam"].rate(told.now_s + 7.0) > 20


@pytest.mark.parametrize("times", [2.0, 5.0])
def test_slower_node_is_noticed_within_a_third_of_a_second_of_reading_everything(times: float) -> None:
    noticed: list[float] = []
    for every in (True, False):
        told = Told().site()
        hear(told, 250, every=every)
        node = last_node(told)
        begun_s = told.now_s
        while node.load.estimate(told.now_s).slowdown < 1 + 0.8 * (times - 1):
            hear(told, 1, slow={node.node: times}, every=every)
        noticed.append(told.now_s - begun_s)
    assert noticed[1] - noticed[0] < 0.34


def test_all_results_are_read_after_a_change() -> None:
    told = Told().site()
    hear(told, 250)
    reading = told.coordinator._streams["cam"].reading
    reading.read_all_of(AFTER_A_CHANGE)
    assert hear(told, AFTER_A_CHANGE) == AFTER_A_CHANGE


def test_rate_of_a_full_line_is_right_where_most_of_its_transfers_are_not_read() -> None:
    link = LinkEstimator(mbps=100.0, latency_seconds=0.001, acknowledged=False)
    size, takes_s = 50_000, 0.04  # 10 Mbps, and four frames wait for each other all the time
    for k in range(200):
        at_s = (k + 1) * takes_s
        if k < 20 or k % 5 == 0:
            link.observe(LinkSample(at_s=at_s, payload_bytes=size, seconds=4 * takes_s))
        else:
            link.passed(at_s)
    assert link.estimate(8.0).mbps == pytest.approx(10.0, rel=0.1)


def late(journey: Journey, deadline_s: float) -> Journey:
    """The same frame, after its deadline."""
    return replace(journey, latency_s=2 * deadline_s, deadline_met=False)


def test_share_of_met_deadlines_counts_results_that_are_not_read() -> None:
    told = Told().site(goal(deadline_s=5.0))
    hear(told, FIRST)
    for _ in range(20):
        hear(told, 9)
        dropped = Dropped(stream="cam", seq=told.seq, where="e", reason="past_deadline")
        told.do(told.coordinator.handle(DroppedHeard(dropped, told.now_s)))
    met = told.coordinator._streams["cam"].punctuality.met_share
    assert met == pytest.approx(0.9, abs=0.02)


def test_results_are_all_read_while_frames_miss_their_deadline() -> None:
    told = Told().site(goal(deadline_s=5.0))
    hear(told, 100)
    deadline = told.plans["cam"].deadline
    assert isinstance(deadline, Deadline)
    for _ in range(30):  # whichever is due: from then on each one
        told.now_s += 0.04
        if told.coordinator.reads("cam", told.now_s):
            journey = replace(told.journey("cam", {}), captured_unix_s=told.now_s)
            told.do(told.coordinator.handle(ResultHeard(late(journey, deadline.seconds), told.now_s)))
            told.now_s += 0.04
            assert told.coordinator.reads("cam", told.now_s)
            return
    raise AssertionError("no result was due")


def test_result_after_a_frame_that_was_dropped_late_is_read() -> None:
    told = Told().site()
    hear(told, 250)
    while told.coordinator.reads("cam", told.now_s):
        hear(told, 1)
    dropped = Dropped(stream="cam", seq=1, where="d", reason="past_deadline")
    told.do(told.coordinator.handle(DroppedHeard(dropped, told.now_s)))
    assert told.coordinator.reads("cam", told.now_s)


def evaluations(told: Told, seconds: float) -> int:
    """How often the stream is evaluated while time passes."""
    seen: set[float] = set()
    for _ in range(round(4 * seconds)):
        told.passes(0.25)
        seen.add(told.coordinator._streams["cam"].evaluated_s)
    return len(seen)


def test_stream_is_evaluated_rarely_while_nothing_changes() -> None:
    told = Told().site()
    hear(told, 250)
    assert told.coordinator.calm(told.now_s)
    assert evaluations(told, 4) <= 5
    told.passes(5)
    assert evaluations(told, 20) <= 5  # no frames come


def test_node_that_goes_is_noticed_at_the_next_tick_however_calm_it_was() -> None:
    told = Told().site()
    hear(told, 250)
    node = last_node(told)
    told.status(node.tier, node.node, state="offline")
    assert not told.coordinator.calm(told.now_s)
    told.passes(0.25)
    assert node.key not in route(told.plans["cam"])


def test_status_that_says_the_same_leaves_the_coordinator_calm() -> None:
    told = Told().site()
    hear(told, 250)
    node = last_node(told)
    told.status(node.tier, node.node)
    assert told.coordinator.calm(told.now_s)


def test_margin_counts_a_result_for_those_that_it_stands_for() -> None:
    punctuality = Punctuality(predicted_s=0.1)
    for _ in range(2):
        punctuality.arrived(0.11, usual=True, frames=29)
        punctuality.arrived(0.4, usual=True)
    assert punctuality.margin_s(0.3) < 0.05
