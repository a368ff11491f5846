"""The pauses between attempts."""

from __future__ import annotations

import pytest

from tiercut.backoff import Backoff


def test_pauses_grow_by_the_factor_up_to_the_longest() -> None:
    backoff = Backoff(first_s=1, max_s=10, factor=3)
    assert [backoff.take_s() for _ in range(5)] == [1, 3, 9, 10, 10]


def test_next_pause_is_known_before_it_is_taken() -> None:
    backoff = Backoff(first_s=0.5, max_s=4)
    assert backoff.next_s == backoff.take_s() == 0.5
    assert backoff.next_s == 1


def test_first_pause_comes_again_after_a_success() -> None:
    backoff = Backoff(first_s=2, max_s=100)
    for _ in range(5):
        backoff.take_s()
    backoff.reset()
    assert [backoff.take_s(), backoff.take_s()] == [2, 4]


def test_first_pause_may_be_longer_than_those_after_it() -> None:
    backoff = Backoff(first_s=20, max_s=10)
    assert [backoff.take_s(), backoff.take_s(), backoff.take_s()] == [20, 10, 10]


@pytest.mark.parametrize(("jitter", "pauses"), [(0.0, [8, 8]), (0.5, [8, 4.4]), (1.0, [8, 0.8])])
def test_jitter_is_the_part_left_to_chance(jitter: float, pauses: list[float]) -> None:
    drawn = iter([0.0, 0.9])
    backoff = Backoff(first_s=8, max_s=8, jitter=jitter, random=lambda: next(drawn))
    assert [backoff.take_s(), backoff.take_s()] == pytest.approx(pauses)


def test_chance_does_not_shorten_the_growth() -> None:
    backoff = Backoff(first_s=1, max_s=100, jitter=1.0, random=lambda: 0.999)
    for _ in range(4):
        backoff.take_s()
    assert backoff.next_s == 16


def test_pauses_stay_finite_for_ever() -> None:
    backoff = Backoff(first_s=1, max_s=60)
    for _ in range(5000):
        backoff.take_s()
    assert backoff.next_s == 60
