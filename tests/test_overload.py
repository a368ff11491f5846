"""Too much for a site: what has changed is found, plans that keep up are taken, and what is short is said."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from tests.aio import async_test
from tests.coordinating import Told, goal
from tests.sites import Outcomes, new_site, noise
from tests.test_coordinated import explanation, hub, until
from tiercut.coordinator.events import SourceHeard, StreamWanted
from tiercut.coordinator.site.problem import LEVELS
from tiercut.model.bundle import Bundle
from tiercut.protocol.streams import SourceReport


def pair(*, edge: float = 1.0, **more: Any) -> Told:
    """A device and an edge that take 100 ms for each of four blocks; the device alone is the quickest."""
    told = Told()
    told.coordinator.handle(StreamWanted(goal(min_first_cut=1, **more)))
    told.node("device", "d", 1.0)
    told.node("edge", "e", edge)
    told.passes(2.0)
    return told


def alone() -> Told:
    told = Told()
    told.coordinator.handle(StreamWanted(goal()))
    told.node("device", "d", 1.0)
    told.passes(3.0)
    return told


def short(told: Told) -> dict[str, Any]:
    said = told.explained["cam"]["short"]
    assert isinstance(said, dict), told.explained["cam"]
    return said


# ---------------------------------------------------------------------- the sensor's rate


def test_plan_that_does_not_keep_up_is_left_for_one_that_does() -> None:
    told = pair()
    assert told.plans["cam"].edge is None
    told.source(asked_fps=4.0, done_fps=2.5, seconds=8)
    plan = told.plans["cam"]
    assert (plan.first_cut, plan.edge) == (2, "e")
    assert "to keep up with 4 frames/s, for which the processor of device/d is 1.6 times too slow" in told.reasons
    told.source(asked_fps=4.0, done_fps=4.0, seconds=30)
    assert told.plans["cam"] == plan
    assert told.explained["cam"]["short"] is None


def test_first_plan_keeps_up_where_the_rate_is_known() -> None:
    told = Told()
    told.coordinator.handle(StreamWanted(goal(min_first_cut=1)))
    report = SourceReport(stream="cam", node="d", state="running", frames_per_second=4.0)
    told.coordinator.handle(SourceHeard(report, told.now_s))
    told.node("device", "d", 1.0)
    told.node("edge", "e", 1.0)
    told.passes(3.0)
    assert (told.plans["cam"].first_cut, told.plans["cam"].edge) == (2, "e")


def test_where_no_plan_keeps_up_frames_go_several_ways_and_what_is_short_is_said() -> None:
    told = pair()
    told.source(asked_fps=8.0, done_fps=2.5, seconds=8)
    assert (told.plans["cam"].first_cut, told.plans["cam"].edge) == (2, "e")  # the best single one
    told.source(asked_fps=8.0, done_fps=4.9, seconds=8)
    mix = told.mixes["cam"]
    assert {(plan.first_cut, plan.edge) for plan, _ in mix.plans} == {(1, "e"), (4, None)}
    assert mix.frames_per_second == pytest.approx(5 * LEVELS[-1], rel=0.01)  # two processors of 2.5 each
    told.source(asked_fps=8.0, done_fps=4.6, seconds=12)
    said = short(told)
    assert (said["limit"], said["resource"]) == ("rate", "processor")
    assert said["where"] in {"device/d", "edge/e"}
    assert said["factor"] == pytest.approx(8 / (5 * LEVELS[-1]), rel=0.02)
    assert said["available_seconds"] == pytest.approx(0.125)
    assert said["message"].endswith(f"is short: 'cam' asks for 8 frames/s, the site has room for {5 * LEVELS[-1]:.3g}")
    assert len(told.reasons) == 3
    told.source(asked_fps=2.0, done_fps=2.0, seconds=30)
    assert told.explained["cam"]["short"] is None
    assert told.mixes["cam"].plain


def test_line_that_carries_too_little_is_named_with_both_rates() -> None:
    told = Told(mbps={("d", "e"): 1.0})
    told.coordinator.handle(StreamWanted(goal()))
    told.node("device", "d", 10.0)
    told.node("edge", "e", 0.1)
    told.passes(3.0)
    told.source(asked_fps=5.0, done_fps=2.4, seconds=16)
    said = short(told)
    assert (said["limit"], said["resource"], said["where"]) == ("rate", "line", "device/d -> edge/e")
    assert said["factor"] == pytest.approx(5 / 2.53, rel=0.1)  # a frame in four seconds stays on the device
    assert said["message"].startswith("the line device/d -> edge/e is short: 'cam' asks for 5 frames/s")


def test_sensor_that_gives_less_than_asked_is_no_overload() -> None:
    told = pair()
    told.source(asked_fps=8.0, done_fps=1.0, seconds=20)
    assert told.explained["cam"]["short"] is None
    assert len(told.reasons) == 1


# ---------------------------------------------------------------------- promises


def test_node_that_gets_slow_is_named_until_it_has_recovered() -> None:
    told = alone()
    told.source(asked_fps=1.0, done_fps=1.0, seconds=12)
    assert told.explained["cam"]["short"] is None
    told.slow = {"d": 2.2}
    told.source(asked_fps=1.0, done_fps=1.0, seconds=14)
    said = short(told)
    assert (said["limit"], said["resource"], said["where"]) == ("latency", "processor", "device/d")
    assert said["factor"] == pytest.approx(2.2, rel=0.05)
    assert "promised were 400 ms" in said["message"]
    assert "device/d is 2.2 times as slow as its profile says" in said["message"]
    told.slow = {}
    told.source(asked_fps=1.0, done_fps=1.0, seconds=16)
    assert told.explained["cam"]["short"] is None


def test_work_leaves_a_node_whose_frames_wait_for_others_and_comes_back() -> None:
    told = Told().site()
    told.status("cloud", "c", state="offline")
    told.passes(2.0)
    assert told.plans["cam"].edge == "e"
    told.source(asked_fps=10.0, done_fps=10.0, seconds=6)
    told.waits = {"e": 0.3}
    told.source(asked_fps=10.0, done_fps=10.0, seconds=6)
    assert told.plans["cam"].edge == "f"
    assert "the queue of edge/e" in told.reasons[-1]
    assert told.explained["cam"]["short"] is None
    told.waits = {}
    told.source(asked_fps=10.0, done_fps=10.0, seconds=20)
    assert told.plans["cam"].edge == "e"


def test_deadline_that_no_plan_meets_says_what_takes_the_time() -> None:
    told = pair(deadline_s=0.2)
    told.frames(30)
    said = short(told)
    assert (said["limit"], said["resource"], said["where"]) == ("deadline", "processor", "device/d")
    assert said["needed_seconds"] == pytest.approx(0.4)
    assert said["factor"] == pytest.approx(said["needed_seconds"] / said["available_seconds"])
    assert told.explained["cam"]["trouble"].startswith("no plan meets the deadline")


def test_jitter_makes_no_shortage_and_no_change() -> None:
    told = pair(edge=0.1)
    for turn in range(60):
        told.slow = {"e": 1 + 0.2 * ((turn * 7919) % 101 / 50 - 1), "d": 1 + 0.2 * ((turn * 104729) % 97 / 48 - 1)}
        told.source(asked_fps=5.0, done_fps=5.0, seconds=2)
        assert told.explained["cam"]["short"] is None
    assert len(told.reasons) == 1


# ---------------------------------------------------------------------- a whole site


def troubles(outcomes: Outcomes) -> list[str]:
    """What the stream's state says is wrong with its plan."""
    states = [json.loads(each.payload) for each in outcomes.deliveries if each.topic.endswith("/state")]
    return [each["message"] for state in states[-1:] for each in state["trouble"] if each["reason"] == "plan"]


