"""The estimate of a link follows steps within five transfers, and noise not at all."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterable

import pytest

from tiercut.errors import SettingsError
from tiercut.estimate.links import LinkChange, LinkEstimator, LinkSample

#: 3G, LTE and Wi-Fi of Neurosurgeon's and DADS' measurements, and a LAN.
RATES_MBPS = (1.1, 5.85, 18.88, 100.0)
FRAME_BYTES = 60_000


class Trace:
    """A link of known rate and latency that carries one message after the other, ten a second or as fast as it can."""

    def __init__(self, mbps: float, latency_s: float = 0.01, *, noise: float = 0.0, seed: int = 0) -> None:
        self.mbps = mbps
        self.latency_s = latency_s
        self.noise = noise
        self.now_s = 0.0
        self._random = random.Random(seed)  # noqa: S311 - the same at every run

    def send(self, payload_bytes: int) -> LinkSample:
        rate = self.mbps * 1e6 * self._random.uniform(1 - self.noise, 1 + self.noise)
        seconds = 2 * self.latency_s + payload_bytes * 8 / rate
        self.now_s += max(0.1, seconds)
        return LinkSample(at_s=self.now_s, payload_bytes=payload_bytes, seconds=seconds)

    def feed(self, estimator: LinkEstimator, sizes: Iterable[int]) -> list[LinkChange]:
        changes = [estimator.observe(self.send(size)) for size in sizes]
        return [change for change in changes if change]


def mixed(count: int) -> list[int]:
    return [FRAME_BYTES, 300] * (count // 2)


@pytest.mark.parametrize("mbps", RATES_MBPS)
@pytest.mark.parametrize("latency_s", [0.001, 0.04])
def test_two_sizes_give_rate_and_latency(mbps: float, latency_s: float) -> None:
    estimator, trace = LinkEstimator(), Trace(mbps, latency_s, noise=0.05)
    trace.feed(estimator, mixed(20))
    estimate = estimator.estimate(trace.now_s)
    assert estimate.split_known
    assert estimate.mbps == pytest.approx(mbps, rel=0.1)
    assert estimate.latency_seconds == pytest.approx(latency_s, rel=0.1, abs=0.0005)


@pytest.mark.parametrize("mbps", RATES_MBPS)
def test_one_size_keeps_the_latency_known_before(mbps: float) -> None:
    estimator, trace = LinkEstimator(latency_seconds=0.005), Trace(mbps, 0.005)
    trace.feed(estimator, [FRAME_BYTES] * 40)
    estimate = estimator.estimate(trace.now_s)
    assert not estimate.split_known
    assert estimate.latency_seconds == pytest.approx(0.005, rel=0.3)
    assert estimate.mbps == pytest.approx(mbps, rel=0.3)
    assert estimate.latency_std > 0.2 * estimate.latency_seconds


def test_one_size_is_certain_of_its_own_time_alone() -> None:
    estimator, trace = LinkEstimator(), Trace(5.85, 0.03, noise=0.05)
    trace.feed(estimator, [FRAME_BYTES] * 40)
    estimate = estimator.estimate(trace.now_s)
    wanted_s = 0.03 + FRAME_BYTES * 8 / 5.85e6  # one way: the ack's way back is left out
    assert estimate.transfer_seconds(FRAME_BYTES) == pytest.approx(wanted_s, abs=0.03)
    assert estimate.transfer_std(FRAME_BYTES) < 0.1 * wanted_s
    assert estimate.transfer_std(10 * FRAME_BYTES) > 3 * estimate.transfer_std(FRAME_BYTES)


def test_small_messages_alone_say_latency_and_leave_the_rate() -> None:
    estimator, trace = LinkEstimator(mbps=10), Trace(100, 0.02)
    trace.feed(estimator, [200] * 30)
    estimate = estimator.estimate(trace.now_s)
    assert estimate.latency_seconds == pytest.approx(0.02, rel=0.1)
    assert estimate.mbps_std > estimate.mbps


def test_many_frames_do_not_push_out_the_few_small_messages() -> None:
    estimator, trace = LinkEstimator(latency_seconds=0.001), Trace(18.88, 0.03)
    trace.feed(estimator, [300, 300, 300, *[FRAME_BYTES] * 300])
    assert estimator.estimate(trace.now_s).latency_seconds == pytest.approx(0.03, rel=0.1)


@pytest.mark.parametrize("sizes", [[FRAME_BYTES] * 5, [FRAME_BYTES, 300] * 4], ids=["frames", "mixed"])
@pytest.mark.parametrize(("before", "after"), [(a, b) for a in RATES_MBPS for b in RATES_MBPS if a != b])
def test_step_is_adopted_within_five_frames(before: float, after: float, sizes: list[int]) -> None:
    estimator, trace = LinkEstimator(), Trace(before, 0.005, noise=0.1)
    trace.feed(estimator, mixed(60))
    trace.mbps = after
    changes = trace.feed(estimator, sizes)
    assert changes
    assert changes[-1].after.mbps == pytest.approx(after, rel=0.25)
    assert estimator.estimate(trace.now_s).mbps == pytest.approx(after, rel=0.25)


def test_step_by_half_is_adopted_under_noise_of_twenty_percent() -> None:
    for seed in range(20):
        estimator, trace = LinkEstimator(), Trace(10, noise=0.2, seed=seed)
        trace.feed(estimator, [FRAME_BYTES] * 60)
        trace.mbps = 5
        assert trace.feed(estimator, [FRAME_BYTES] * 5), seed


@pytest.mark.parametrize("mbps", RATES_MBPS)
def test_steady_noise_is_no_change_for_five_minutes(mbps: float) -> None:
    estimator, trace = LinkEstimator(), Trace(mbps, noise=0.2, seed=1)
    assert not trace.feed(estimator, mixed(3000))
    assert estimator.estimate(trace.now_s).mbps == pytest.approx(mbps, rel=0.1)


def test_ramp_is_followed() -> None:
    estimator, trace = LinkEstimator(), Trace(20, noise=0.05)
    trace.feed(estimator, mixed(40))
    errors = []
    for step in range(150):
        trace.mbps = 20 * 0.98**step
        trace.feed(estimator, [FRAME_BYTES])
        errors.append(abs(estimator.estimate(trace.now_s).mbps / trace.mbps - 1))
    assert sum(errors) / len(errors) < 0.15
    assert max(errors) < 0.4


def test_outage_is_no_rate() -> None:
    estimator, trace = LinkEstimator(), Trace(18.88)
    trace.feed(estimator, mixed(40))
    at_s = trace.now_s + 12
    waited = [LinkSample(at_s=at_s + 0.03 * i, payload_bytes=FRAME_BYTES, seconds=12.0) for i in range(6)]
    assert not [sample for sample in waited if estimator.observe(sample)]
    assert estimator.estimate(at_s).mbps == pytest.approx(18.88, rel=0.2)


def test_frames_under_way_at_once_share_the_link() -> None:
    estimator, trace = LinkEstimator(), Trace(5.85, 0.01)
    trace.feed(estimator, mixed(20))
    start_s, each_s = trace.now_s, FRAME_BYTES * 8 / 5.85e6
    for i in range(1, 13):  # a burst: the last has waited for all the others
        seconds = 0.02 + i * each_s
        assert estimator.observe(LinkSample(at_s=start_s + seconds, payload_bytes=FRAME_BYTES, seconds=seconds)) is None
    assert estimator.estimate(start_s + 2).mbps == pytest.approx(5.85, rel=0.1)


def test_two_outliers_in_a_row_change_little() -> None:
    estimator, trace = LinkEstimator(), Trace(18.88, noise=0.1)
    trace.feed(estimator, mixed(40))
    trace.mbps = 0.5
    assert not trace.feed(estimator, [FRAME_BYTES] * 2)
    trace.mbps = 18.88
    assert not trace.feed(estimator, [FRAME_BYTES] * 10)
    assert estimator.estimate(trace.now_s).mbps == pytest.approx(18.88, rel=0.15)


def test_step_of_latency_seen_in_small_messages_leaves_the_rate() -> None:
    estimator, trace = LinkEstimator(), Trace(5.85, 0.01)
    trace.feed(estimator, mixed(40))
    trace.latency_s = 0.08
    assert trace.feed(estimator, mixed(12))
    estimate = estimator.estimate(trace.now_s)
    assert estimate.latency_seconds == pytest.approx(0.08, rel=0.1)
    assert estimate.mbps == pytest.approx(5.85, rel=0.15)


def probes_s(estimator: LinkEstimator, start_s: float, end_s: float) -> list[float]:
    """When two messages are asked for, looking four times a second."""
    times = [start_s + step / 4 for step in range(round((end_s - start_s) * 4))]
    return [time for time in times if len(estimator.probe_due(time)) == 2]


def test_unknown_link_is_probed_at_once_and_an_idle_one_ever_more_rarely() -> None:
    estimator, trace = LinkEstimator(idle_s=30), Trace(10)
    small, large = estimator.probe_due(0.0)
    assert large > 4 * small
    assert not estimator.probe_due(0.5)
    trace.feed(estimator, [small, large])
    gaps = [b - a for a, b in itertools.pairwise(probes_s(estimator, trace.now_s, trace.now_s + 120))]
    assert all(later >= earlier - 1e-6 for earlier, later in itertools.pairwise(gaps))
    assert gaps[0] < 8
    assert gaps[-1] == pytest.approx(30)


def test_idle_link_is_probed_again_soon_after_a_change() -> None:
    estimator, trace = LinkEstimator(), Trace(18.88)
    trace.feed(estimator, [FRAME_BYTES] * 20)
    probes_s(estimator, trace.now_s, trace.now_s + 100)
    trace.now_s += 100
    trace.mbps = 1.1
    assert trace.feed(estimator, [FRAME_BYTES] * 4)
    assert len(probes_s(estimator, trace.now_s, trace.now_s + 8)) >= 3


def test_busy_link_is_not_probed_but_for_a_small_message_that_tells_rate_from_latency() -> None:
    estimator, trace = LinkEstimator(), Trace(10)
    trace.feed(estimator, [FRAME_BYTES] * 10)
    (small,) = estimator.probe_due(trace.now_s + 0.1)
    assert not estimator.probe_due(trace.now_s + 0.2)
    trace.feed(estimator, [small, FRAME_BYTES])
    assert not estimator.probe_due(trace.now_s + 0.1)


def test_transfer_that_is_late_is_a_change_before_it_arrives_and_its_arrival_corrects_it() -> None:
    estimator, trace = LinkEstimator(), Trace(18.88)
    trace.feed(estimator, [FRAME_BYTES] * 20)
    usual_s = estimator.estimate(trace.now_s).transfer_seconds(FRAME_BYTES)
    assert estimator.waits(FRAME_BYTES, 2 * usual_s, trace.now_s) is None
    change = estimator.waits(FRAME_BYTES, 8 * usual_s, trace.now_s)
    assert change is not None
    assert change.after.mbps < change.before.mbps / 4
    trace.mbps = 1.1
    trace.feed(estimator, [FRAME_BYTES])
    assert estimator.estimate(trace.now_s).transfer_seconds(FRAME_BYTES) == pytest.approx(
        FRAME_BYTES * 8 / 1.1e6, rel=0.1
    )


def test_uncertainty_grows_while_idle() -> None:
    estimator, trace = LinkEstimator(), Trace(10, noise=0.1)
    trace.feed(estimator, mixed(20))
    assert estimator.estimate(trace.now_s + 600).mbps_std > 3 * estimator.estimate(trace.now_s).mbps_std


def test_transfer_that_does_not_end_is_overdue() -> None:
    estimator, trace = LinkEstimator(), Trace(5.85, noise=0.1)
    trace.feed(estimator, mixed(40))
    assert estimator.waits(FRAME_BYTES, 0.15, trace.now_s) is None
    assert estimator.waits(FRAME_BYTES, 1.0, trace.now_s) is not None


def test_change_says_what_became_of_what() -> None:
    estimator, trace = LinkEstimator(), Trace(18.88)
    trace.feed(estimator, mixed(20))
    trace.mbps = 1.1
    assert str(trace.feed(estimator, [FRAME_BYTES] * 5)[0]).startswith("18.9 → 1.1")


@pytest.mark.parametrize("make", [lambda: (float("nan"), 1, 1.0), lambda: (0.0, -1, 1.0), lambda: (0.0, 1, -1.0)])
def test_impossible_transfer_is_refused(make: Callable[[], tuple[float, int, float]]) -> None:
    at_s, payload_bytes, seconds = make()
    with pytest.raises(SettingsError, match="a transfer cannot be"):
        LinkSample(at_s=at_s, payload_bytes=payload_bytes, seconds=seconds)
