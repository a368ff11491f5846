"""Load follows a step at once, biases of a profile slowly; and both are told apart where they can be."""

from __future__ import annotations

import random

import pytest

from tests.profiles import profile_of
from tiercut.errors import SettingsError
from tiercut.estimate.changepoint import Cusum, NoiseScale
from tiercut.estimate.nodes import LoadChange, LoadEstimator
from tiercut.profiling.profile import Profile, Span, block_seconds

PROFILE = profile_of((0.0, 0.002, 0.006, 0.01))


def feed(
    estimator: LoadEstimator,
    factor: float,
    *,
    count: int = 20,
    segments: tuple[tuple[int, int], ...] = ((1, 3),),
    errors: dict[tuple[int, int], float] | None = None,
    profile: Profile = PROFILE,
    noise: float = 0.05,
) -> list[LoadChange]:
    draw = random.Random(count)  # noqa: S311 - the same at every run
    changes = []
    for i in range(count):
        a, b = segments[i % len(segments)]
        off = (errors or {}).get((a, b), 1.0) * draw.uniform(1 - noise, 1 + noise)
        changes.append(estimator.observe(i * 0.1, profile, Span(a, b), seconds=profile.seconds(a, b) * factor * off))
    return [change for change in changes if change]


def test_node_nobody_has_measured_is_as_its_profile_says() -> None:
    estimate = LoadEstimator().estimate(0.0)
    assert (estimate.slowdown, estimate.queue_seconds, estimate.samples) == (1.0, 0.0, 0)
    assert estimate.slowdown_std > 0.5


@pytest.mark.parametrize("factor", [0.5, 1.0, 4.0])
def test_slowdown_is_measured_against_the_profile(factor: float) -> None:
    estimator = LoadEstimator()
    feed(estimator, factor)
    assert estimator.estimate(2.0).slowdown == pytest.approx(factor, rel=0.05)
    assert estimator.estimate(2.0).slowdown_std < 0.1 * factor


@pytest.mark.parametrize(("before", "after"), [(1.0, 4.0), (4.0, 1.0), (1.0, 1.5), (2.0, 1.2)])
def test_step_of_load_is_adopted_within_five_frames(before: float, after: float) -> None:
    estimator = LoadEstimator()
    feed(estimator, before)
    changes = feed(estimator, after, count=5)
    assert len(changes) == 1
    assert estimator.estimate(0.5).slowdown == pytest.approx(after, rel=0.1)
    assert str(changes[0]) == f"slowdown {changes[0].before.slowdown:.2f} → {changes[0].after.slowdown:.2f}"


def test_steady_noise_is_no_change() -> None:
    assert not feed(LoadEstimator(), 2.0, count=6000, noise=0.2)


def test_single_slow_frames_are_no_load() -> None:
    estimator = LoadEstimator()
    for i in range(60):
        seconds = PROFILE.seconds(1, 3) * (20 if i % 7 == 6 else 1)
        assert estimator.observe(i * 0.1, PROFILE, Span(1, 3), seconds=seconds) is None
    assert estimator.estimate(6.0).slowdown == pytest.approx(1.0, rel=0.1)


def test_error_of_one_segment_is_told_from_load() -> None:
    estimator = LoadEstimator()
    feed(estimator, 2.0, count=400, segments=((0, 1), (1, 2), (2, 3)), errors={(1, 2): 1.6})
    blocks = estimator.corrected_blocks(PROFILE)
    assert estimator.estimate(40.0).slowdown == pytest.approx(2.0, rel=0.1)
    assert blocks == pytest.approx((0.002, 0.004 * 1.6, 0.004), rel=0.1)


def test_one_segment_alone_leaves_the_blocks() -> None:
    estimator = LoadEstimator()
    feed(estimator, 3.0, count=100)
    assert estimator.corrected_blocks(PROFILE) == pytest.approx((0.002, 0.004, 0.004))


def test_corrections_are_bounded() -> None:
    estimator = LoadEstimator()
    feed(estimator, 1e6, count=50)
    assert estimator.estimate(5.0).slowdown == pytest.approx(64, rel=0.1)


def test_faster_than_the_profile_is_a_contradiction() -> None:
    estimator = LoadEstimator()
    feed(estimator, 0.4, count=30)
    (message,) = estimator.contradictions(PROFILE)
    assert "the measured profile of 'm' says 8 ms for [1, 3), measured are 3.2" in message
    assert "run 'tiercut profile'" in message


def test_load_is_no_contradiction() -> None:
    estimator = LoadEstimator()
    feed(estimator, 4.0, count=60, segments=((0, 1), (1, 3)))
    assert estimator.contradictions(PROFILE) == []


def test_prediction_may_be_further_off_than_a_measurement() -> None:
    predicted = profile_of((0.0, 0.002, 0.006, 0.01), source="predicted")
    estimator = LoadEstimator()
    feed(estimator, 0.5, count=30, profile=predicted)
    assert estimator.contradictions(predicted) == []
    assert estimator.contradictions(PROFILE) != []


def test_node_that_was_left_is_tried_again() -> None:
    estimator = LoadEstimator()
    feed(estimator, 4.0)
    soon, late = estimator.estimate(2.0), estimator.estimate(600.0)
    assert soon.slowdown == pytest.approx(4.0, rel=0.1)
    assert late.slowdown == pytest.approx(1.0, rel=0.05)
    assert late.slowdown_std > soon.slowdown_std


def test_queue_is_the_recent_wait() -> None:
    estimator = LoadEstimator()
    for i in range(20):
        estimator.observe(i * 0.1, PROFILE, Span(1, 3), seconds=0.008, queue_seconds=0.05 if i > 10 else 0.0)
    assert estimator.estimate(1.9).queue_seconds == pytest.approx(0.05)
    assert estimator.estimate(600.0).queue_seconds < 0.001


def test_empty_segment_says_nothing_of_load() -> None:
    estimator = LoadEstimator()
    assert estimator.observe(0.0, PROFILE, Span(2, 2), seconds=0.001) is None
    assert estimator.estimate(0.0).samples == 0


def test_stage_that_cannot_be_is_refused() -> None:
    with pytest.raises(SettingsError, match="a stage cannot be"):
        LoadEstimator().observe(0.0, PROFILE, Span(0, 1), seconds=float("nan"))


def test_three_large_residuals_are_a_change_and_two_are_none() -> None:
    cusum = Cusum()
    assert [cusum.update(50.0) for _ in range(3)] == [None, None, "up"]
    assert cusum.run("up") == 3
    cusum.reset()
    assert [cusum.update(-50.0) for _ in range(3)] == [None, None, "down"]


def test_noise_is_estimated_within_its_bounds() -> None:
    scale, draw = NoiseScale(least=0.05, most=0.4), random.Random(1)  # noqa: S311 - the same at every run
    for _ in range(200):
        scale.add(draw.gauss(0, 0.2))
    assert scale.sigma == pytest.approx(0.2, rel=0.3)
    for _ in range(200):
        scale.add(9.0)
    assert scale.sigma == 0.4


def test_load_that_comes_and_goes_leaves_no_error_in_the_profile() -> None:
    estimator = LoadEstimator()
    segments = ((0, 1), (1, 2))
    for index in range(40):
        feed(estimator, 1.0 if index % 2 else 1.35, count=20, segments=segments)
    assert estimator.estimate(2.0).slowdown == pytest.approx(1.0, rel=0.15)
    assert estimator.corrected_blocks(PROFILE) == pytest.approx(block_seconds(PROFILE, "full"), rel=0.15)
