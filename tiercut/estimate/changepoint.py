"""Noticing that something has changed for good: Page's cumulative sum on residuals, and how noisy residuals are.

Averages that forget need as many samples to follow a step as they need to be steady. A test for change has both: as
long as residuals look like noise everything counts, and once they do not, everything before the change is forgotten.
"""

from __future__ import annotations

import math
import statistics
from collections import deque
from typing import Literal

#: Median of |x| of a normal distribution, in standard deviations, inverted.
MAD_TO_SIGMA = 1.4826

Direction = Literal["up", "down"]

#: Evidence, in standard deviations, from which a change is worth a closer look.
SUSPICION = 1.5


class Cusum:
    """Two-sided cumulative sum test (Page, Biometrika 1954) on residuals in standard deviations.

    ``up = max(0, up + z - slack)``, a change when it passes ``threshold``; ``down`` likewise with -z. Residuals are
    clipped first, so that two outliers in a row are no change and three are one. The steady run before a false alarm
    is about ``(e^(2sb) - 2sb - 1) / (2s²)`` samples, ``s = slack, b = threshold + 1.166`` (Siegmund 1985): 6 million
    at 1 and 7, and 180 thousand where a biased estimate leaves 0.75 of the slack.

    Args:
        slack: Shift that counts as noise.
        threshold: Evidence that counts as change.
        clip: The most that one residual counts.
    """

    def __init__(self, *, slack: float = 1.0, threshold: float = 7.0, clip: float = 3.5) -> None:
        self.slack = slack
        self.threshold = threshold
        self.clip = clip
        self._sums: dict[Direction, float] = {"up": 0.0, "down": 0.0}
        self._runs: dict[Direction, int] = {"up": 0, "down": 0}

    def update(self, z: float) -> Direction | None:
        """Take a residual; the direction if there is now enough evidence of a change."""
        bounded = max(-self.clip, min(self.clip, z))
        evidence: dict[Direction, float] = {"up": bounded, "down": -bounded}
        for direction, size in evidence.items():
            self._sums[direction] = max(0.0, self._sums[direction] + size - self.slack)
            self._runs[direction] = self._runs[direction] + 1 if self._sums[direction] else 0
        return next((direction for direction, total in self._sums.items() if total > self.threshold), None)

    @property
    def suspects(self) -> bool:
        """Whether there is some evidence of a change: one odd residual, or several that lean to one side.

        Of a normal distribution's residuals one in 150 begins it, and it ends after two on average.
        """
        return max(self._sums.values()) > SUSPICION

    def run(self, direction: Direction) -> int:
        """How many of the last samples are the evidence: the change was before them."""
        return self._runs[direction]

    def reset(self) -> None:
        """Begin again, after a change was adopted."""
        for direction in self._sums:
            self._sums[direction], self._runs[direction] = 0.0, 0


class NoiseScale:
    """Standard deviation of residuals, robust: from the median of their sizes, and from experience while they are few.

    Args:
        typical: Standard deviation to expect.
        least: Never below: estimates are never that good, and small changes are not worth a new plan.
        most: Never above: then it is no noise.
        window: Residuals that count.
    """

    def __init__(self, *, typical: float = 0.15, least: float = 0.08, most: float = 0.4, window: int = 48) -> None:
        self.typical = typical
        self.least = least
        self.most = most
        self._sizes: deque[float] = deque(maxlen=window)
        self._weight = 8  # residuals that the expectation is worth

    def add(self, residual: float) -> None:
        """Take a residual."""
        self._sizes.append(abs(residual))

    @property
    def sigma(self) -> float:
        """Standard deviation now."""
        if not self._sizes:
            return self.typical
        seen = MAD_TO_SIGMA * statistics.median(self._sizes)
        count = len(self._sizes)
        mixed = math.sqrt((count * seen**2 + self._weight * self.typical**2) / (count + self._weight))
        return max(self.least, min(self.most, mixed))
