"""How long a full site's plans, and their shares, stay as they are: what has just changed moves the figures.

Plans and shares have clocks of their own, as shares may follow the figures every few seconds. Plans that were taken
because they were better must have paid before others are taken for that: where what came of them was less than half of
what they promised, the figures that they were chosen by are doubtful, and the next ones wait twice as long.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

#: Better plans wait for so long after a change, twice as long after each that has not paid, and at most for so long;
#: where something has become much worse, for no longer than the last.
WAIT_S, MOST_WAIT_S, STEP_WAIT_S = 4.0, 60.0, 6.0
#: What has come of a change is known after so long; this part of what it promised is enough.
KNOWN_S, ENOUGH = 6.0, 0.5
#: Plans that have stood for so long have brought what they promised, and a smaller gain is worth another change.
STEADY_S = 15.0
#: Shares and rates of the same plans change no sooner after the last change.
FOLLOW_S = 3.0

#: The rate of the stream with least, by its weight; of all streams together; and the mean time of a frame.
Kind = Literal["least", "total", "latency"]


@dataclass(frozen=True, slots=True)
class Gain:
    """What other plans promise.

    Attributes:
        kind: Of what.
        factor: How many times as many frames; of a latency, how many times as long, below 1.
        words: The same for people.
    """

    kind: Kind
    factor: float
    words: str


@dataclass(slots=True)
class _Trial:
    """The last change for better plans, until it is known what came of it."""

    gain: Gain
    before: float

    def has_paid(self, now: float) -> bool:
        """Whether enough of what was promised has come; of what was nothing before, anything is enough."""
        if math.isinf(self.gain.factor):
            return now > self.before
        promised = (1 + ENOUGH * (self.gain.factor - 1)) * self.before
        return now <= promised if self.gain.kind == "latency" else now >= promised


class Patience:
    """One site's."""

    def __init__(self) -> None:
        self._plans_s = self._shares_s = -math.inf
        self._wait_s = WAIT_S
        self._trial: _Trial | None = None

    def plans_stay(self, now_s: float, measured: dict[Kind, float], *, step: bool) -> bool:
        """Whether better plans must wait.

        Args:
            now_s: When.
            measured: What the site gives.
            step: Something has become much worse.
        """
        trial = self._trial
        if trial is not None and now_s - self._plans_s >= KNOWN_S:
            paid = trial.has_paid(measured[trial.gain.kind])
            self._wait_s = WAIT_S if paid else min(2 * self._wait_s, MOST_WAIT_S)
            self._trial = None
        wait_s = max(self._wait_s, KNOWN_S) if self._trial is not None else self._wait_s
        return now_s - self._plans_s < (min(wait_s, STEP_WAIT_S) if step else wait_s)

    def steady(self, now_s: float) -> bool:
        """Whether plans have stood for long."""
        return now_s - self._plans_s >= STEADY_S

    def shares_stay(self, now_s: float) -> bool:
        """Whether other shares of the same plans must wait."""
        return now_s - self._shares_s < FOLLOW_S

    def plans_changed(self, now_s: float, gain: Gain | None, measured: dict[Kind, float]) -> None:
        """Plans have changed, for better ones, or because they had to."""
        self._trial = None if gain is None else _Trial(gain, measured[gain.kind])
        self._plans_s = self._shares_s = now_s

    def shares_changed(self, now_s: float) -> None:
        """Shares or rates of the same plans have changed."""
        self._shares_s = now_s
