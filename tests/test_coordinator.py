"""What the coordinator decides, from what it was told: pure, with time as an argument."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from tests.coordinating import MODEL, Checked, Told, goal, times
from tests.profiles import profile_of
from tiercut.coordinator import core, problem
from tiercut.coordinator.actions import ProbeHop
from tiercut.coordinator.core import Coordinator
from tiercut.coordinator.events import (
    ControlHeard,
    DroppedHeard,
    PlanHeard,
    ProfileHeard,
    ProgressHeard,
    StreamUnwanted,
    StreamWanted,
    Tick,
    UplinkHeard,
)
from tiercut.plan import Plan
from tiercut.protocol.frames import Dropped
from tiercut.protocol.nodes import Probe, Progress, Running, StreamControl, StreamPlan


def test_first_plan_waits_for_probes_and_then_uses_what_is_fastest() -> None:
    told = Told().site()
    plan = told.plans["cam"]
    assert (plan.first_cut, plan.cloud) == (0, "c")
    assert {(start, probe.node) for start, probe in told.probes} >= {("d", "e"), ("d", "f"), ("e", "c"), ("d", "c")}
    assert told.reasons == ["the stream's first plan"]


def test_first_plan_does_not_wait_for_ever() -> None:
    told = Told()
    told.coordinator.handle(StreamWanted(goal()))
    told.node("device", "d", 1.0)
    told.node("edge", "e", 0.1)
    for _ in range(14):
        told.now_s += 0.25
        told.do([each for each in told.coordinator.handle(Tick(told.now_s)) if not isinstance(each, ProbeHop)])
    assert "cam" in told.plans


def test_nodes_of_different_tiers_may_have_one_name() -> None:
    told = Told()
    told.coordinator.handle(StreamWanted(goal(device="x")))
    for tier, factor in (("device", 1.0), ("edge", 0.1), ("cloud", 0.01)):
        told.node(tier, "x", factor)  # type: ignore[arg-type]
    told.passes(2)
    assert told.plans["cam"].cloud == "x"
    told.frames(30, slow={})
    assert not told.explained["cam"]["trouble"]
    slowdowns = {node["id"]: node["slowdown"] for node in told.explained["cam"]["nodes"]}
    assert slowdowns == pytest.approx({"device/x": 1.0, "edge/x": 1.0, "cloud/x": 1.0}, rel=0.01)


def test_explanation_is_json_and_compares_with_the_alternatives() -> None:
    told = Told().site()
    told.frames(3)
    told.passes(3)
    document = json.loads(json.dumps(told.explained["cam"], allow_nan=False))
    assert set(document["alternatives"]) == {"device-only", "edge-only", "cloud-only", "best-single-cut"}
    assert document["predicted"]["latency_seconds"] == pytest.approx(document["measured_ms"] / 1e3, rel=0.05)
    assert {link["source"] for link in document["links"]} == {"measured"}


# ---------------------------------------------------------------------- changes


def test_step_of_a_link_gives_a_new_plan_within_five_frames() -> None:
    told = Told().site()
    told.frames(20)
    told.mbps = dict.fromkeys([("d", "c"), ("e", "c"), ("f", "c")], 0.4)
    before = told.plans["cam"]
    told.frames(5)
    assert told.plans["cam"] != before
    assert told.plans["cam"].cloud is None
    assert "Mbps" in told.reasons[-1]


def test_frame_that_is_late_on_a_link_gives_a_new_plan_before_it_arrives() -> None:
    told = Told().site()
    told.frames(20)
    told.crossed("device", "d", Probe(tier="cloud", node="c", sizes=(1,)), 1000, 0.5, arrived=False)
    told.passes(0.75)
    assert told.plans["cam"].cloud is None or told.plans["cam"].edge is not None


def test_segment_that_runs_for_long_gives_a_new_plan_before_it_is_done() -> None:
    told = Told().site()
    told.frames(20)
    running = Running(model=MODEL, start=0, stop=4, seconds=0.5)
    told.do(told.coordinator.handle(ProgressHeard(("cloud", "c"), Progress(running=(running,)), told.now_s)))
    assert told.plans["cam"].cloud is None
    assert "cloud/c: slowdown" in told.reasons[-1]


def test_stream_comes_back_when_a_link_has_recovered() -> None:
    told = Told().site()
    told.frames(20)
    first = told.plans["cam"]
    told.mbps = dict.fromkeys([("d", "c"), ("e", "c"), ("f", "c")], 0.4)
    told.frames(10)
    told.passes(20)
    assert told.plans["cam"].cloud is None
    told.mbps = {}
    told.frames(150)
    assert told.plans["cam"].cloud == first.cloud


def test_stream_without_frames_comes_back_when_its_gain_has_lasted() -> None:
    told = Told().site()
    told.frames(20)
    first = told.plans["cam"]
    told.mbps = dict.fromkeys([("d", "c"), ("e", "c"), ("f", "c")], 0.4)
    told.frames(10)
    told.passes(20)
    told.mbps = {}
    told.passes(20)
    assert told.plans["cam"].cloud is None
    told.passes(60)
    assert told.plans["cam"].cloud == first.cloud


def test_noise_changes_nothing() -> None:
    told = Told().site()
    for turn in range(300):
        noise = 1 + 0.2 * ((turn * 7919) % 101 / 50 - 1)
        told.mbps = dict.fromkeys([("d", "c"), ("e", "c"), ("d", "e")], 50 * noise)
        told.frames(1)
        if turn % 3 == 0:
            told.passes(0.25)
    assert len(told.reasons) == 1


def test_other_hops_to_the_cloud_are_doubted_when_one_gets_slow() -> None:
    told = Told()
    told.coordinator.handle(StreamWanted(goal(min_first_cut=1)))
    told.node("device", "d", 1.0)
    told.status("device", "d", reaches_cloud=False)
    for edge in ("e", "f"):
        told.node("edge", edge, 0.5)
    told.node("cloud", "c", 0.001)
    told.passes(3)
    told.frames(20)
    told.mbps = {("e", "c"): 0.4, ("f", "c"): 0.4}
    told.frames(6)
    told.passes(2)
    used = [told.plans["cam"]]
    assert used[0].cloud is None, "it must not try the uplink again by way of the other edge"
    assert len(told.reasons) <= 2


def test_uplink_that_is_gone_is_planned_without() -> None:
    told = Told().site()
    told.coordinator.handle(UplinkHeard(connected=False))
    told.passes(1)
    assert told.plans["cam"].cloud is None
    told.coordinator.handle(UplinkHeard(connected=True))
    told.passes(3)
    assert told.plans["cam"].cloud == "c"


def test_streams_that_share_edges_do_not_all_take_the_better_one() -> None:
    streams = [goal(f"s{n}", device=f"d{n}") for n in range(4)]
    told = Told(coordinator=Checked(as_one=False))
    for stream in streams:
        told.coordinator.handle(StreamWanted(stream))
        told.node("device", stream.device, 1.0)
    told.node("edge", "e", 0.1)
    told.node("edge", "f", 0.11)
    told.passes(2)
    for _ in range(60):  # each sends ten frames a second that keep an edge busy for 40 ms
        for stream in streams:
            told.frames(1, stream.name)
            told.now_s -= 0.1
        told.now_s += 0.1
    used = [told.plans[stream.name].edge for stream in streams]
    assert sorted(used) == ["e", "e", "f", "f"]  # type: ignore[type-var]
    changes = len(told.reasons)
    for _ in range(60):
        for stream in streams:
            told.frames(1, stream.name)
            told.now_s -= 0.1
        told.now_s += 0.1
        told.do(told.coordinator.handle(Tick(told.now_s)))
    assert len(told.reasons) == changes, "settled"


# ---------------------------------------------------------------------- what may be wrong


def test_constraints_that_cannot_be_met_are_said_and_the_last_plan_stays() -> None:
    told = Told()
    told.coordinator.handle(StreamWanted(goal(min_first_cut=5)))
    told.coordinator.handle(
        PlanHeard(
            StreamPlan(
                stream="cam", model=MODEL, model_name="m", plan=Plan(epoch=7, first_cut=4, second_cut=4, device="d")
            )
        )
    )
    told.node("device", "d", 1.0)
    told.passes(2)
    assert "min_first_cut of 5" in told.said("trouble")
    assert told.explained["cam"]["plan"]["epoch"] == 7
    assert not told.plans


def test_device_without_the_model_is_named() -> None:
    told = Told()
    told.coordinator.handle(StreamWanted(goal()))
    told.passes(1)
    assert "has not been heard of" in told.said("trouble")
    told.status("device", "d", models={"other": "cd" * 32})
    told.passes(1)
    assert "does not have the model 'm'" in told.said("trouble")
    assert "other" in told.said("trouble")


def test_model_that_only_the_device_has_is_said() -> None:
    told = Told()
    told.coordinator.handle(StreamWanted(goal()))
    told.node("device", "d", 1.0)
    told.status("edge", "e", models={})
    told.passes(2)
    assert told.plans["cam"].hops == ()
    assert "no edge or cloud node has the model 'm'" in told.said("warnings")


def test_profile_of_other_cuts_is_not_used() -> None:
    told = Told().site()
    told.coordinator.handle(ProfileHeard(tier="edge", node="e", profile=profile_of((0.0, 0.1)), site="home"))
    told.passes(2)
    assert "edge/e" in told.said("warnings")
    assert "another model" in told.said("warnings")
    assert told.coordinator.view.nodes["edge", "e"].profiles[MODEL] == times(0.1)


def test_profile_that_is_not_what_is_measured_is_said() -> None:
    told = Told().site()
    told.frames(40, slow={"c": 0.2})
    told.passes(2)
    assert "cloud/c: the measured profile of 'm' says" in told.said("warnings")


@pytest.mark.parametrize(
    ("said", "warning"),
    [
        ({"version": "0.0.9"}, "install the same version"),
        ({"version": "9.0.0"}, "install the same version"),
        ({"sent_unix_s": 1e9 + 3600}, "from the future"),
    ],
)
def test_odd_status_is_a_warning_until_it_is_well_again(said: dict[str, object], warning: str) -> None:
    told = Told().site()
    told.status("edge", "e", **said)
    told.passes(2)
    assert warning in told.said("warnings")
    told.status("edge", "e")
    told.passes(2)
    assert warning not in told.said("warnings")
    assert "cam" in told.plans


def test_two_programs_with_one_name_are_told_from_a_restart() -> None:
    told = Told().site()
    for instance in ("one", "two"):
        told.status("edge", "e", instance=instance)
    told.passes(2)
    assert "both called" not in told.said("warnings")
    told.status("edge", "e", instance="one")
    told.passes(2)
    assert "two programs are both called edge/e" in told.said("warnings")


def test_node_that_refuses_leaves_the_last_plan_and_why_is_said() -> None:
    told = Told().site()
    told.frames(20)
    first = told.plans["cam"]
    told.unready = {"e": "no memory", "f": "no memory"}
    told.coordinator.handle(UplinkHeard(connected=False))
    told.passes(1)
    assert told.plans["cam"] == first
    assert "edge/e refuses: no memory" in told.said("trouble")


def test_node_that_says_ready_and_is_not_is_left_and_the_last_plan_that_worked_comes_back() -> None:
    told = Told().site()
    told.frames(20)
    worked = told.plans["cam"]
    told.coordinator.handle(
        ControlHeard(
            "cam",
            StreamControl(
                mode="plan", plan=Plan(epoch=0, first_cut=0, second_cut=4, device="d", edge="e", codecs=("raw",))
            ),
        )
    )
    told.passes(1)
    assert told.plans["cam"].edge == "e"
    told.coordinator.handle(ControlHeard("cam", StreamControl(mode="auto")))
    for seq in range(3):
        told.coordinator.handle(
            DroppedHeard(Dropped(stream="cam", seq=seq, where="e", reason="segment_failed", message="boom"), told.now_s)
        )
    told.passes(1)
    now = told.plans["cam"]
    assert (now.first_cut, now.second_cut, now.cloud) == (worked.first_cut, worked.second_cut, worked.cloud)
    assert "edge/e said ready and failed" in told.reasons[-1]
    assert "boom" in told.reasons[-1]


def test_frames_that_are_dropped_for_usual_reasons_say_nothing_of_a_plan() -> None:
    told = Told().site()
    for seq in range(9):
        told.coordinator.handle(
            DroppedHeard(Dropped(stream="cam", seq=seq, where="c", reason="newer_frame"), told.now_s)
        )
    told.passes(2)
    assert len(told.reasons) == 1


def test_fault_in_one_stream_leaves_the_others_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    told = Told().site(goal("bad", device="d1"), goal("good", device="d2"))
    true_build = problem.build

    def build(wanted: object, *args: object, **more: object) -> object:
        if getattr(wanted, "name", "") == "bad":
            message = "out of figures"
            raise ArithmeticError(message)
        return true_build(wanted, *args, **more)  # type: ignore[arg-type]

    told.frames(3, "good")
    monkeypatch.setattr(core, "build", build)
    told.passes(2)
    assert "out of figures" in told.said("trouble", "bad")
    assert not told.explained["good"]["trouble"]


# ---------------------------------------------------------------------- by hand


def by_hand(**more: object) -> StreamControl:
    said: dict[str, object] = {
        "epoch": 0,
        "first_cut": 2,
        "second_cut": 4,
        "device": "d",
        "edge": "f",
        "codecs": ("raw",),
    }
    return StreamControl(mode="plan", plan=Plan(**(said | more)))  # type: ignore[arg-type]


def test_plan_by_hand_is_prepared_followed_and_kept() -> None:
    told = Told().site()
    told.coordinator.handle(ControlHeard("cam", by_hand()))
    told.passes(1)
    assert (told.plans["cam"].first_cut, told.plans["cam"].edge, told.plans["cam"].epoch) == (2, "f", 2)
    told.frames(20)
    told.passes(5)
    assert told.plans["cam"].epoch == 2
    told.coordinator.handle(ControlHeard("cam", StreamControl(mode="auto")))
    told.passes(2)
    assert told.plans["cam"].cloud == "c"


@pytest.mark.parametrize("wrong", [{"edge": "nobody"}, {"first_cut": 3, "second_cut": 3}, {"second_cut": 9}])
def test_plan_by_hand_that_is_not_possible_is_refused_with_words(wrong: dict[str, object]) -> None:
    told = Told().site()
    first = told.plans["cam"]
    told.coordinator.handle(ControlHeard("cam", by_hand(**wrong)))
    told.passes(2)
    assert "given by hand is not possible" in told.said("trouble")
    assert told.plans["cam"] == first


def test_frozen_stream_keeps_its_plan_whatever_happens() -> None:
    told = Told().site()
    first = told.plans["cam"]
    told.coordinator.handle(ControlHeard("cam", StreamControl(mode="freeze")))
    told.coordinator.handle(UplinkHeard(connected=False))
    told.passes(5)
    assert told.plans["cam"] == first
    assert "cloud 'c' is gone" in told.said("trouble")
    assert told.said("control") == "freeze"


# ---------------------------------------------------------------------- events


def test_same_events_again_give_the_same_actions() -> None:
    told = Told().site(goal("a", device="d1"), goal("b", device="d2", objective="throughput", deadline_s=0.5))
    for stream in ("a", "b"):
        told.frames(8, stream)
    told.mbps = {("d1", "e"): 1.0, ("e", "c"): 0.5}
    told.frames(12, "a", slow={"e": 3.0})
    told.status("edge", "e", state="offline")
    told.unready = {"f": "boom"}
    told.passes(3)
    told.coordinator.handle(StreamUnwanted("b"))
    told.passes(1)
    again = Coordinator("home")
    assert [again.handle(event) for event in told.coordinator.events] == told.coordinator.said
    assert len(told.coordinator.events) > 100
    assert len(told.reasons) > 2


def test_broken_state_is_noticed() -> None:
    told = Told().site()
    told.coordinator.validate_state()
    stream = told.coordinator._streams["cam"]
    stream.mix, stream.proved = None, told.plans["cam"]
    with pytest.raises(AssertionError, match="'cam': without a plan nothing is on trial"):
        told.coordinator.handle(Tick(told.now_s))


# ---------------------------------------------------------------------- cost


@pytest.mark.parametrize("count", [1, 2])
def test_problem_is_built_once_per_evaluation_and_never_read(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    streams = [goal(f"cam{index}", device=f"d{index}") for index in range(count)]
    told = Told().site(*streams)
    for stream in streams:
        told.frames(5, stream.name)
    calls = {"built": 0, "read": 0}
    true_build, true_convert = problem.build, msgspec.convert

    def build(*args: Any, **more: Any) -> object:
        calls["built"] += 1
        return true_build(*args, **more)

    def convert(*args: Any, **more: Any) -> object:
        calls["read"] += 1
        return true_convert(*args, **more)

    monkeypatch.setattr(core, "build", build)
    monkeypatch.setattr(msgspec, "convert", convert)
    told.coordinator._lively_until_s = told.now_s + 10  # streams are evaluated at each tick
    told.passes(5)  # twenty ticks, with explanations and what streams take of nodes
    assert calls == {"built": 20 * count, "read": 0}
