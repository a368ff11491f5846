"""How many results a stream had in the last seconds, counted one by one: what people are told of a site is no estimate.

A mean of the times between frames is not enough: frames of several plans come out of the order in which they were
captured.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

#: They are counted by slots, as so many times are kept of a fast stream as of a slow one; only whole ones are told of.
SLOT_S, SLOTS = 0.5, 10


@dataclass(slots=True)
class RecentResults:
    """Counts of one stream's results."""

    _first: int | None = None
    #: (slot, results in it), the newest last
    _counts: deque[list[int]] = field(default_factory=lambda: deque(maxlen=SLOTS + 1))

    def came(self, now_s: float) -> None:
        """A result has come."""
        slot = int(now_s // SLOT_S)
        if self._first is None:
            self._first = slot
        if self._counts and self._counts[-1][0] >= slot:
            self._counts[-1][1] += 1
        else:
            self._counts.append([slot, 1])

    def per_second(self, now_s: float) -> float:
        """Results per second in the last five seconds, or since the first result where that is less."""
        slot = int(now_s // SLOT_S)
        if self._first is None or slot == self._first:
            return 0.0
        slots = min(SLOTS, slot - self._first)
        return sum(count for at, count in self._counts if slot - slots <= at < slot) / (slots * SLOT_S)
