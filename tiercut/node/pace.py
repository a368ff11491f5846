"""How fast a node is right now, without a frame: one fixed piece of work against its own best time."""

from __future__ import annotations

import math
import time

import numpy as np

#: Small products, so that no library spreads them over threads; together a few milliseconds, longer than a time slice.
_SIZE, _ROUNDS = 64, 400


class Pace:
    """Times the same work again and again; other programs on the machine, or a hot one, show as a factor above 1."""

    def __init__(self) -> None:
        self._matrix = np.random.default_rng(0).random((_SIZE, _SIZE), dtype=np.float32)
        self._best_s = math.inf

    def measure(self) -> float:
        """How many times its best time the work takes now, as the median of three; blocks for some milliseconds."""
        seconds = sorted(self._once_s() for _ in range(3))
        self._best_s = min(self._best_s, seconds[0])
        return seconds[1] / self._best_s

    def _once_s(self) -> float:
        started_s = time.perf_counter()
        for _ in range(_ROUNDS):
            np.matmul(self._matrix, self._matrix)
        return time.perf_counter() - started_s
