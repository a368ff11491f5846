"""How fast a node is right now, without a frame: one fixed piece of work against its own best time."""

from __future__ import annotations

import math
import time

import numpy as np

#: Small products, so that no library spreads them over threads.
_SIZE = 64
#: As many of them as take this long at first: longer than a time slice of the scheduler (about 3 ms), so that programs
#: which share the cores show. By time and not by count, as a slow machine has other things to do as well.
_WORK_S = 0.004
_MAX_PRODUCTS = 1000
#: Two times that differ by less than this factor say the same: the hub takes less for noise as well.
_SAME = 1.3
#: One process measures at most this often: an edge and its gateway tell the same.
_KEPT_S = 0.5


class Pace:
    """Times the same work again and again; other programs on the machine, or a hot one, show as a factor above 1.

    While nothing changes, a measurement is one round of some milliseconds; a round that tells something new is checked
    by two more.
    """

    def __init__(self) -> None:
        self._matrix = np.linspace(0.1, 1.0, _SIZE * _SIZE, dtype=np.float32).reshape(_SIZE, _SIZE)
        self._made = np.empty_like(self._matrix)
        #: products in a round; 0: not known yet
        self._products = 0
        self._best_s = math.inf
        self._last_s = 0.0
        self._measured_s = -math.inf

    def measure(self) -> float:
        """How many times its best time the work takes now; blocks for some milliseconds."""
        if time.perf_counter() - self._measured_s > _KEPT_S:
            self._last_s = self._seconds()
            self._best_s = min(self._best_s, self._last_s)
            self._measured_s = time.perf_counter()
        return self._last_s / self._best_s

    def _seconds(self) -> float:
        """How long a round takes: the first one where it says what was known, else the median of three."""
        if not self._products:
            self._calibrate()
        first_s = self._round_s()
        if self._last_s / _SAME < first_s < self._last_s * _SAME:
            return first_s
        rounds_s = sorted([first_s, self._round_s(), self._round_s()])
        self._best_s = min(self._best_s, rounds_s[0])
        return rounds_s[1]

    def _calibrate(self) -> None:
        """Count the products of a round; the first one loads the library."""
        np.matmul(self._matrix, self._matrix, out=self._made)
        until_s = time.perf_counter() + _WORK_S
        while self._products < _MAX_PRODUCTS and time.perf_counter() < until_s:
            np.matmul(self._matrix, self._matrix, out=self._made)
            self._products += 1

    def _round_s(self) -> float:
        started_s = time.perf_counter()
        for _ in range(self._products):
            np.matmul(self._matrix, self._matrix, out=self._made)
        return time.perf_counter() - started_s


#: Of this process.
PACE = Pace()
