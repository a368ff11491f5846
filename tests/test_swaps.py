"""Changes back and forth must last, an idle stream changes for lasting gains, and what is said of changes shows."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from tests.coordinating import MODEL, Told
from tiercut.coordinator.hysteresis import EVALUATIONS, IDLE_S, Hysteresis
from tiercut.coordinator.swaps import FIRST_S, LASTS_S, MOST_S, Swaps
from tiercut.estimate.links import LinkChange, LinkEstimator, LinkSample
from tiercut.estimate.nodes import LoadChange, LoadEstimate
from tiercut.planner import Answer, Choice
from tiercut.planner.objectives import LATENCY
from tiercut.protocol.frames import Stage

EDGE = Choice(variant="full", edge="edge/e", cloud=None, first_cut=0, second_cut=4, codecs=("raw",))
CLOUD = Choice(variant="full", edge=None, cloud="cloud/c", first_cut=0, second_cut=0, codecs=("raw",))


def test_first_change_and_its_way_back_are_free() -> None:
    swaps = Swaps()
    assert not swaps.waits(EDGE, CLOUD, 0.0)
    swaps.made(EDGE, CLOUD, 0.0)
    assert not swaps.waits(CLOUD, EDGE, 1.0)


def test_each_change_that_did_not_last_doubles_the_wait_up_to_a_bound() -> None:
    swaps, now_s = Swaps(), 0.0
    swaps.made(EDGE, CLOUD, now_s)
    waits_s = []
    for _ in range(9):
        swaps.made(CLOUD, EDGE, now_s + 1.0)
        now_s += 1.0
        waits_s.append(next(wait for wait in range(400) if not swaps.waits(EDGE, CLOUD, now_s + wait)))
    assert waits_s[:3] == [FIRST_S, 2 * FIRST_S, 4 * FIRST_S]
    assert waits_s[-1] == MOST_S


def test_change_that_lasted_makes_the_next_one_wait_for_half_as_long() -> None:
    swaps = Swaps()
    for count in range(4):
        swaps.made(EDGE, CLOUD, float(count))
    assert swaps.waits(EDGE, CLOUD, 3.0 + 3 * FIRST_S)
    swaps.made(EDGE, CLOUD, 3.0 + LASTS_S)
    assert not swaps.waits(EDGE, CLOUD, 3.0 + LASTS_S + 3 * FIRST_S)


def answer(choice: Choice, latency_s: float) -> Answer:
    return Answer(device="device/d", choice=choice, latency_seconds=latency_s)


def wanted(patience: Hysteresis, now: Answer, best: Answer, now_s: float, **how: bool) -> str | None:
    """What three evaluations in a row say."""
    said = [
        patience.worth_it(now, best, LATENCY, now_s + 0.25 * count, **{"step": False, **how})
        for count in range(EVALUATIONS)
    ]
    return next((each for each in said if each is not None), None)


def test_plan_that_was_left_and_taken_again_must_wait_unless_the_other_has_got_worse() -> None:
    patience = Hysteresis()
    edge, cloud = answer(EDGE, 0.100), answer(CLOUD, 0.050)
    assert wanted(patience, edge, cloud, 0.0)
    assert wanted(patience, answer(CLOUD, 0.2), edge, 1.0)
    assert wanted(patience, edge, cloud, 2.0) is None
    assert wanted(patience, answer(EDGE, 0.2), cloud, 3.0), "the edge takes longer than it promised"
    assert wanted(patience, edge, cloud, 60.0)


def test_idle_stream_changes_for_a_gain_that_lasts_and_for_no_other() -> None:
    patience, now_s = Hysteresis(), 0.0
    edge, cloud = answer(EDGE, 0.100), answer(CLOUD, 0.050)
    for turn in range(200):
        best = cloud if turn % 4 < 3 else edge
        assert patience.worth_it(edge, best, LATENCY, now_s + turn, step=turn % 8 == 0, idle=True) is None
    now_s = 300.0
    assert patience.worth_it(edge, cloud, LATENCY, now_s, step=False, idle=True) is None
    assert wanted(patience, edge, cloud, now_s + IDLE_S, idle=True)


def test_figures_that_read_the_same_are_no_change() -> None:
    estimator = LinkEstimator(mbps=16.0, latency_seconds=0.01)
    one = estimator.estimate(0.0)
    change = LinkChange(at_s=0.0, before=one, after=replace(one, mbps=8.0))
    assert str(change) == "16 → 8 Mbps"
    assert str(replace(change, after=replace(one, latency_seconds=0.03))) == "16 Mbps, 10 → 30 ms"
    load = LoadEstimate(slowdown=16.0, slowdown_std=0.1, queue_seconds=0.0, samples=9)
    assert not LoadChange(at_s=0.0, before=load, after=replace(load, slowdown=16.9)).matters
    assert LoadChange(at_s=0.0, before=load, after=replace(load, slowdown=18.0)).matters


def test_hop_that_nothing_large_has_crossed_is_no_quicker_than_the_slow_way_that_is_known() -> None:
    told = Told().site()
    view = told.coordinator.view
    device, edge, cloud = (view.nodes[key] for key in (("device", "d"), ("edge", "e"), ("cloud", "c")))
    view.links[edge.key, cloud.key] = LinkEstimator(mbps=20.0, acknowledged=False)
    view.links[device.key, cloud.key].waits(8_000, 3.0, told.now_s)
    assert view.link(edge, cloud, told.now_s).mbps < 0.2
    view.links[edge.key, cloud.key].observe(LinkSample(at_s=told.now_s, payload_bytes=60_000, seconds=0.03))
    assert view.link(edge, cloud, told.now_s).mbps > 5


def test_times_of_the_node_behind_a_line_are_no_part_of_the_line() -> None:
    told = Told().site()
    plan, view, draw = told.plans["cam"], told.coordinator.view, Random(1)  # noqa: S311 - the same at every run
    assert plan.cloud == "c"
    took_s = []
    for count in range(200):
        later_s, ended_s = draw.choice([0.02, 0.06]), told.now_s + 0.1 * count
        stages = Stage("c", "wire", 0.09, payload_bytes=20_000), Stage("c", "compute", later_s)
        view.went(plan, MODEL, stages, {}, ended_s + later_s)
        took_s.append(view.estimator(("device", "d"), ("cloud", "c")).estimate(ended_s).transfer_seconds(20_000))
    assert min(took_s[20:]) > 0.085
    assert max(took_s[20:]) < 0.095
