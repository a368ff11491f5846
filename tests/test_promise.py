"""What a plan promised against what its frames take: what differs is named, and noise is nothing."""

from __future__ import annotations

import random

import pytest

from tiercut.coordinator.parts import Part, Parts
from tiercut.coordinator.promise import KEPT, LASTS_S, Promise

DEVICE, EDGE = Part("processor", "device/d"), Part("processor", "edge/e")
QUEUE, LINE = Part("queue", "edge/e"), Part("line", "device/d -> edge/e")
PROMISED: dict[Part, float] = {DEVICE: 0.06, EDGE: 0.03, QUEUE: 0.0, LINE: 0.02}
#: The hub reads about this many results a second.
EVERY_S = 0.2


class Frames:
    """Frames of a plan, one after the other, with the jitter of a real site."""

    def __init__(self, *, as_taken: bool = False, sigma: float = 0.2, seed: int = 0) -> None:
        self.promise = Promise()
        self.promise.made(1, PROMISED, as_taken=as_taken)
        self.said: list[str] = []
        self.now_s = 100.0
        self._sigma = sigma
        self._draw = random.Random(seed)  # noqa: S311 - jitter

    def come(self, count: int, **changed: float) -> Frames:
        """So many come; some of their parts take another time."""
        parts: Parts = PROMISED | {
            {"device": DEVICE, "edge": EDGE, "queue": QUEUE, "line": LINE}[k]: s for k, s in changed.items()
        }
        for _ in range(count):
            self.now_s += EVERY_S
            noisy = {part: s * self._draw.lognormvariate(0, self._sigma) for part, s in parts.items()}
            if (said := self.promise.arrived(noisy, self.now_s)) is not None:
                self.said.append(said)
        return self


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("factor", [0.8, 1.0, 1.2])
def test_thousand_noisy_frames_keep_a_promise_that_is_about_right(seed: int, factor: float) -> None:
    frames = Frames(seed=seed).come(1000, device=0.06 * factor, edge=0.03 * factor, line=0.02 * factor)
    assert not frames.said
    assert frames.promise.late is None


@pytest.mark.parametrize(
    ("changed", "part"),
    [({"device": 0.25}, DEVICE), ({"edge": 0.15}, EDGE), ({"queue": 0.12}, QUEUE), ({"line": 0.2}, LINE)],
)
def test_what_takes_longer_than_promised_is_named_within_seconds(changed: dict[str, float], part: Part) -> None:
    frames = Frames().come(50)
    since_s = frames.now_s
    for _ in range(100):
        if not frames.said:
            frames.come(1, **changed)
    assert frames.now_s - since_s < LASTS_S + KEPT * EVERY_S
    assert frames.promise.blames(part)
    assert part.name in frames.said[0]
    assert "promised were 110" in frames.said[0]


def test_lasting_lateness_is_said_once_and_its_end_once() -> None:
    frames = Frames().come(30).come(300, edge=0.2).come(300)
    assert len(frames.said) == 2
    assert "as promised" in frames.said[1]
    assert frames.promise.late is None


def test_lateness_near_the_limit_does_not_flap() -> None:
    frames = Frames(sigma=0.3).come(30)
    for _ in range(100):
        frames.come(10, device=0.06 + 0.055)
    assert len(frames.said) <= 3


def test_burst_that_passes_is_no_deviation() -> None:
    frames = Frames()
    for _ in range(20):
        frames.come(20).come(4, queue=2.0)
    assert not frames.said


def test_frames_that_come_sooner_than_promised_are_a_change_too() -> None:
    frames = Frames().come(30).come(300, device=0.01, edge=0.01)
    assert len(frames.said) == 1
    assert "less than 110" in frames.said[0]
    assert frames.promise.late is None


def test_frames_of_a_sensor_that_gives_as_many_as_are_taken_wait_in_queues_without_a_word() -> None:
    frames = Frames(as_taken=True).come(50, queue=1.0, line=0.5)
    assert not frames.said
    frames.come(50, queue=1.0, edge=0.2)
    assert frames.promise.blames(EDGE)


def test_new_plan_begins_with_a_promise_of_its_own() -> None:
    frames = Frames().come(50, edge=0.2)
    assert frames.promise.late is not None
    frames.promise.made(2, PROMISED | {EDGE: 0.2}, as_taken=False)
    frames.come(200, edge=0.2)
    assert frames.promise.late is None
    assert len(frames.said) == 1
