"""How long a full site's plans, and their shares, stay as they are: what has just changed moves the figures.

Plans and shares have clocks of their own, as shares may follow the figures every few seconds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

#: Plans stay for so long, twice as long after each better one that follows the last within so many times that wait, and
#: at most for so long; where something has changed abruptly, for no longer than the last.
WAIT_S, SOON, MOST_WAIT_S, STEP_WAIT_S = 2.0, 5.0, 60.0, 6.0
#: Shares and rates of the same plans change no sooner after the last change.
FOLLOW_S = 3.0


@dataclass(slots=True)
class Patience:
    """One site's."""

    _plans_s: float = -math.inf
    _shares_s: float = -math.inf
    _wait_s: float = WAIT_S

    def plans_stay(self, now_s: float, *, step: bool) -> bool:
        """Whether better plans must wait."""
        return now_s - self._plans_s < (min(self._wait_s, STEP_WAIT_S) if step else self._wait_s)

    def shares_stay(self, now_s: float) -> bool:
        """Whether other shares of the same plans must wait."""
        return now_s - self._shares_s < FOLLOW_S

    def plans_changed(self, now_s: float, *, better: bool) -> None:
        """Plans have changed, for better ones or because they had to."""
        if better:
            soon = now_s - self._plans_s < SOON * self._wait_s
            self._wait_s = min(2 * self._wait_s, MOST_WAIT_S) if soon else WAIT_S
        self._plans_s = self._shares_s = now_s

    def shares_changed(self, now_s: float) -> None:
        """Shares or rates of the same plans have changed."""
        self._shares_s = now_s
