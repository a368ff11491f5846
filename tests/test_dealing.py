"""Which plan a frame goes to, how often frames set out, and in which order outcomes are published."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from iot_node.outcome_order import MAX_BYTES, MAX_FRAMES, OutcomeOrder
from tiercut.pipeline.dealing import Dealer
from tiercut.pipeline.rate_limit import RateLimit

shares_of_some = st.lists(st.floats(0.001, 1.0), min_size=2, max_size=8).map(
    lambda parts: [part / sum(parts) for part in parts]
)


@given(shares_of_some)
def test_each_plan_has_had_its_share_to_within_one_frame_at_any_time(shares: list[float]) -> None:
    dealer, dealt, all_of_them = Dealer(shares), [0] * len(shares), range(len(shares))
    for count in range(1, 1001):
        place = dealer.next(all_of_them)
        dealer.dealt(place, all_of_them)
        dealt[place] += 1
        assert max(abs(share * count - done) for share, done in zip(shares, dealt, strict=True)) < 1


def test_same_shares_are_dealt_the_same_way() -> None:
    def places() -> list[int]:
        dealer, given = Dealer([0.6, 0.3, 0.1]), []
        for _ in range(20):
            given.append(dealer.next(range(3)))
            dealer.dealt(given[-1], range(3))
        return given

    assert places() == places()
    assert places()[:10].count(0) == 6


def test_share_that_moves_to_others_is_not_asked_back() -> None:
    dealer, dealt = Dealer([0.5, 0.3, 0.2]), [0, 0, 0]
    for _ in range(500):
        place = dealer.next([1, 2])
        dealer.dealt(place, [1, 2])
        dealt[place] += 1
    assert dealt == [0, 300, 200]
    first = []
    for _ in range(10):
        first.append(dealer.next(range(3)))
        dealer.dealt(first[-1], range(3))
    assert [first.count(place) for place in range(3)] == [5, 3, 2]


# ---------------------------------------------------------------------- the rate


def started(limit: float, frames_s: list[float], sensor_period_s: float = 0.0) -> list[float]:
    """When frames set out, of those that were there at these times."""
    rate, out = RateLimit(sensor_period_s), []
    rate.limit(limit)
    for at_s in frames_s:
        if not rate.is_early(at_s):
            rate.started(at_s)
            out.append(at_s)
    return out


def test_frames_of_a_faster_sensor_set_out_as_often_as_there_is_room_and_evenly() -> None:
    out = started(20, [n / 30 for n in range(300)], 1 / 30)
    assert 198 <= len(out) <= 201
    gaps = [b - a for a, b in pairwise(out)]
    assert min(gaps) > 0.024
    assert max(gaps) < 0.076


@given(st.lists(st.floats(-0.01, 0.01), min_size=200, max_size=200))
def test_sensor_of_just_that_rate_loses_no_frame_to_jitter(jitter: list[float]) -> None:
    frames_s = [n / 20 + off for n, off in enumerate(jitter)]
    assert started(20, frames_s, 1 / 20) == frames_s


def test_frames_that_were_not_there_are_not_made_up_for() -> None:
    out = started(10, [n / 1000 for n in (*range(1000), *range(5000, 6000))])
    assert len(out) <= 22  # after each pause one comes half a period early
    assert min(b - a for a, b in pairwise(out)) > 0.0499


@given(st.lists(st.floats(0, 0.2), min_size=50, max_size=200), st.floats(1, 100))
def test_never_more_than_the_rate_and_one(gaps: list[float], limit: float) -> None:
    now_s, frames_s = 0.0, []
    for gap in gaps:
        now_s += gap
        frames_s.append(now_s)
    out = started(limit, frames_s)
    for first in range(len(out)):
        for last in range(first + 1, len(out)):
            assert last - first <= (out[last] - out[first]) * limit + 1.5


def test_new_rate_counts_at_once() -> None:
    rate = RateLimit()
    rate.limit(0.01)
    rate.started(0.0)
    rate.started(50.0)
    assert rate.wait_s(51.0) == 99.0
    rate.limit(10.0)
    assert rate.wait_s(50.06) <= 0.04 + 1e-9
    assert rate.wait_s(51.0) == 0.0
    rate.limit(0.1)
    assert rate.wait_s(51.0) == 9.0

    passes = RateLimit(1 / 30)
    passes.limit(0.01)
    passes.started(0.0)
    assert passes.is_early(40.0)
    passes.limit(30.0)
    assert not passes.is_early(40.0)


# ---------------------------------------------------------------------- the order


def test_outcomes_wait_for_those_of_earlier_frames() -> None:
    order: OutcomeOrder[str] = OutcomeOrder()
    for seq in range(4):
        order.expect(seq)
    assert order.settle(1, "b")
    assert order.take(0.0) == []
    assert order.settle(2)  # it has none that is to be published
    assert order.settle(0, "a")
    assert order.take(0.0) == ["a", "b"]
    assert order.settle(3, "d")
    assert order.take(0.0) == ["d"]
    assert len(order) == 0


def test_second_outcome_of_a_frame_is_none() -> None:
    order: OutcomeOrder[str] = OutcomeOrder()
    order.expect(0)
    order.expect(1)
    assert order.settle(1, "b")
    assert not order.settle(1, "b")
    assert not order.settle(7, "x")
    assert order.settle(0, "a")
    assert order.take(0.0) == ["a", "b"]
    assert not order.settle(0, "a")


def test_frame_that_takes_too_long_is_skipped_once_it_holds_up_another() -> None:
    order: OutcomeOrder[str] = OutcomeOrder()
    order.expect(0, until_s=1.0)
    order.expect(1, until_s=2.0)
    assert order.take(5.0) == []  # it holds up none
    assert order.settle(1, "b")
    assert order.due_s == 1.0
    assert order.take(0.9) == []
    assert order.take(1.0) == ["b"]
    assert order.was_skipped(0)
    assert not order.was_skipped(1)
    assert not order.settle(0, "a")


@given(st.permutations(range(12)), st.sets(st.integers(0, 11)))
def test_whatever_the_order_of_coming_that_of_publishing_is_the_frames(came: list[int], none: set[int]) -> None:
    order: OutcomeOrder[int] = OutcomeOrder()
    for seq in range(12):
        order.expect(seq)
    published = []
    for seq in came:
        order.settle(seq, None if seq in none else seq)
        published += order.take(0.0)
    assert published == [seq for seq in range(12) if seq not in none]
    assert order.take_all() == []


def test_so_much_may_wait_and_no_more() -> None:
    order: OutcomeOrder[str] = OutcomeOrder()
    for seq in range(MAX_FRAMES):
        assert not order.is_full
        order.expect(seq)
    assert order.is_full
    for seq in range(1, MAX_FRAMES):
        order.settle(seq, str(seq))
    assert order.is_full
    order.settle(0, "0")
    assert order.take(0.0) == [str(seq) for seq in range(MAX_FRAMES)]
    assert not order.is_full
    order.expect(1000)
    order.expect(1001)
    order.settle(1001, "large", MAX_BYTES)
    assert order.is_full
    assert order.take_all() == ["large"]
    assert not order.is_full
