"""What a stream's results of the last seconds are counted as."""

from __future__ import annotations

import pytest

from tiercut.coordinator.recent_results import SLOT_S, RecentResults


def counted(times: list[float], now_s: float) -> float:
    recent = RecentResults()
    for time_s in times:
        recent.came(time_s)
    return recent.per_second(now_s)


def test_results_of_five_seconds_are_counted_whatever_their_order_of_capture() -> None:
    times = [100.0 + each / 7 for each in range(7 * 20)]
    assert counted(times, 120.0) == pytest.approx(7.0, abs=0.2)


def test_before_five_seconds_those_since_the_first_are_counted() -> None:
    assert counted([100.0, 100.1, 100.2, 100.6, 100.7, 100.8], 101.0) == pytest.approx(6.0)
    assert counted([100.0], 100.0 + SLOT_S / 2) == 0


def test_rate_falls_to_nothing_within_five_seconds_of_silence() -> None:
    times = [100.0 + each / 10 for each in range(100)]
    assert counted(times, 112.5) == pytest.approx(5.0)
    assert counted(times, 115.0) == 0


def test_nothing_came() -> None:
    assert RecentResults().per_second(5.0) == 0
