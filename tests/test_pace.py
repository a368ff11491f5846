"""A node's pace: a fixed piece of work against its own best time, on made-up seconds."""

from __future__ import annotations

import pytest

from tiercut.node.pace import Pace


def paced(monkeypatch: pytest.MonkeyPatch, rounds_s: list[float]) -> Pace:
    """A pace whose rounds take these seconds, one after the other."""
    monkeypatch.setattr("tiercut.node.pace._KEPT_S", 0.0)
    monkeypatch.setattr(Pace, "_round_s", lambda _: rounds_s.pop(0))
    return Pace()


def test_quiet_machine_is_measured_with_one_round(monkeypatch: pytest.MonkeyPatch) -> None:
    rounds_s = [0.004, 0.004, 0.0041, 0.0042, 0.0039]
    pace = paced(monkeypatch, rounds_s)
    assert pace.measure() == pytest.approx(1.0)  # three rounds, as nothing was known
    assert pace.measure() == pytest.approx(1.05)
    assert pace.measure() == pytest.approx(1.0)
    assert not rounds_s


def test_slow_machine_is_told_at_once_and_a_single_slow_round_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    rounds_s = [0.004] * 3 + [0.02, 0.004, 0.004] + [0.012, 0.012, 0.011] + [0.012]
    pace = paced(monkeypatch, rounds_s)
    assert [pace.measure() for _ in range(4)] == pytest.approx([1.0, 1.0, 3.0, 3.0])
    assert not rounds_s


def test_nodes_of_one_process_share_a_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    pace = paced(monkeypatch, [0.004] * 3 + [0.008] * 3)
    pace.measure()
    monkeypatch.setattr("tiercut.node.pace._KEPT_S", 60.0)
    assert pace.measure() == pytest.approx(1.0)


def test_real_work_takes_milliseconds() -> None:
    assert 1.0 <= Pace().measure() < 100.0
