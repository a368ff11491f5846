"""How many frames of a stream may be under way."""

from tiercut.pipeline.window import MAX_TIMEOUTS, Window


def test_window_is_full_at_its_limit_and_has_room_after_an_outcome() -> None:
    window = Window(limit=2, timeout_s=5)
    window.start(0, 0.0)
    window.start(1, 0.1)
    assert not window.has_room
    assert window.end(0)
    assert window.has_room


def test_second_outcome_of_a_frame_frees_nothing() -> None:
    window = Window(limit=2, timeout_s=5)
    window.start(0, 0.0)
    assert window.end(0)
    assert not window.end(0)
    assert len(window) == 0


def test_frame_is_overdue_after_its_timeout_oldest_first() -> None:
    window = Window(limit=3, timeout_s=5)
    for seq in range(3):
        window.start(seq, float(seq))
    assert window.overdue(6.5) == [0, 1]


def test_time_counts_from_when_a_frame_has_left() -> None:
    window = Window(limit=1, timeout_s=5)
    window.start(0, 0.0)
    window.left(0, 4.0)
    assert window.overdue(8.0) == []
    assert window.overdue(9.5) == [0]


def test_frame_that_leaves_after_its_outcome_is_none_under_way() -> None:
    window = Window(limit=1, timeout_s=5)
    window.start(0, 0.0)
    window.end(0)
    window.left(0, 1.0)
    assert len(window) == 0


def test_frame_sent_again_waits_twice_as_long_each_time() -> None:
    window = Window(limit=1, timeout_s=5)
    window.start(0, 0.0)
    window.sent_again(0, 6.0)
    assert window.overdue(15.5) == []
    assert window.overdue(16.5) == [0]
    window.sent_again(0, 20.0)
    assert window.overdue(39.5) == []
    assert window.overdue(40.5) == [0]


def test_wait_for_an_outcome_grows_to_a_bound() -> None:
    window = Window(limit=1, timeout_s=5)
    window.start(0, 0.0)
    for _ in range(100):
        window.sent_again(0, 0.0)
    assert window.overdue(5 * MAX_TIMEOUTS + 1) == [0]
