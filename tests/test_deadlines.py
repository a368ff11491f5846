"""Exits and deadlines in the coordinator's plans."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from msgspec import structs

from tests.coordinating import ACCURACY, DEVICE_S, EXITS, HEAD_S, MODEL, Told, exits_goal, times
from tiercut.coordinator.deadline import FEW, FIRST_MARGIN, Punctuality
from tiercut.coordinator.events import ControlHeard, DroppedHeard, PlanHeard, ProfileHeard, StreamWanted
from tiercut.coordinator.problem import build
from tiercut.coordinator.spans import spans
from tiercut.coordinator.stream_goal import StreamGoal, leaving_at
from tiercut.coordinator.variant_costs import chains_of
from tiercut.declared import decode_json, encode_json
from tiercut.errors import SettingsError
from tiercut.estimate.nodes import LoadEstimator
from tiercut.model.variants import Leaving
from tiercut.plan import Deadline, Plan
from tiercut.profiling.profile import Span
from tiercut.protocol.frames import Dropped, DroppedWay, Stage
from tiercut.protocol.nodes import StreamControl, StreamPlan


def alone(stream: StreamGoal) -> Told:
    """A device without other nodes: 400 ms for the whole model, 210 and 110 ms up to its exits."""
    told = Told()
    told.coordinator.handle(StreamWanted(stream))
    told.node("device", "d", 1.0)
    told.passes(2.0)
    return told


def accurate(deadline_s: float) -> StreamGoal:
    return exits_goal(objective="accuracy", deadline_s=deadline_s)


@pytest.mark.parametrize(("deadline_s", "variant"), [(0.7, "full"), (0.3, "middle"), (0.16, "early")])
def test_most_accurate_variant_within_the_deadline_is_planned(deadline_s: float, variant: str) -> None:
    told = alone(accurate(deadline_s))
    plan = told.plans["cam"]
    assert plan.exit == variant
    assert plan.deadline is not None
    assert (plan.deadline.seconds, plan.deadline.drop) == (deadline_s, True)


def test_nothing_within_the_deadline_runs_the_fastest_and_says_so() -> None:
    told = alone(accurate(0.02))
    plan = told.plans["cam"]
    assert plan.exit == "early"
    assert plan.deadline is not None
    assert not plan.deadline.drop
    assert "no plan meets the deadline of 20 ms" in told.said("trouble")


def test_accuracy_without_a_deadline_takes_the_whole_model() -> None:
    assert alone(exits_goal(objective="accuracy")).plans["cam"].exit == "full"


def test_least_latency_gives_away_only_what_it_may() -> None:
    assert alone(exits_goal()).plans["cam"].exit == "full"
    assert alone(exits_goal(max_accuracy_drop=0.1)).plans["cam"].exit == "middle"
    assert alone(exits_goal(max_accuracy_drop=0.3)).plans["cam"].exit == "early"


def test_narrow_link_takes_accuracy_back_and_a_faster_node_gives_it_again() -> None:
    told = Told().site(accurate(0.3))
    told.frames(20)
    assert told.plans["cam"].exit == "full"
    told.mbps = {(a, b): 0.1 for a in "def" for b in "efc"}
    told.frames(10)
    assert (told.plans["cam"].exit, told.plans["cam"].edge) == ("middle", None)
    assert "deadline" in told.reasons[-1]
    told.frames(60, slow={"d": 0.5})
    assert told.plans["cam"].exit == "full"
    assert "accuracy 80.0% → 90.0%" in told.reasons[-1]


def test_rest_of_the_way_is_said_for_each_node() -> None:
    told = Told().site(accurate(0.5))
    plan = told.plans["cam"]
    assert plan.deadline is not None
    rest = plan.deadline.rest_s
    assert len(rest) == len(plan.hops) + 1
    assert all(a > b for a, b in itertools.pairwise(rest))


def test_share_of_met_deadlines_is_measured_and_drops_count_as_missed() -> None:
    told = alone(accurate(0.7))
    told.frames(9)
    for seq in range(3):
        told.coordinator.handle(DroppedHeard(Dropped(stream="cam", seq=seq, where="d", reason="too_late"), told.now_s))
    told.passes(1.5)
    deadline = told.explained["cam"]["deadline"]
    assert (deadline["met_share"], deadline["frames"]) == (0.75, 12)


def test_margin_follows_what_was_measured() -> None:
    kept = Punctuality(predicted_s=0.1)
    assert kept.margin_s(1.0) == FIRST_MARGIN
    for i in range(4 * FEW):
        kept.arrived(0.11 + 0.002 * (i % 2), usual=True)
    assert 0.012 < kept.margin_s(1.0) < 0.025
    kept.arrived(5.0, usual=True)  # one that was held up says nothing of the others
    assert kept.margin_s(1.0) < 0.025


def test_frames_that_met_a_change_say_nothing_of_the_next_plans_margin() -> None:
    kept = Punctuality(predicted_s=0.1)
    for latency_s in [0.104] * 20 + [3.0] * 8:
        kept.arrived(latency_s, usual=True)
    assert kept.margin_s(1.0) > 1
    kept.new_plan()
    assert kept.margin_s(1.0) == FIRST_MARGIN


def test_about_how_much_frames_differ_stays_known_over_a_change() -> None:
    kept = Punctuality(predicted_s=0.1)
    for i in range(20):
        kept.arrived(0.1 + 0.001 * (i % 3), usual=True)
    before_s = kept.margin_s(1.0)
    kept.new_plan()
    assert 0 < kept.margin_s(1.0) == before_s < FIRST_MARGIN


def test_frames_that_leave_early_or_fall_back_say_nothing_of_the_margin() -> None:
    kept = Punctuality(predicted_s=0.1)
    for _ in range(50):
        kept.arrived(0.01, usual=False)
    assert kept.margin_s(1.0) == FIRST_MARGIN


# ---------------------------------------------------------------------- frames that leave where an exit is sure

LEAVING = (
    Leaving(threshold=0.5, shares={"early": 0.9, "middle": 0.1}, accuracy=0.75),
    Leaving(threshold=0.9, shares={"early": 0.5, "middle": 0.25, "full": 0.25}, accuracy=0.88),
)


def leaving_goal(**more: object) -> StreamGoal:
    return exits_goal(leaving=LEAVING, exit_threshold=0.9, max_accuracy_drop=1.0, **more)


def test_chain_costs_what_a_frame_costs_on_average() -> None:
    (chain,) = chains_of(leaving_goal())
    assert chain.accuracy == 0.88
    assert chain.reach == pytest.approx((1.0, 0.5, 0.25, 0.25, 0.25))
    sizes = [cut.bytes for cut in exits_goal().cuts]
    assert chain.cut_bytes == pytest.approx([size * share for size, share in zip(sizes, chain.reach, strict=True)])
    seconds = chain.block_seconds(times(1.0), LoadEstimator(), exits_goal())
    assert seconds == pytest.approx([0.1 + HEAD_S, 0.5 * (0.1 + HEAD_S), 0.025, 0.025])


def test_with_a_deadline_frames_that_leave_nowhere_count() -> None:
    (chain,) = chains_of(leaving_goal(deadline_s=1.0))
    assert set(chain.reach) == {1.0}
    seconds = chain.block_seconds(times(1.0), LoadEstimator(), exits_goal())
    assert seconds == pytest.approx([0.1 + HEAD_S, 0.1 + HEAD_S, 0.1, 0.1])


def test_thresholds_in_between_are_interpolated() -> None:
    between = leaving_at(LEAVING, 0.7)
    assert between.shares == pytest.approx({"early": 0.7, "middle": 0.175, "full": 0.125})
    assert between.accuracy == pytest.approx(0.815)
    assert leaving_at(LEAVING, 1.0).shares["full"] == 1.0
    assert leaving_at(LEAVING, 0.2).shares["early"] == 0.9
    with pytest.raises(SettingsError, match="exits train"):
        leaving_at((), 0.5)


def test_plan_carries_the_threshold_and_what_leaves_where_is_counted() -> None:
    told = alone(leaving_goal())
    assert told.plans["cam"].threshold == 0.9
    told.frames(30, left_at="early")
    told.passes(1.5)
    assert told.explained["cam"]["exits"]["early"] > 0.9


def test_frame_that_left_early_does_not_make_a_node_look_fast() -> None:
    told = alone(leaving_goal())
    told.frames(30, left_at="early")
    told.passes(1.5)
    slowdowns = {node["id"]: node["slowdown"] for node in told.explained["cam"]["nodes"]}
    assert slowdowns["device/d"] == pytest.approx(1.0, rel=0.02)


PLAN = Plan(epoch=1, first_cut=1, second_cut=2, device="d", edge="e", cloud="c", codecs=("raw", "raw"))


def test_spans_say_what_each_node_has_run() -> None:
    goal, leaving = exits_goal(), structs.replace(PLAN, threshold=0.5)
    device, edge, cloud = ("device", "d"), ("edge", "e"), ("cloud", "c")
    assert spans(PLAN, "full", goal) == {device: Span(0, 1), edge: Span(1, 2), cloud: Span(2, 4)}
    assert spans(leaving, "full", goal) == {
        device: Span(0, 1, heads=("early",)),
        edge: Span(1, 2, heads=("middle",)),
        cloud: Span(2, 4),
    }
    assert spans(leaving, "middle", goal) == {
        device: Span(0, 1, heads=("early",)),
        edge: Span(1, 2, heads=("middle",)),
    }
    assert spans(leaving, "early", goal) == {device: Span(0, 1, heads=("early",))}
    middle = structs.replace(PLAN, exit="middle")
    assert spans(middle, "middle", goal) == {device: Span(0, 1), edge: Span(1, 2), cloud: Span(2, 3, "middle")}


def test_node_without_a_profile_of_the_exits_is_planned_without_them() -> None:
    told = alone(accurate(0.3))
    bare = replace(times(1.0), variants={})
    told.coordinator.handle(ProfileHeard(tier="device", node="d", profile=bare, site="home"))
    problem = build(exits_goal(), told.coordinator.view, told.now_s)
    assert problem is not None
    assert set(problem.device.block_seconds) == {"full"}
    assert bare.cut_seconds == DEVICE_S
    assert {variant.name for variant in problem.variants} == {"full", *EXITS}
    assert (problem.variants[0].accuracy, bare.model) == (ACCURACY, MODEL)


def test_plan_by_hand_may_name_an_exit_and_no_other_variant() -> None:
    told = alone(exits_goal())
    wanted = Plan(epoch=0, first_cut=3, second_cut=3, exit="middle", device="d")
    told.coordinator.handle(ControlHeard("cam", StreamControl(mode="plan", plan=wanted)))
    told.passes(1)
    assert told.plans["cam"].exit == "full"  # it gives away more than the stream may
    assert "max_accuracy_drop" in told.said("trouble")
    told.coordinator.handle(ControlHeard("cam", StreamControl(mode="plan", plan=structs.replace(wanted, exit="last"))))
    told.passes(1.5)
    assert "no variant 'last'" in told.said("trouble")


# ---------------------------------------------------------------------- what reviews have found


def late(told: Told, *, compute_s: float, age_s: float) -> None:
    """A frame is dropped at the end of its way: the device has taken so long."""
    plan = told.plans["cam"]
    stages = (Stage("d", "compute", compute_s),)
    way = DroppedWay.of(model=MODEL, plan=plan, cut=plan.first_cut, stages=stages, age_s=age_s)
    message = Dropped(stream="cam", seq=told.seq, where="d", reason="past_deadline", way=way)
    told.do(told.coordinator.handle(DroppedHeard(message, told.now_s)))


def test_frames_that_are_dropped_as_too_late_teach_what_takes_so_long() -> None:
    told = alone(accurate(0.5))
    told.frames(10)
    assert told.plans["cam"].exit == "full"
    for _ in range(8):
        told.now_s += 0.6
        late(told, compute_s=0.8, age_s=0.81)
        told.tick()
    assert told.plans["cam"].exit != "full"


def test_what_every_frame_takes_besides_is_kept_free_whatever_the_plan() -> None:
    told = alone(accurate(0.5))
    told.beside_s = 0.15  # in no stage
    told.frames(40)
    assert told.plans["cam"].exit == "middle"
    assert len(told.reasons) <= 3
    told.passes(1.5)
    assert told.explained["cam"]["deadline"]["margin_ms"] >= 150


def test_plan_at_the_edge_of_its_deadline_does_not_flap() -> None:
    random = np.random.default_rng(0)
    told = Told().site(exits_goal(objective="accuracy", deadline_s=0.22))
    for _ in range(300):
        told.mbps = {(a, b): 2.0 * (1 + 0.15 * random.uniform(-1, 1)) for a in "def" for b in "efc"}
        told.frames(1)
    assert len(told.reasons) <= 15  # in 38 s; 50 without patience


def test_plan_that_is_adopted_is_the_one_that_has_time_to_spare() -> None:
    told = alone(accurate(0.3))
    told.frames(20)
    assert told.plans["cam"].exit == "middle"
    told.frames(40, slow={"d": 0.72})  # the whole model would take 288 of about 300 ms
    assert told.plans["cam"].exit == "middle"
    told.frames(40, slow={"d": 0.5})
    assert told.plans["cam"].exit == "full"


def test_retained_plan_stands_until_its_hops_are_measured() -> None:
    told = Told()
    told.coordinator.handle(StreamWanted(accurate(0.05)))
    plan = Plan(
        epoch=7,
        first_cut=0,
        second_cut=0,
        device="d",
        cloud="c",
        codecs=("raw",),
        deadline=Deadline(seconds=0.05),
    )
    told.coordinator.handle(PlanHeard(StreamPlan(stream="cam", model=MODEL, model_name="m", plan=plan)))
    for tier, name, factor in (("device", "d", 1.0), ("edge", "e", 0.1), ("cloud", "c", 0.01)):
        told.node(tier, name, factor)  # type: ignore[arg-type]
    told.mbps = {(a, b): 400.0 for a in "de" for b in "ec"}
    told.passes(3)
    assert told.reasons == []


def test_profile_with_odd_variants_is_used_without_them_and_says_so() -> None:
    told = Told().site(exits_goal())
    odd = replace(times(0.1), variants={"early": (0.0, 0.1), "middle": times(0.1).variants["middle"]})
    told.coordinator.handle(ProfileHeard(tier="edge", node="e", profile=odd, site="home"))
    told.frames(5)
    told.passes(1.5)
    assert told.explained["cam"]["trouble"] is None
    assert "other variants (early)" in str(told.explained["cam"]["warnings"])


def test_exits_count_against_what_may_be_given_away() -> None:
    goal = exits_goal(leaving=LEAVING, exit_threshold=0.9, max_accuracy_drop=0.05)
    problem = build(goal, alone(exits_goal()).coordinator.view, 100.0)
    assert problem is not None
    assert problem.max_accuracy_drop == pytest.approx(0.03)


@pytest.mark.parametrize("seconds", [1e12, float("inf"), float("nan"), 0.0])
def test_deadline_that_no_message_could_carry_is_no_plan(seconds: float) -> None:
    with pytest.raises(SettingsError, match="deadline"):
        Deadline(seconds=seconds)


def test_way_of_a_dropped_frame_comes_back_as_it_was() -> None:
    way = DroppedWay.of(model=MODEL, plan=PLAN, cut=2, stages=(Stage("d", "compute", 0.25),), age_s=0.5)
    message = Dropped(stream="cam", seq=3, where="e", reason="too_late", message="late", way=way)
    assert decode_json(Dropped, encode_json(message)) == message
