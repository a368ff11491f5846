"""What a sensor gives, and waits for others' frames that are remembered."""

from __future__ import annotations

import pytest
from msgspec import UNSET

from tiercut.coordinator.long_waits import MOST_S, REMEMBERED_S, LongWaits
from tiercut.coordinator.offered import Offered
from tiercut.protocol.streams import SourceReport


def heard(*counted: dict[str, int], fps: float | None = None, every_s: float = 2.0) -> Offered:
    offered = Offered()
    for n, frames in enumerate(counted):
        report = SourceReport(stream="cam", node="d", state="running", frames=frames, frames_per_second=fps or UNSET)
        offered.heard(report, 100 + every_s * n)
    return offered


def test_rate_is_that_of_the_settings_without_skipped_frames() -> None:
    assert heard({}, fps=20).asked_fps == 20
    offered = heard({}, {"captured": 40, "done": 9, "dropped.unchanged": 30}, fps=20)
    assert (offered.asked_fps, offered.done_fps) == (5, 4.5)


def test_sensor_that_is_turned_away_gives_more_than_is_taken() -> None:
    assert heard({}, {"captured": 20, "done": 20}).asked_fps is None
    offered = heard({}, {"captured": 40, "done": 10, "dropped.newer_frame": 28, "dropped.sensor_ahead": 10})
    assert (offered.asked_fps, offered.done_fps) == (25, 5)


def test_sensor_whose_frames_are_passed_over_still_gives_them() -> None:
    frames = {"captured": 60, "done": 20, "dropped.beyond_rate": 36, "dropped.unchanged": 4}
    assert heard({}, frames).asked_fps == 25  # 4 of 24 that were looked at have not changed
    assert heard({}, frames, fps=30).asked_fps == 25
    assert heard({}, frames | {"dropped.sensor_ahead": 10}).asked_fps == 30


def test_counters_that_start_again_or_come_too_often_say_nothing() -> None:
    restarted = heard({"captured": 900, "done": 900}, {"captured": 10, "done": 10}, fps=5)
    assert restarted.done_fps is None
    often = heard({}, {"captured": 3, "done": 3}, {"captured": 6, "done": 6}, fps=5, every_s=1.0)
    assert often.done_fps == pytest.approx(3)


def test_sensor_that_has_ended_gives_nothing() -> None:
    offered = heard({}, {"captured": 10, "done": 10}, fps=5)
    offered.heard(SourceReport(stream="cam", node="d", state="ended", frames_per_second=5), 110.0)
    assert offered.asked_fps is None


def test_wait_is_forgotten_and_remembered_longer_each_time_it_is_found_again() -> None:
    waits, now_s, lasted = LongWaits(), 100.0, []
    for _ in range(8):
        waits.noted("edge/e", 0.3, now_s)
        since_s = now_s
        while waits.seconds("edge/e", now_s):
            now_s += 0.5
        lasted.append(now_s - since_s)
    assert lasted[:3] == [REMEMBERED_S, 2 * REMEMBERED_S, 4 * REMEMBERED_S]
    assert max(lasted) == MOST_S
    now_s += 2 * MOST_S
    waits.noted("edge/e", 0.3, now_s)
    assert waits.seconds("edge/e", now_s + REMEMBERED_S - 1)
    assert not waits.seconds("edge/e", now_s + REMEMBERED_S)
