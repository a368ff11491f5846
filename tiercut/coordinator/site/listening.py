"""When every result is read of streams that share a line, or follow several plans at once.

What a line carries is told by frames that follow each other; and of a frame whose result is not read nobody knows which
of several plans it followed.

On a small site that is always. On a large one it is for a part of the time, so that the coordinator reads no more than
it has time for.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

#: Results per second that may be read for the lines' sake, some 0.4 ms each; and how long a turn lasts.
MOST_FPS, TURN_S = 100.0, 4.0


@dataclass(slots=True)
class Listening:
    """For all lines of one site."""

    _turn: float = -math.inf
    _count: int = 0
    _part: float = 1.0

    def hears(self, now_s: float) -> bool:
        """A result has come of such a stream: whether to read it."""
        turn = now_s // TURN_S
        if turn != self._turn:
            self._part = min(1.0, MOST_FPS * TURN_S / max(1, self._count))
            self._turn, self._count = turn, 0
        self._count += 1
        return now_s % TURN_S < self._part * TURN_S
