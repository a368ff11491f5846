"""How often frames may set out: as often as the site has room for, evenly spaced."""

from __future__ import annotations

import math

#: No two frames set out closer to each other than this part of the time between two.
CLOSEST = 0.5


class RateLimit:
    """Keeps frames from setting out before it is time; `limit` says how many may.

    Frames that are a little early or late do not lower the rate: each is due one period after the last one was. Those
    that were not there when they were due are not made up for.

    Args:
        sensor_period_s: Time between two frames of a sensor with a rate of its own, whose frames are passed over that
            come too early: the one nearest to its time is taken. 0: the sensor waits until it is time.
    """

    def __init__(self, sensor_period_s: float = 0.0) -> None:
        self._sensor_period_s = sensor_period_s
        self._period_s = 0.0
        #: when the last frame was due, and when it has set out
        self._slot_s = self._started_s = -math.inf
        #: before that it is too early; read by the sensor's thread
        self._from_s = -math.inf

    def limit(self, frames_per_second: float) -> None:
        """So many from now on, also until the next."""
        self._period_s = 1 / frames_per_second
        self._wait_for_next()

    def wait_s(self, now_s: float) -> float:
        """Seconds until a frame may set out."""
        return max(0.0, self._from_s - now_s)

    def is_early(self, now_s: float) -> bool:
        """Whether a frame that is there now is to be passed over (from any thread)."""
        return now_s < self._from_s

    def started(self, now_s: float) -> None:
        """A frame has set out."""
        self._started_s = now_s
        self._slot_s = max(self._slot_s + self._period_s, now_s - (1 - CLOSEST) * self._period_s)
        self._wait_for_next()

    def _wait_for_next(self) -> None:
        due_s = self._slot_s + self._period_s
        closest_s = self._started_s + CLOSEST * self._period_s
        self._from_s = max(due_s - min(self._sensor_period_s, self._period_s) / 2, closest_s)
