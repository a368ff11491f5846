"""How many frames of a stream may be in flight, and what becomes of each."""

import math

import pytest

from tiercut.pipeline.window import LEFT_BEHIND_S, MAX_TIMEOUTS, InFlightWindow


def overdue(window: InFlightWindow[str], now_s: float) -> list[int]:
    return [frame.seq for frame in window.overdue(now_s)]


def test_window_is_full_at_its_limit_and_has_room_after_an_outcome() -> None:
    window: InFlightWindow[str] = InFlightWindow(limit=2, timeout_s=5)
    window.start(0, 0.0)
    window.start(1, 0.1)
    assert window.wait_s(0.2) == math.inf
    assert window.outcome(0, 1.0)
    assert window.wait_s(1.0) == 0


def test_second_outcome_of_a_frame_frees_nothing() -> None:
    window: InFlightWindow[str] = InFlightWindow(limit=2, timeout_s=5)
    window.start(0, 0.0)
    assert window.outcome(0, 1.0)
    assert not window.outcome(0, 1.0)
    assert len(window) == 0


def test_frame_is_overdue_after_its_timeout_oldest_first() -> None:
    window: InFlightWindow[str] = InFlightWindow(limit=3, timeout_s=5)
    for seq in range(3):
        window.start(seq, float(seq))
        window.left(seq, float(seq))
    assert overdue(window, 6.5) == [0, 1]


def test_time_counts_from_when_a_frame_has_left() -> None:
    window: InFlightWindow[str] = InFlightWindow(limit=1, timeout_s=5)
    window.start(0, 0.0)
    window.left(0, 4.0)
    assert overdue(window, 8.0) == []
    assert overdue(window, 9.5) == [0]


def test_frame_that_leaves_after_its_outcome_is_not_in_flight() -> None:
    window: InFlightWindow[str] = InFlightWindow(limit=1, timeout_s=5)
    window.start(0, 0.0)
    window.outcome(0, 1.0)
    window.left(0, 1.0)
    assert len(window) == 0


def test_frame_sent_again_waits_twice_as_long_each_time() -> None:
    window: InFlightWindow[str] = InFlightWindow(limit=1, timeout_s=5)
    window.start(0, 0.0)
    window.left(0, 0.0)
    window.sent_again(0, 6.0)
    window.left(0, 6.0)
    assert overdue(window, 15.5) == []
    assert overdue(window, 16.5) == [0]
    window.sent_again(0, 20.0)
    window.left(0, 20.0)
    assert overdue(window, 39.5) == []
    assert overdue(window, 40.5) == [0]


def test_wait_for_an_outcome_grows_to_a_bound() -> None:
    window: InFlightWindow[str] = InFlightWindow(limit=1, timeout_s=5)
    window.start(0, 0.0)
    for _ in range(100):
        window.left(0, 0.0)
        window.sent_again(0, 0.0)
    window.left(0, 0.0)
    assert overdue(window, 5 * MAX_TIMEOUTS + 1) == [0]


def test_frame_still_on_the_device_is_not_overdue() -> None:
    window: InFlightWindow[str] = InFlightWindow(limit=1, timeout_s=5)
    window.start(0, 0.0)
    assert overdue(window, 100.0) == []
    window.left(0, 100.0)
    window.sent_again(0, 106.0)
    assert overdue(window, 1000.0) == []


def test_frame_that_never_left_cannot_be_sent_again() -> None:
    window: InFlightWindow[str] = InFlightWindow(limit=1, timeout_s=5)
    window.start(0, 0.0)
    with pytest.raises(KeyError):
        window.sent_again(0, 1.0)


def test_overdue_frame_brings_what_was_kept_of_it() -> None:
    window: InFlightWindow[str] = InFlightWindow(limit=2, timeout_s=5)
    for seq, kept in enumerate((None, "frame 1")):
        window.start(seq, 0.0, kept=kept)
        window.left(seq, 0.0)
    assert [frame.kept for frame in window.overdue(6.0)] == [None, "frame 1"]


def test_outcome_of_a_frame_from_before_a_restart_is_not_expected() -> None:
    window: InFlightWindow[str] = InFlightWindow(limit=1, timeout_s=5)
    window.start(0, 0.0, event="0-now")
    assert window.expects(0, "0-now")
    assert window.expects(0, None)
    assert not window.expects(0, "0-before")


def test_window_knows_whether_frames_of_another_plan_are_in_flight() -> None:
    window: InFlightWindow[str] = InFlightWindow(limit=2, timeout_s=5)
    assert not window.holds_other_epoch(2)
    window.start(0, 0.0, epoch=1)
    assert (window.holds_other_epoch(1), window.holds_other_epoch(2)) == (False, True)
    window.outcome(0, 1.0)
    assert not window.holds_other_epoch(2)


# ---------------------------------------------------------------------- another way


def test_stuck_frames_of_another_way_take_no_place_once_they_are_late() -> None:
    window: InFlightWindow[str] = InFlightWindow(limit=2, timeout_s=10)
    for seq in range(2):
        window.start(seq, 0.0)
    window.new_way(2, 0.5)
    assert window.wait_s(0.9) == math.inf  # they may be about to come home
    now_s = LEFT_BEHIND_S + 0.1
    for seq in (2, 3):
        assert window.wait_s(now_s) == 0
        window.start(seq, now_s)
    assert window.wait_s(now_s) == math.inf
    assert window.outcome(2, now_s + 0.1)
    assert window.wait_s(now_s + 0.1) == 0


def test_what_was_usual_on_the_way_before_says_when_its_frames_are_late() -> None:
    window: InFlightWindow[str] = InFlightWindow(limit=1, timeout_s=10)
    window.start(0, 0.0)
    window.outcome(0, 0.5)
    window.start(1, 1.0)
    window.new_way(1, 1.1)
    assert window.wait_s(2.9) == math.inf
    assert window.wait_s(3.1) == 0


def test_stuck_frames_of_another_way_do_not_make_this_one_silent() -> None:
    window: InFlightWindow[str] = InFlightWindow(limit=4, timeout_s=10)
    window.start(0, 0.0)
    window.new_way(4, 5.0)
    assert window.silent_s(6.0, at_first_s=3.0) <= 0
    window.start(1, 6.0)
    assert window.silent_s(8.0, at_first_s=3.0) <= 0
    assert window.silent_s(10.0, at_first_s=3.0) == pytest.approx(1.0)


def test_numbers_are_in_order_when_a_frame_has_gone_another_way() -> None:
    one: InFlightWindow[str] = InFlightWindow(limit=4, timeout_s=10)
    other: InFlightWindow[str] = InFlightWindow(limit=4, timeout_s=10)
    one.start(0, 0.0)
    other.start(1, 0.1)
    one.move_to(other, 0, 5.0)
    assert other.seqs == (0, 1)
