"""The window follows the way: in virtual time, on lines of stages, against the unloaded line and one that is full."""

from __future__ import annotations

import itertools
import math
import statistics
from functools import lru_cache

import pytest

from tests.lines import Line, Simulation
from tiercut.pipeline.way_window import LATE_S, PROBE_FRAMES, ROUND, WayWindow
from tiercut.pipeline.window import InFlightWindow

LIMIT, END_S = 6, 30.0
#: Seconds per stage; the slowest takes 10 ms.
UNEVEN, LAST, FIRST, SHORT = (0.006, 0.010, 0.007), (0.002, 0.003, 0.010), (0.010, 0.003, 0.003), (0.002, 0.010, 0.003)
EVEN = (0.010, 0.010, 0.010)


class Unbounded(InFlightWindow[None]):
    """The window as it was: as many as the limit, always."""

    def wait_s(self, now_s: float) -> float:
        del now_s
        return 0.0 if len(self) < 30 else math.inf


def followed(line: Line, *, period_s: float | None, limit: int = LIMIT, until_s: float = END_S) -> Simulation:
    simulation = Simulation(line, InFlightWindow(limit=limit, timeout_s=5.0), period_s=period_s)
    simulation.run(until_s)
    return simulation


@lru_cache
def unloaded_s(stages_s: tuple[float, ...], sigma: float) -> float:
    """Mean latency with one frame at a time."""
    return followed(Line(stages_s, sigma=sigma, seed=2), period_s=0.1).latency_s(0, END_S)


@lru_cache
def most(stages_s: tuple[float, ...], sigma: float) -> float:
    """Frames per second with more in flight than anyone could use."""
    simulation = Simulation(Line(stages_s, sigma=sigma, seed=3), Unbounded(limit=30, timeout_s=5.0), period_s=0.005)
    simulation.run(END_S)
    return simulation.throughput(5, END_S)


@pytest.mark.parametrize(("sigma", "share"), [(0.0, 0.98), (0.1, 0.95), (0.2, 0.92)])
@pytest.mark.parametrize("stages_s", [UNEVEN, LAST, FIRST, SHORT])
@pytest.mark.parametrize("period_s", [0.005, None])
def test_sensor_that_gives_twice_what_the_way_takes(
    stages_s: tuple[float, ...], sigma: float, share: float, period_s: float | None
) -> None:
    simulations = [followed(Line(stages_s, sigma=sigma, seed=seed), period_s=period_s) for seed in (1, 2)]
    # of a frame that waits for its place its age counts, too: a quarter of the slowest stage on average
    waits_s = 0.0 if period_s is None else 0.0025
    for each in simulations:
        assert each.latency_s(5, END_S) <= 1.3 * unloaded_s(stages_s, sigma) + waits_s
        assert (each.dropped > 0) == (period_s is not None)
    mean = statistics.fmean(each.throughput(5, END_S) for each in simulations)
    assert mean >= share * most(stages_s, sigma)


def test_even_stages_of_even_length_are_all_kept_busy() -> None:
    simulation = followed(Line(EVEN), period_s=None)
    assert simulation.latency_s(5, END_S) <= 1.2 * unloaded_s(EVEN, 0.0)
    assert simulation.throughput(5, END_S) >= 0.99 * most(EVEN, 0.0)


@pytest.mark.parametrize("speed", [0.5, 2.0])
def test_way_that_becomes_faster_or_slower_is_followed(speed: float) -> None:
    line = Line(UNEVEN, sigma=0.1, speed=lambda now_s: speed if now_s >= 10 else 1.0)
    simulation = followed(line, period_s=None)
    for from_s, to_s, faster in ((5, 10, 1.0), (13, 16, speed), (16, END_S, speed)):
        assert simulation.throughput(from_s, to_s) >= 0.94 * faster * most(UNEVEN, 0.1), from_s
        assert simulation.latency_s(from_s, to_s) <= 1.3 * unloaded_s(UNEVEN, 0.1) / faster, from_s


def test_sensor_that_gives_less_than_the_way_takes_feels_no_window() -> None:
    simulation = followed(Line(UNEVEN, sigma=0.2), period_s=0.02)
    assert simulation.dropped == 0
    assert {size for _, size in simulation.sizes} == {float(LIMIT)}


def test_hiccup_of_a_way_with_time_to_spare_drops_nothing() -> None:
    line = Line(UNEVEN, speed=lambda now_s: 0.1 if 5.0 <= now_s < 5.02 else 1.0)  # one frame takes 100 ms
    simulation = followed(line, period_s=0.04, until_s=10)
    assert simulation.dropped == 0


def test_window_opens_again_after_overload() -> None:
    simulation = followed(Line(UNEVEN), period_s=0.005, until_s=10)
    assert simulation.window.size < 4
    simulation.run(10.0)  # whatever is due
    window: WayWindow = simulation.window._way
    for i in range(40):
        window.outcome(20.0 + i, 20.02 + i, alone=True)
    assert window.size == LIMIT


