"""How many frames of a stream may be under way."""

from tiercut.window import Window


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


def test_frame_sent_again_has_its_whole_time_again() -> None:
    window = Window(limit=1, timeout_s=5)
    window.start(0, 0.0)
    window.sent_again(0, 6.0)
    assert window.overdue(10.0) == []
    assert window.overdue(11.5) == [0]
