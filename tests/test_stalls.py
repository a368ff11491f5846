"""A line that stalls costs its frames something on average; a steady one costs nothing, and a stall is forgotten."""

from __future__ import annotations

import pytest

from tests.coordinating import Told
from tiercut.estimate.links import LinkEstimator, LinkSample
from tiercut.estimate.stalls import Stalls

FRAME_BYTES, FRAME_S = 20_000, 0.02


def watched(stalls: Stalls, start_s: float, seconds: float, every_s: float = 0.5) -> float:
    """Frames that cross as expected for so long; until when."""
    for count in range(int(seconds / every_s)):
        stalls.seen(start_s + count * every_s, FRAME_S, FRAME_S)
    return start_s + seconds


def flapping(times: int, *, held_s: float = 3.0, between_s: float = 20.0) -> tuple[Stalls, float]:
    """A line that is held up so often, for so long each."""
    stalls, now_s = Stalls(), 0.0
    for _ in range(times):
        now_s = watched(stalls, now_s, between_s) + held_s
        stalls.seen(now_s, held_s, FRAME_S)
    return stalls, now_s


def test_line_that_never_stalls_costs_nothing() -> None:
    stalls = Stalls()
    for count in range(1000):
        stalls.seen(0.5 * count, FRAME_S * (1.8 if count % 3 else 1.0), FRAME_S)
    assert stalls.cost_s(500.0) == 0.0


def test_each_stall_costs_more_until_the_line_is_worth_leaving() -> None:
    costs_s = [flapping(times)[0].cost_s(flapping(times)[1]) for times in range(1, 7)]
    assert costs_s == sorted(costs_s)
    assert costs_s[0] < 0.06
    assert costs_s[-1] > 0.10


def test_longer_stalls_cost_more_up_to_the_timeout_of_a_frame() -> None:
    one, two, ten, hundred = (flapping(3, held_s=held_s) for held_s in (1.0, 2.0, 10.0, 100.0))
    assert one[0].cost_s(one[1]) < two[0].cost_s(two[1]) < ten[0].cost_s(ten[1])
    assert hundred[0].cost_s(hundred[1]) <= ten[0].cost_s(ten[1])


def test_transfer_that_goes_on_waiting_is_one_stall() -> None:
    many, once = Stalls(), Stalls()
    watched(many, 0.0, 10.0)
    watched(once, 0.0, 10.0)
    for held_s in (0.5, 1.0, 1.5, 2.0):
        many.seen(10.0 + held_s, held_s, FRAME_S)
    once.seen(12.0, 2.0, FRAME_S)
    assert many.cost_s(12.0) == pytest.approx(once.cost_s(12.0), rel=0.05)


def test_good_frames_halve_what_stalls_cost_in_minutes() -> None:
    stalls, now_s = flapping(4)
    before_s = stalls.cost_s(now_s)
    now_s = watched(stalls, now_s, 180.0)
    assert stalls.cost_s(now_s) < before_s / 3


def test_line_that_is_only_probed_is_forgiven_more_slowly_than_one_in_use() -> None:
    used, now_s = flapping(4)
    probed, _ = flapping(4)
    watched(used, now_s, 120.0)
    watched(probed, now_s, 120.0, every_s=10.0)
    assert used.cost_s(now_s + 120) < probed.cost_s(now_s + 120) / 1.5


def test_nothing_heard_of_a_line_is_no_reason_to_stay_away_forever() -> None:
    stalls, now_s = flapping(4)
    assert stalls.cost_s(now_s + 3600) < stalls.cost_s(now_s) / 50


def test_estimator_notes_a_transfer_that_is_held_up_in_flight() -> None:
    estimator = LinkEstimator()
    for count in range(20):
        estimator.observe(LinkSample(at_s=0.5 * count, payload_bytes=FRAME_BYTES, seconds=FRAME_S))
    assert estimator.stalls.cost_s(10.0) == 0.0
    for waited_s in (0.3, 0.8, 1.3, 1.8):
        estimator.waits(FRAME_BYTES, waited_s, 10.0 + waited_s)
    assert estimator.stalls.cost_s(12.0) > 0.01


def test_uplink_that_flaps_is_left_for_the_edge_although_it_is_the_quicker_one_in_between() -> None:
    told = Told().site()
    told.frames(20)
    assert told.plans["cam"].cloud == "c"
    for start in ("d", "e", "f"):
        stalls = told.coordinator.view.estimator(("device" if start == "d" else "edge", start), ("cloud", "c")).stalls
        for count in range(8):
            stalls.seen(told.now_s + 0.01 * count, 3.0 - 0.6 * (count % 2), FRAME_S)
            stalls.seen(told.now_s + 0.01 * count + 1e-3, FRAME_S, FRAME_S)
            stalls._to_s = float("-inf")  # each is a stall of its own
    told.frames(40)
    assert told.plans["cam"].cloud is None
