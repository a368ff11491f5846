"""Traces as arrays: the same questions as to a `Trace`, for many times at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tiercut.planner.objectives import Floats
from tiercut.simulate.traces import Trace


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """A trace.

    Attributes:
        times: (N) seconds, rising from 0.
        values: (N) each until the next time, the last one forever.
        sums: (N) the integral from 0 to each time.
    """

    times: Floats
    values: Floats
    sums: Floats

    @classmethod
    def of(cls, trace: Trace) -> Curve:
        """A trace as arrays."""
        times, values = np.array(trace.times), np.array(trace.values)
        return cls(times, values, np.concatenate([[0.0], np.cumsum(np.diff(times) * values[:-1])]))

    def at(self, at_s: Floats) -> Floats:
        """The value at each of some times; an infinite one has the last."""
        return np.asarray(self.values[self._index(at_s)])

    def sum_until(self, end_s: Floats) -> Floats:
        """The integral from 0 to each of some finite times."""
        index = self._index(end_s)
        return np.asarray(self.sums[index] + (end_s - self.times[index]) * self.values[index])

    def until_sum(self, start_s: Floats, amount: Floats | float) -> Floats:
        """When the integral from each of some times on reaches an amount above 0; infinite: never."""
        start_s = np.asarray(start_s, dtype=np.float64)
        first = self._index(start_s)
        with np.errstate(invalid="ignore"):
            target = self.sum_until(start_s) + amount
        index = np.maximum(first, np.searchsorted(self.sums, target, side="left") - 1)
        rate = self.values[index]
        with np.errstate(divide="ignore", invalid="ignore"):
            done = self.times[index] + (target - self.sums[index]) / rate
        return np.where((rate > 0) & np.isfinite(start_s), done, np.inf)

    def _index(self, at_s: Floats) -> Floats:
        return np.asarray(np.maximum(0, np.searchsorted(self.times, at_s, side="right") - 1))