def test_frames_that_leave_early_do_not_close_the_window() -> None:
    line = Line((0.003, 0.010, 0.004), leaves=0.5)
    full = Simulation(Line((0.003, 0.010, 0.004), leaves=0.5), Unbounded(limit=30, timeout_s=5.0), period_s=None)
    full.run(END_S)
    assert followed(line, period_s=None).throughput(5, END_S) >= 0.85 * full.throughput(5, END_S)


def test_lost_frames_stop_the_stream_no_longer_than_a_few_round_trips() -> None:
    lost = frozenset(range(600, 604))  # more than the window holds
    simulation = Simulation(Line(SHORT), InFlightWindow(limit=20, timeout_s=5.0), period_s=0.005, lost=lost)
    simulation.run(20.0)
    gaps = [after.at_s - before.at_s for before, after in itertools.pairwise(simulation.seen)]
    assert LATE_S < max(gaps) < 3 * LATE_S
    assert simulation.throughput(10, 20) >= 0.95 * most(SHORT, 0.0)


def test_new_way_is_measured_anew_while_its_frames_are_held_back() -> None:
    window = WayWindow(4)
    now_s = load(window, round_trip_s=0.1, ahead=4, seconds=5.0)
    assert window.size < 4
    window.new_way(4, now_s)
    assert window.late_after_s == math.inf
    for _ in range(ROUND):
        window.held()
        now_s += 1.0
        window.outcome(now_s - 0.5, now_s, alone=False)
    assert [window.wait_s(count, now_s) for count in (0, 1)] == [0.0, math.inf]  # one at a time, to measure it
    for _ in range(1 + PROBE_FRAMES):  # the first does not count
        assert window.wait_s(1, now_s) == math.inf
        now_s += 0.5
        window.outcome(now_s - 0.5, now_s, alone=True)
    assert window.wait_s(1, now_s) < 0.5


def test_limit_of_a_new_way_counts_at_once() -> None:
    window = WayWindow(6)
    window.new_way(2, 0.0)
    assert (window.size, window.wait_s(1, 0.0), window.wait_s(2, 0.0)) == (2.0, 0.0, math.inf)
    window.new_way(6, 1.0)
    assert window.size == 6.0


def test_drops_that_take_long_close_the_window_as_results_do() -> None:
    window = WayWindow(6)
    for i in range(10):
        window.outcome(i, i + 0.1, alone=True)
    for i in range(40):
        window.held()
        window.outcome(9.5 + 0.02 * i, 10.1 + 0.02 * i, alone=False, exact=False)
    assert window.size < 4


def test_frames_that_are_all_dropped_do_not_hold_the_stream_to_one_at_a_time_forever() -> None:
    window, open_at = WayWindow(6), 0
    for i in range(60):
        window.held()
        alone = window.wait_s(1, float(i)) == math.inf
        open_at += not alone
        window.outcome(i, i + 0.5, alone=alone, exact=False)
    assert open_at > 30


def test_outcome_after_a_broker_was_gone_does_not_close_the_window() -> None:
    window = WayWindow(6)
    now_s = 0.0
    for i in range(100):
        now_s += 0.1
        window.outcome(now_s - (5.0 if i == 50 else 0.1), now_s, alone=True)
        window.held()
    assert window.size >= 4


def load(window: WayWindow, *, round_trip_s: float, ahead: int, seconds: float) -> float:
    """A way that takes one frame per round trip, with as many waiting as the window lets in."""
    now_s = 0.0
    while now_s < seconds:
        waiting = max(1, min(ahead, math.floor(window.size)))
        if window.wait_s(1, now_s):
            waiting = 1
        now_s += round_trip_s
        window.held()
        window.outcome(now_s - waiting * round_trip_s, now_s, alone=waiting == 1)
    return now_s


def test_size_stays_between_one_and_the_limit() -> None:
    simulation = followed(Line((0.01,), sigma=0.5), period_s=None, limit=3)
    sizes = [size for _, size in simulation.sizes]
    assert min(sizes) >= 1.0
    assert max(sizes) <= 3
    assert statistics.fmean(sizes) < 2


def test_window_that_is_full_as_the_way_became_ten_times_as_fast_is_made_smaller_again() -> None:
    line = Line([0.05, 0.1, 0.05], speed=lambda now_s: 0.1 if now_s < 100 else 1.0)
    simulation = Simulation(line, InFlightWindow(limit=6, timeout_s=10.0), period_s=0.05)
    simulation.run(200.0)
    assert simulation.latency_s(150, 200) <= 1.4 * 0.2
    assert simulation.throughput(150, 200) >= 0.95 * 10