@async_test
async def test_device_that_is_slowed_while_it_runs_is_named_in_explanation_and_state(
    bundles: Path, chain: Bundle
) -> None:
    site = new_site(bundles)
    device = site.device(noise(chain, frames=None, fps=20))
    async with site.running(device, hub(site, chain)) as outcomes:
        await outcomes.until(results=20)
        computed_ms = [s["ms"] for result in outcomes.results for s in result["stages"] if s["kind"] == "compute"]
        device.frames.segments.slowdown = 150.0 / max(0.01, min(computed_ms))
        async with asyncio.timeout(15):
            await until(lambda: explanation(outcomes).get("short"))
            await until(lambda: any("device/d" in trouble for trouble in troubles(outcomes)))
    said = explanation(outcomes)["short"]
    assert (said["limit"], said["resource"], said["where"]) in {
        ("rate", "processor", "device/d"),
        ("latency", "processor", "device/d"),
        ("latency", "queue", "device/d"),
    }
    assert "device/d" in said["message"]


def test_nothing_is_short_once_no_frames_come() -> None:
    told = pair()
    told.source(asked_fps=8.0, done_fps=2.5, seconds=8)
    told.source(asked_fps=8.0, done_fps=5.0, seconds=12)
    assert short(told)
    told.passes(40)
    assert told.explained["cam"]["short"] is None


def test_frames_that_were_late_before_they_stopped_are_late_no_more() -> None:
    told = alone()
    told.source(asked_fps=1.0, done_fps=1.0, seconds=12)
    told.slow = {"d": 2.2}
    told.source(asked_fps=1.0, done_fps=1.0, seconds=14)
    assert short(told)
    told.slow = {}
    told.passes(40)
    assert told.explained["cam"]["short"] is None
