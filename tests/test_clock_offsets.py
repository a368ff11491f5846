"""Offsets between clocks: from four times, with an honest uncertainty."""

import pytest

from tiercut.clocks.offsets import MAX_CLOCKS, ClockOffsets


def exchange(offsets: ClockOffsets, *, at_s: float, out_s: float, back_s: float, ahead_s: float = 100.0) -> None:
    """One question and answer with a clock that is ``ahead_s`` ahead of ours."""
    heard = at_s + out_s + ahead_s
    offsets.add("far", asked_s=at_s, heard_s=heard, answered_s=heard + 0.001, back_s=at_s + out_s + 0.001 + back_s)


def test_own_clock_needs_no_offset() -> None:
    offset = ClockOffsets("here").offset("here", 5.0)
    assert offset is not None
    assert (offset.seconds, offset.uncertainty_s) == (0.0, 0.0)


def test_unknown_clock_has_none() -> None:
    assert ClockOffsets("here").offset("far", 5.0) is None


def test_symmetric_exchange_gives_the_offset_exactly() -> None:
    offsets = ClockOffsets("here")
    exchange(offsets, at_s=1.0, out_s=0.010, back_s=0.010)
    offset = offsets.offset("far", 1.021)
    assert offset is not None
    assert offset.seconds == pytest.approx(-100.0)


def test_error_stays_within_the_stated_uncertainty() -> None:
    offsets = ClockOffsets("here")
    exchange(offsets, at_s=1.0, out_s=0.030, back_s=0.002)
    offset = offsets.offset("far", 1.033)
    assert offset is not None
    assert abs(offset.seconds + 100.0) <= offset.uncertainty_s


def test_shortest_round_trip_counts() -> None:
    offsets = ClockOffsets("here")
    exchange(offsets, at_s=1.0, out_s=0.200, back_s=0.001)
    exchange(offsets, at_s=2.0, out_s=0.001, back_s=0.001)
    offset = offsets.offset("far", 2.1)
    assert offset is not None
    assert offset.seconds == pytest.approx(-100.0)
    assert offset.uncertainty_s < 0.002


def test_impossible_answer_is_ignored() -> None:
    offsets = ClockOffsets("here")
    offsets.add("far", asked_s=1.0, heard_s=5.0, answered_s=9.0, back_s=1.1)
    assert offsets.offset("far", 2.0) is None


def test_well_known_clock_is_asked_again_only_after_a_while() -> None:
    offsets = ClockOffsets("here")
    for second in range(8):
        assert offsets.stale("far", float(second), after_s=30)
        exchange(offsets, at_s=float(second), out_s=0.01, back_s=0.01)
    assert not offsets.stale("far", 10.0, after_s=30)
    assert offsets.stale("far", 60.0, after_s=30)


def test_invented_clock_ids_do_not_fill_the_memory() -> None:
    offsets = ClockOffsets("here")
    for number in range(MAX_CLOCKS + 10):
        offsets.add(f"clock-{number}", asked_s=0, heard_s=1, answered_s=1, back_s=0.1)
    assert offsets.offset("clock-0", 1.0) is None
    assert offsets.offset(f"clock-{MAX_CLOCKS + 9}", 1.0) is not None
