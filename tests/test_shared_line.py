"""What a line carries that several hops share: with a bucket, with frames that nobody told of, with clocks apart."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator

import pytest

from tiercut.coordinator.site.listening import MOST_FPS, TURN_S, Listening
from tiercut.estimate.capture_clock import FRAMES, LATE_FRAMES, CaptureClock
from tiercut.estimate.links import LinkSample
from tiercut.estimate.shared_line import GROWTH, GROWTH_S, NEW_S, SharedLineEstimator

HOPS = [("device/d", "cloud/c"), ("edge/e", "cloud/c")]


def line(
    fps: float, *, mbps: float, seconds: float, size: int = 2500, bucket: float = 3028, delay_s: float = 0.004
) -> Iterator[tuple[tuple[str, str], LinkSample]]:
    """Frames of several hops, sent at random, through a token bucket."""
    drawn = random.Random(3)  # noqa: S311 - frames at random, repeatable
    now_s, tokens, free_s = 0.0, bucket, 0.0
    while now_s < seconds:
        now_s += drawn.expovariate(fps)
        start_s = max(now_s, free_s)
        tokens = min(bucket, tokens + (start_s - free_s) * mbps * 1e6 / 8)
        passed_s = start_s + max(0.0, size - tokens) * 8e-6 / mbps
        tokens, free_s = max(0.0, tokens - size), passed_s
        arrived_s = passed_s + delay_s
        yield drawn.choice(HOPS), LinkSample(at_s=arrived_s, payload_bytes=size, seconds=arrived_s - now_s)


def probed(estimator: SharedLineEstimator, *, at_s: float = 0.0, delay_s: float = 0.004) -> None:
    for hop in HOPS:
        estimator.observe(hop, LinkSample(at_s=at_s, payload_bytes=200, seconds=delay_s, probe=True))


@pytest.mark.parametrize("mbps", [0.4, 1.0, 3.0])
@pytest.mark.parametrize("used", [0.75, 0.95, 1.3])
def test_rate_of_a_line_with_a_bucket_is_not_that_of_what_passes_at_once(mbps: float, used: float) -> None:
    estimator = SharedLineEstimator(20.0)
    probed(estimator)
    seconds = 15 / mbps
    for hop, sample in line(used * mbps * 1e6 / 8 / 2500, mbps=mbps, seconds=seconds):
        estimator.observe(hop, sample)
        estimator.mbps(sample.at_s)
    assert estimator.mbps(sample.at_s) == pytest.approx(mbps, rel=0.15)
    latency_s = estimator.latency_s(HOPS[0], sample.at_s)
    assert latency_s is not None
    assert latency_s < 0.006  # no frame's wait is in it, not even where all wait


@pytest.mark.parametrize("near_s", [None, 0.005])
def test_frames_of_a_far_hop_that_wait_for_none_make_no_line_slower(near_s: float | None) -> None:
    estimator, far_s, mbps, size = SharedLineEstimator(20.0), 0.06, 20.0, 20_000
    estimator.observe(HOPS[0], LinkSample(at_s=0.0, payload_bytes=64, seconds=far_s, probe=True))
    if near_s is not None:
        estimator.observe(HOPS[1], LinkSample(at_s=0.0, payload_bytes=64, seconds=near_s, probe=True))
    taken_s = far_s + size * 8e-6 / mbps
    for index in range(20 * 150):  # each begins before the last one has arrived, and after it has been sent
        estimator.observe(HOPS[0], LinkSample(at_s=0.05 * index + taken_s, payload_bytes=size, seconds=taken_s))
        rate = estimator.mbps(0.05 * index + taken_s)
    assert rate > 0.6 * mbps
    assert not estimator.measured(150.0)
    assert estimator.standing_s(150.0) == 0.0


def test_frames_that_were_not_heard_of_make_no_line_slower() -> None:
    estimator, heard = SharedLineEstimator(20.0), 0
    probed(estimator)
    for index, (hop, sample) in enumerate(line(55, mbps=1.0, seconds=30)):
        if index % 40 >= 20:  # all of some, none of others
            estimator.missed()
            continue
        estimator.observe(hop, sample)
        heard += 1
    assert heard > 300
    assert estimator.mbps(sample.at_s) == pytest.approx(1.0, rel=0.15)


def test_what_was_measured_grows_slowly_while_the_line_is_hardly_used() -> None:
    estimator = SharedLineEstimator(20.0)
    probed(estimator)
    for hop, sample in line(60, mbps=1.0, seconds=10):
        estimator.observe(hop, sample)
    end_s = sample.at_s
    busy = estimator.mbps(end_s)
    later_s = end_s + NEW_S + 10 * GROWTH_S
    for index in range(200):  # each passes at once
        at_s = end_s + 6.0 + 0.2 * index
        estimator.observe(HOPS[0], LinkSample(at_s=at_s, payload_bytes=2500, seconds=0.0045))
    assert estimator.mbps(end_s + NEW_S) == pytest.approx(busy)
    assert estimator.mbps(later_s) == pytest.approx(busy * GROWTH**10, rel=0.02)


def test_single_frames_that_take_longer_say_that_a_line_is_slower() -> None:
    estimator = SharedLineEstimator(20.0)
    probed(estimator)
    for hop, sample in line(60, mbps=1.0, seconds=10):
        estimator.observe(hop, sample)
    end_s = sample.at_s
    for index in range(1, 100):
        for size in (200, 2500):
            at_s = end_s + 0.5 * index + size / 1e4
            seconds = 0.004 + size * 8e-6 / 0.2
            estimator.observe(HOPS[0], LinkSample(at_s=at_s, payload_bytes=size, seconds=seconds))
    assert estimator.mbps(end_s + 50) == pytest.approx(0.2, rel=0.2)


def test_large_transfers_that_take_turns_count_by_what_was_carried() -> None:
    estimator = SharedLineEstimator(20.0)
    probed(estimator)
    for index in range(40):  # each shares the line with the one before it and the one after it
        sample = LinkSample(at_s=0.4 * (index + 2) + 0.004, payload_bytes=50_000, seconds=0.804)
        estimator.observe(HOPS[index % 2], sample)
    assert estimator.mbps(sample.at_s) == pytest.approx(1.0, rel=0.1)


def test_queue_that_stands_is_told_from_frames_that_wait_now_and_then() -> None:
    for used, least_s, most_s in ((0.8, 0.0, 0.01), (1.3, 0.2, 10.0)):
        estimator = SharedLineEstimator(20.0)
        probed(estimator)
        for hop, sample in line(used * 1e6 / 8 / 2500, mbps=1.0, seconds=15):
            estimator.observe(hop, sample)
            estimator.mbps(sample.at_s)
        assert least_s <= estimator.standing_s(sample.at_s) <= most_s


# ---------------------------------------------------------------------- when frames ended


def test_time_of_a_frame_is_its_own_and_not_that_of_its_result() -> None:
    clock, drawn = CaptureClock(), random.Random(1)  # noqa: S311 - delays at random, repeatable
    found = []
    for index in range(200):
        ended_s = 0.1 * index
        late_s = 0.002 + drawn.choice([0.0, 0.0, 0.03, 0.2])
        found.append(clock.heard(1e9 + ended_s, ended_s + late_s) - ended_s)
    assert all(abs(each - 0.002) < 1e-6 for each in found[20:])


def test_wall_clock_that_was_set_is_followed() -> None:
    clock = CaptureClock()
    for index in range(3 * FRAMES):
        set_s = 0.0 if index < FRAMES else -5.0 if index < 2 * FRAMES else 7.0
        at_s = clock.heard(0.1 * index + set_s, 0.1 * index + 0.002)
    assert at_s == pytest.approx(0.1 * index + 0.002)


def test_wall_clock_that_was_set_back_is_followed_after_a_few_frames() -> None:
    clock = CaptureClock()
    for index in range(FRAMES):
        clock.heard(3600.0 + index, index + 0.002)
    found = [clock.heard(index, index + 0.002) - index for index in range(FRAMES, FRAMES + LATE_FRAMES)]
    assert found[0] < -3000.0  # one frame may be that late
    assert found[-1] == pytest.approx(0.002)


def test_no_frame_ended_after_it_was_heard_of() -> None:
    clock = CaptureClock()
    clock.heard(10.0, 10.0)
    assert clock.heard(20.0, 15.0) <= 15.0


# ---------------------------------------------------------------------- what is read


def test_all_results_of_a_small_site_are_heard_and_turns_of_a_large_one() -> None:
    for fps, least, most in ((0.9 * MOST_FPS, 1.0, 1.0), (5 * MOST_FPS, 0.17, 0.23)):
        listening = Listening()
        times = [index / fps for index in range(int(fps * 10 * TURN_S))]
        heard = [listening.hears(at_s) for at_s in times]
        late = heard[len(heard) // 2 :]
        assert least <= sum(late) / len(late) <= most
        changes = sum(one != other for one, other in itertools.pairwise(late))
        assert changes <= 2 * (5 + 1)  # in turns, not one here and one there
