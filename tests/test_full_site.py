"""Streams of a full site planned as one: when that begins and ends, what each gets, and what is said."""

from __future__ import annotations

import pytest

from tests.coordinating import Checked, Told, goal
from tests.full_sites import FULL, crowd, rates, works
from tiercut.coordinator.events import ControlHeard, PlanHeard, StreamWanted
from tiercut.coordinator.site.lines import line_of
from tiercut.protocol.nodes import StreamControl


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


def test_line_that_several_share_is_not_planned_twice() -> None:
    uplink = line_of("uplink", ["device -> cloud", "edge -> cloud"], 2.0)
    slow = dict.fromkeys([("e", "c"), *((f"d{index}", "c") for index in range(6))], 2.0)
    told = crowd(told=Told(coordinator=Checked(lines=[uplink]), mbps=slow), cloud=True)
    works(told, 15, asked_fps=40.0)
    assert told.capacity is not None
    assert told.capacity.load["uplink"] <= FULL + 0.001
    assert {plan.cloud for mix in told.mixes.values() for plan, _ in mix.plans} == {"c", None}
