"""Streams of a full site planned as one: when that begins and ends, what each gets, and what is said."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from typing import Any

import pytest
from msgspec import UNSET

from broker.settings import LineSettings
from tests.coordinating import Checked, Told, goal
from tiercut.coordinator.actions import Action, Prepare
from tiercut.coordinator.changes import TOGETHER_S
from tiercut.coordinator.events import ControlHeard, PlanHeard, SourceHeard, StreamUnwanted, StreamWanted
from tiercut.coordinator.mix import Mix
from tiercut.coordinator.site.lines import LineEstimators, line_of
from tiercut.coordinator.site.problem import LEVELS
from tiercut.errors import SettingsError
from tiercut.estimate.links import LinkSample
from tiercut.protocol.nodes import ControlMode, StatusTier, StreamControl
from tiercut.protocol.streams import SourceReport

#: A frame takes a device 400 ms, an edge 40 ms and a cloud node 4 ms.
ASKED_FPS = 10.0
#: Part of its time that a full site's processors may be busy.
FULL = LEVELS[-1]


def crowd(count: int = 6, *, cloud: bool = False, told: Told | None = None, **weights: float) -> Told:
    """Devices that each read a camera, and one edge: together they ask for more than it has."""
    told = told or Told()
    for index in range(count):
        name = f"cam{index}"
        told.coordinator.handle(StreamWanted(goal(name, device=f"d{index}", weight=weights.get(name, 1.0))))
        told.node("device", f"d{index}", 1.0)
    told.node("edge", "e", 0.1)
    if cloud:
        told.node("cloud", "c", 0.01)
    told.passes(3.0)
    return told


def works(told: Told, seconds: float, count: int = 6, asked_fps: float | None = ASKED_FPS) -> None:
    """All streams give frames for a while: as many as the site has room for, or as an edge of 25 a second takes."""
    names = [f"cam{index}" for index in range(count)]
    end_s = told.now_s + seconds
    began_s = told.now_s
    while told.now_s < end_s:
        round_s = told.now_s
        for name in names:
            mix = told.mixes[name]
            room_fps = min(asked_fps or 10.0, mix.frames_per_second or 25.0 / count)
            told.fps[name] = room_fps
            told.frames(1, name, every_s=0.0)
            told.now_s = round_s
        told.now_s = round_s + 1 / max(told.fps.values())
        told.do([])
        told.tick()
        for name in names:
            if int(told.now_s / 2) != int(round_s / 2):
                report(told, name, asked_fps, told.now_s - began_s)


def report(told: Told, name: str, asked_fps: float | None, seconds: float) -> None:
    """The node that reads a sensor says what it gives and what of it gets through."""
    frames = {"captured": int(1e6 + seconds * (asked_fps or 9.0)), "done": int(1e6 + seconds * told.fps[name])}
    device = told.coordinator.goal(name).device
    said = SourceReport(stream=name, node=device, state="running", frames=frames, frames_per_second=asked_fps or UNSET)
    told.coordinator.handle(SourceHeard(said, told.now_s))


def rates(told: Told) -> list[float]:
    """What each stream has room for."""
    return [mix.frames_per_second or ASKED_FPS for _, mix in sorted(told.mixes.items())]


def test_streams_of_a_full_site_get_all_that_it_has_in_equal_parts() -> None:
    told = crowd()
    assert {plan.edge for plan in told.plans.values()} == {"e"}
    works(told, 12)
    # the edge has 25 frames/s and each device 2.5: together 40, hardly anything of it free
    assert sum(rates(told)) == pytest.approx(FULL * 40, rel=0.03)
    assert max(rates(told)) == pytest.approx(min(rates(told)), rel=0.05)
    assert {plan.edge for mix in told.mixes.values() for plan, _ in mix.plans} == {"e", None}
    assert told.capacity is not None
    assert told.capacity.as_one
    assert told.capacity.planned == pytest.approx(FULL * 40, rel=0.03)
    assert told.capacity.edges_alone == pytest.approx(FULL * 25, rel=0.03)
    assert told.capacity.devices_alone == pytest.approx(FULL * 15, rel=0.03)
    assert told.capacity.bound == pytest.approx(40, rel=0.03)


def test_stream_that_joins_a_full_site_gets_a_plan_at_once() -> None:
    told = crowd()
    works(told, 12)
    told.coordinator.handle(StreamWanted(goal("cam6", device="d6")))
    told.node("device", "d6", 1.0)
    told.now_s += 1.0  # the site is due before the stream is
    told.tick()
    works(told, 2)
    assert "cam6" in told.mixes
    works(told, 20, 7)
    assert max(rates(told)) == pytest.approx(min(rates(told)), rel=0.1)


def test_stream_that_has_no_time_to_spare_is_planned_with_the_others() -> None:
    told = Told()
    for index in range(6):  # a frame takes some 45 ms at least
        wanted = goal(f"cam{index}", device=f"d{index}", deadline_s=0.075 if index == 0 else None)
        told.coordinator.handle(StreamWanted(wanted))
        told.node("device", f"d{index}", 1.0)
    told.node("edge", "e", 0.1)
    told.passes(3.0)
    works(told, 16)
    assert told.capacity is not None
    rooms = [told.capacity.streams[f"cam{index}"].room for index in range(6)]
    assert min(room or 0.0 for room in rooms) > 5.0


def test_what_a_site_could_give_is_told_anew_soon_after_a_step() -> None:
    told = crowd()
    works(told, 12)
    told.node("edge", "e", 0.2)  # half as fast: 12.5 frames/s
    works(told, 8)
    assert told.capacity is not None
    assert told.capacity.bound == pytest.approx(27.5, rel=0.05)
    assert told.capacity.edges_alone == pytest.approx(FULL * 12.5, rel=0.05)
    assert told.capacity.measured == pytest.approx(sum(rates(told)), rel=0.2)


def test_bound_that_more_frames_than_that_refute_is_found_anew() -> None:
    told = crowd(3)
    told.node("edge", "e", 20.0)
    told.node("device", "d0", 40.0)
    works(told, 6, 3, asked_fps=2.0)
    assert told.capacity is not None
    assert told.capacity.bound is not None
    assert told.capacity.bound < 5.5
    told.node("edge", "e", 0.1)
    told.node("device", "d0", 1.0)
    works(told, 12, 3, asked_fps=2.0)
    assert not told.capacity.as_one
    assert told.capacity.bound == pytest.approx(6, rel=0.05)


def test_site_with_room_for_all_is_planned_one_by_one() -> None:
    told = crowd(3)
    works(told, 10, 3, asked_fps=2.0)
    assert all(mix.plain for mix in told.mixes.values())
    assert told.capacity is not None
    assert not told.capacity.as_one
    assert told.capacity.short == []
    assert len(told.reasons) == 3


def test_what_is_short_is_said_with_all_that_ask_for_it() -> None:
    told = crowd()
    works(told, 12)
    said = told.explained["cam0"]
    assert said["short"]["message"] == (
        f"the processor of edge/e is short: 6 streams ask for 60 frames/s, the site has room for {FULL * 40:.3g}, "
        f"{FULL * 40 / 6:.3g} of them for 'cam0'"
    )
    assert said["room_frames_per_second"] == pytest.approx(FULL * 40 / 6, abs=0.01)
    assert sum(each["share"] for each in said["mix"]) == pytest.approx(1, abs=0.01)


def test_stream_of_twice_the_weight_gets_twice_as_many_frames() -> None:
    told = crowd(cam0=2.0)
    works(told, 15, asked_fps=20.0)
    first, *others = rates(told)
    assert first == pytest.approx(2 * others[0], rel=0.05)


def test_site_that_has_room_again_is_planned_one_by_one() -> None:
    told = crowd()
    works(told, 12)
    changes = len(told.reasons)
    works(told, 45, asked_fps=1.0)
    assert all(mix.plain for mix in told.mixes.values())
    assert told.capacity is not None
    assert not told.capacity.as_one
    assert all(told.explained[name]["short"] is None for name in told.mixes)
    works(told, 30, asked_fps=1.0)
    assert len(told.reasons) == changes + 6


def test_steady_full_site_changes_nothing() -> None:
    told = crowd()
    works(told, 12)
    changes = len(told.reasons)
    works(told, 60)
    assert len(told.reasons) == changes


def test_frames_of_a_full_site_leave_a_node_that_is_gone_at_once() -> None:
    told = crowd(cloud=True)
    told.mbps = dict.fromkeys([("e", "c"), *((f"d{index}", "c") for index in range(6))], 2.0)
    works(told, 15, asked_fps=40.0)
    assert {"e"} <= {plan.edge for mix in told.mixes.values() for plan, _ in mix.plans}
    told.status("edge", "e", state="offline")
    told.passes(0.75)
    assert {plan.edge for mix in told.mixes.values() for plan, _ in mix.plans} == {None}


def test_stream_that_falls_silent_leaves_its_part_to_the_others() -> None:
    told = crowd()
    works(told, 12)
    assert rates(told)[0] == pytest.approx(FULL * 40 / 6, rel=0.03)
    del told.mixes["cam5"]
    works(told, 30, 5)
    assert rates(told)[0] == pytest.approx(FULL * 37.5 / 5, rel=0.03)


def test_hub_that_starts_again_goes_on_with_the_plans_of_a_full_site() -> None:
    told = crowd()
    works(told, 12)
    before, again = dict(told.mixes), Told()
    for name, mix in before.items():
        again.mixes[name], again.plans[name] = mix, mix.first
        again.coordinator.handle(StreamWanted(goal(name, device=f"d{name[3:]}")))
        published = mix.message(stream=name, model=goal().model, model_name="m", reason="before")
        again.coordinator.handle(PlanHeard(published))
        again.node("device", f"d{name[3:]}", 1.0)
    again.node("edge", "e", 0.1)
    works(again, 20)
    assert all(mix.same_plans(before[name]) for name, mix in again.mixes.items())
    assert all(mix.alike(before[name]) for name, mix in again.mixes.items())


def test_device_of_an_older_version_gets_one_plan_and_no_rate_and_the_hub_says_so() -> None:
    told = crowd()
    told.status("device", "d0", mixes=False)
    works(told, 15)
    assert told.mixes["cam0"].plain
    assert all(not told.mixes[f"cam{index}"].plain for index in range(1, 6))
    warnings = told.explained["cam0"]["warnings"]
    assert any("device/d0 follows one plan at a time and keeps to no rate" in each for each in warnings)
    # the edge has 25 frames/s: those that the older device sends there are not given to others
    others = sum(rates(told)[1:])
    assert others < 0.92 * (25 + 5 * 2.5) - 2.0


def test_device_that_is_replaced_by_an_older_one_leaves_its_several_plans() -> None:
    told = crowd()
    works(told, 12)
    assert not told.mixes["cam0"].plain
    told.status("device", "d0", mixes=False)
    works(told, 12)
    assert told.mixes["cam0"].plain
    assert not told.mixes["cam1"].plain


def test_plan_by_hand_is_left_alone_and_counts_as_taken() -> None:
    told = crowd()
    works(told, 12)
    hand = next(plan for plan, _ in told.mixes["cam0"].plans if plan.edge == "e")
    told.coordinator.handle(ControlHeard("cam0", StreamControl(mode="plan", plan=hand)))
    works(told, 15)
    assert told.mixes["cam0"].plain
    assert told.plans["cam0"].edge == "e"
    assert all(not told.mixes[f"cam{index}"].plain for index in range(1, 6))


def test_lone_stream_that_is_to_give_all_it_can_goes_every_way() -> None:
    told = Told()
    told.coordinator.handle(StreamWanted(goal("cam0", device="d0", objective="throughput")))
    told.node("device", "d0", 1.0)
    told.node("edge", "e", 0.5)
    told.passes(5.0)
    told.frames(5, "cam0")
    told.passes(3.0)
    mix = told.mixes["cam0"]
    assert len(mix.plans) > 1
    assert mix.frames_per_second == pytest.approx(FULL * (2.5 + 5), rel=0.1)  # the device, and an edge twice as fast


def test_sensor_that_gives_a_picture_now_and_then_takes_no_camera_s_part() -> None:
    told = crowd()
    told.coordinator.handle(StreamWanted(goal("bell", device="e")))
    told.status("device", "e", gateway=True)
    told.node("device", "e", 0.1)
    told.status("device", "e", gateway=True)
    told.passes(4.0)
    told.frames(1, "bell")
    works(told, 12)
    told.frames(1, "bell")
    works(told, 4)
    # a picture now and then has room for one a second, of the 25 that the edge has: it is its gateway's processor too
    assert sum(rates(told)[1:]) == pytest.approx(FULL * 40 - 1, rel=0.03)
    assert told.mixes["bell"].frames_per_second is None


def test_node_that_refuses_a_part_of_a_mix_is_left_alone() -> None:
    told = crowd()
    told.unready["e"] = "no room"
    works(told, 3)
    assert {plan.edge for plan in told.plans.values()} == {"e"}  # what works stays for now
    assert told.explained["cam0"]["trouble"] == "the last plan stays: edge/e refuses: no room"
    works(told, 24)
    assert all(plan.edge is None for mix in told.mixes.values() for plan, _ in mix.plans)


# ---------------------------------------------------------------------- lines


def test_line_that_several_share_is_not_planned_twice() -> None:
    uplink = line_of("uplink", ["device -> cloud", "edge -> cloud"], 2.0)
    slow = dict.fromkeys([("e", "c"), *((f"d{index}", "c") for index in range(6))], 2.0)
    told = crowd(told=Told(coordinator=Checked(lines=[uplink]), mbps=slow), cloud=True)
    works(told, 15, asked_fps=40.0)
    assert told.capacity is not None
    assert told.capacity.load["uplink"] <= FULL + 0.001
    assert {plan.cloud for mix in told.mixes.values() for plan, _ in mix.plans} == {"c", None}


def carried(turns: str, *, mbps: float, count: int = 40, size: int = 5000) -> LineEstimators:
    """A line that two hops keep busy, in turns or sharing it."""
    line = line_of("uplink", ["device -> cloud", "edge -> cloud"], 9.0)
    lines, alone_s = LineEstimators([line]), size * 8e-6 / mbps
    lines.observe("device/d", "cloud/c", LinkSample(at_s=0.0, payload_bytes=200, seconds=0.0055, probe=True))
    for index in range(count):
        sender = ("device/d", "edge/e")[index % 2]
        ended_s = alone_s * (index + 1 if turns == "turns" else 2 * (index // 2 + 1))
        waited_s = 2 * alone_s  # behind the one before it, or beside it
        sample = LinkSample(at_s=ended_s + 0.005, payload_bytes=size, seconds=waited_s + 0.005)
        lines.observe(sender, "cloud/c", sample)
    return lines


@pytest.mark.parametrize("turns", ["turns", "shared"])
@pytest.mark.parametrize("mbps", [0.5, 2.0])
def test_busy_line_carries_what_all_its_hops_send(turns: str, mbps: float) -> None:
    lines = carried(turns, mbps=mbps)
    assert lines.mbps(lines.lines[0], 40 * 5000 * 8e-6 / mbps) == pytest.approx(mbps, rel=0.1)


def test_line_that_is_idle_carries_what_was_declared_until_it_is_measured() -> None:
    lines = LineEstimators([line_of("uplink", ["edge -> cloud"], 9.0)])
    assert lines.mbps(lines.lines[0], 0.0) == pytest.approx(9.0)
    for index in range(1, 20):
        at_s = 10.0 * index
        for size in (200, 20_000):
            sample = LinkSample(at_s=at_s, payload_bytes=size, seconds=0.005 + size * 8e-6 / 3.0, probe=True)
            lines.observe("edge/e", "cloud/c", sample)
    assert lines.mbps(lines.lines[0], 200.0) == pytest.approx(3.0, rel=0.1)


@pytest.mark.parametrize("hop", ["device", "edge -> device", "edge -> nowhere", "edge/ -> cloud", "edge/e > cloud"])
def test_hop_that_is_none_is_refused(hop: str) -> None:
    with pytest.raises(SettingsError, match="line 'uplink'"):
        line_of("uplink", [hop], None)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"hops": ()}, "hops of line 'uplink'.*at least one"),
        ({"mbps": 1e12}, "mbps of line 'uplink'.*0.001 to 1000000"),
        ({"mbps": 0}, "mbps of line 'uplink'"),
        ({"mbps": math.nan}, "mbps of line 'uplink'"),
        ({"mbps": True}, "mbps of line 'uplink'"),
        ({"name": "an uplink"}, "name"),
    ],
)
def test_line_that_carries_nothing_or_too_much_is_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        LineSettings(**({"name": "uplink", "hops": ("edge -> cloud",)} | wrong))


def test_line_carries_the_hops_that_it_names() -> None:
    line = line_of("radio", ["device/a -> edge", "device/b->edge/e"], None)
    assert line.carries("device/a", "edge/f")
    assert line.carries("device/b", "edge/e")
    assert not line.carries("device/b", "edge/f")
    assert not line.carries("device/c", "edge/e")


# ---------------------------------------------------------------------- mixes


def test_mix_is_published_and_heard_as_it_is() -> None:
    told = crowd()
    works(told, 12)
    mix = told.mixes["cam0"]
    message = mix.message(stream="cam0", model=goal().model, model_name="m", reason="why")
    assert Mix.heard(message) == mix
    assert sum(share for _, share in message.mix) == pytest.approx(1)


def test_mixes_are_alike_within_limits() -> None:
    told = crowd()
    works(told, 12)
    mix = told.mixes["cam0"]
    rate = mix.frames_per_second or 0.0
    assert mix.numbered(9).alike(mix)
    assert not mix.alike(None)
    assert replace(mix, frames_per_second=1.05 * rate).alike(mix)
    assert not replace(mix, frames_per_second=1.2 * rate).alike(mix)
    assert not replace(mix, frames_per_second=None).alike(mix)
    assert not replace(mix, plans=mix.plans[:1]).alike(mix)


# ---------------------------------------------------------------------- whatever happens


def check_mixes(told: Told) -> None:
    """What holds of them whatever happens."""
    for name, mix in told.mixes.items():
        assert sum(share for _, share in mix.plans) == pytest.approx(1)
        assert len({plan.epoch for plan, _ in mix.plans}) == 1
        assert {plan.device for plan, _ in mix.plans} == {f"d{name[3:]}"}
        assert mix.frames_per_second is None or mix.frames_per_second > 0


@pytest.mark.parametrize("seed", range(3))
def test_whatever_happens_every_stream_has_plans_that_hold_together(
    seed: int, caplog: pytest.LogCaptureFixture
) -> None:
    draw = random.Random(seed)  # noqa: S311 - a course of events, repeatable
    uplink = line_of("uplink", ["device -> cloud", "edge -> cloud"], 2.0)
    told = crowd(4, told=Told(coordinator=Checked(lines=[uplink])), cloud=True)
    told.node("edge", "f", 0.2)
    there: dict[StatusTier, set[str]] = {"edge": {"e", "f"}, "cloud": {"c"}}
    for _ in range(40):
        happens = draw.choice(["frames"] * 4 + ["gone", "back", "slow", "line", "refuses", "hand", "auto", "silence"])
        tier: StatusTier = draw.choice(["edge", "cloud"])
        node = draw.choice(sorted(there[tier]))
        if happens == "frames":
            works(told, draw.choice([0.5, 2.0]), 4, asked_fps=draw.choice([1.0, 10.0, 40.0]))
        elif happens in {"gone", "back"}:
            told.status(tier, node, state="offline" if happens == "gone" else "online")
        elif happens == "slow":
            told.slow = {node: draw.choice([1.0, 3.0, 12.0])}
        elif happens == "line":
            told.mbps[node, "c"] = draw.choice([0.1, 2.0, 50.0])
        elif happens == "refuses":
            told.unready = {} if told.unready else {node: "no room"}
        elif happens == "silence":
            told.passes(draw.choice([1.0, 12.0]))
        else:
            mode: ControlMode = "freeze" if happens == "hand" else "auto"
            told.coordinator.handle(ControlHeard(f"cam{draw.randrange(4)}", StreamControl(mode=mode)))
        told.passes(0.5)
        check_mixes(told)
    assert not [record for record in caplog.records if record.levelname == "ERROR"], caplog.text
    assert not any("fault" in str(said["trouble"]) for said in told.explained.values())
    assert all(said["plan"] for said in told.explained.values())


# ---------------------------------------------------------------------- what goes wrong in a full site


def test_part_of_a_mix_that_fails_is_left() -> None:
    told = crowd()
    works(told, 12)
    mix = told.mixes["cam0"]
    assert {plan.edge for plan, _ in mix.plans} == {"e", None}
    told.fails = {"e"}
    works(told, 6)
    assert {plan.edge for mix in told.mixes.values() for plan, _ in mix.plans} == {None}
    assert any("edge/e said ready and failed" in reason for reason in told.reasons)


def test_node_that_never_answers_does_not_hold_up_what_must_change() -> None:
    told = crowd()
    told.node("edge", "f", 0.1)
    told.silent = {"f"}
    works(told, 15)
    told.status("edge", "e", state="offline")
    works(told, 14)
    assert {plan.edge for mix in told.mixes.values() for plan, _ in mix.plans} == {None}


@pytest.mark.parametrize("silent", [set(), {"d0"}])
def test_new_plans_of_all_streams_come_together_and_wait_for_no_node_for_ever(
    silent: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    told = crowd()
    told.silent = silent
    before = {name: plan.epoch for name, plan in told.plans.items()}
    asked_s: list[float] = []
    adopted_s: dict[str, float] = {}
    do = told.do

    def noted(actions: list[Action]) -> None:
        asked_s.extend(told.now_s for each in actions if isinstance(each, Prepare))
        do(actions)
        for name, plan in told.plans.items():
            if plan.epoch > before[name]:
                adopted_s.setdefault(name, told.now_s)

    monkeypatch.setattr(told, "do", noted)
    works(told, 9)
    others = [at_s for name, at_s in adopted_s.items() if name != "cam0"]
    assert len(others) == 5
    assert max(others) == min(others)
    if silent:
        assert "cam0" not in adopted_s
        assert min(others) >= asked_s[0] + TOGETHER_S
    else:
        assert adopted_s["cam0"] == others[0] < asked_s[0] + TOGETHER_S


def test_weight_that_is_changed_while_the_site_is_full_counts() -> None:
    told = crowd()
    works(told, 12)
    told.coordinator.handle(StreamWanted(goal("cam0", device="d0", weight=1.5)))
    works(told, 12)
    first, *others = rates(told)
    assert first == pytest.approx(1.5 * others[0], rel=0.1)


def test_site_whose_cameras_all_fall_silent_or_are_removed_is_planned_one_by_one(
    caplog: pytest.LogCaptureFixture,
) -> None:
    told = crowd()
    works(told, 12)
    told.passes(30)
    for index in range(6):
        told.coordinator.handle(StreamUnwanted(f"cam{index}"))
    told.passes(5)
    assert not [record for record in caplog.records if record.levelname == "ERROR"], caplog.text


def test_stream_whose_deadline_nothing_meets_does_not_keep_the_others_from_what_there_is() -> None:
    told = crowd()
    told.coordinator.handle(StreamWanted(goal("late", device="d5", deadline_s=0.001)))
    told.passes(3)
    works(told, 15, 6)
    assert sum(rates(told)[:6]) > 0.9 * FULL * 37.5


def test_other_plans_are_found_while_shares_follow_the_figures() -> None:
    told = crowd()
    works(told, 12)
    told.node("edge", "f", 0.1)
    for index in range(8):
        told.slow = {"e": 1.0 + 0.3 * (index % 2)}
        works(told, 4)
    assert "f" in {plan.edge for mix in told.mixes.values() for plan, _ in mix.plans}


def test_frozen_mix_counts_with_each_of_its_plans() -> None:
    told = crowd()
    works(told, 12)
    told.coordinator.handle(ControlHeard("cam0", StreamControl(mode="freeze")))
    works(told, 6)
    stream = told.coordinator._streams["cam0"]
    share = {plan.edge: part for plan, part in told.mixes["cam0"].plans}["e"]
    assert 0 < share < 1
    assert stream.taken["edge/e"] == pytest.approx(share * stream.rate(told.now_s) * 0.04, rel=0.2)
    assert stream.taken["device/d0"] > 0


def test_hop_that_crosses_two_lines_is_held_to_both() -> None:
    radio = line_of("radio", ["device -> edge", "device -> cloud"], 9.0)
    uplink = line_of("uplink", ["device -> cloud", "edge -> cloud"], 9.0)
    lines = LineEstimators([radio, uplink])
    for index in range(1, 20):
        for size in (200, 20_000):
            sample = LinkSample(at_s=10.0 * index, payload_bytes=size, seconds=0.005 + size * 8e-6, probe=True)
            lines.observe("device/d", "cloud/c", sample)
    assert lines.of("device/d", "cloud/c") == (radio, uplink)
    assert [lines.mbps(line, 200.0) for line in (radio, uplink)] == pytest.approx([1.0, 1.0], rel=0.1)
