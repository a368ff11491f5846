"""Which frames of several sensors belong together: those within a tolerance of each other, by their times of capture.

It never waits forever: a set that lacks a sensor goes out without it once the wait is over. Of a sensor that is faster
than the others, the frame nearest to theirs counts.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from tiercut.sensing.sensor_format import Captured

#: Sets that are open at once; with more, the oldest goes out as it is.
MAX_OPEN = 256
#: A frame that is older than what has gone out already by more than this comes from a clock that was set back.
BACK_S = 60.0


@dataclass(frozen=True, slots=True, eq=False)
class Aligned:
    """Frames that belong together.

    Attributes:
        parts: One per sensor, in their order; ``None`` where it is missing.
        at_unix_s: Capture of the oldest of them.
    """

    parts: tuple[Captured | None, ...]
    at_unix_s: float


@dataclass(slots=True)
class _Set:
    """Frames that were put together so far; ``first_at`` is when the first of them arrived, ``at`` its capture."""

    at: float
    first_at: float
    parts: dict[int, Captured] = field(default_factory=dict)
    times: list[float] = field(default_factory=list)


class Aligner:
    """Puts frames of several sensors together.

    Args:
        n: How many sensors there are.
        tolerance_s: Frames within this time of the first one of a set belong to it.
        wait_s: How long a set is open after its first frame has arrived; ``None``: as long as the tolerance. Longer
            where frames arrive late, as windows do that are cut out of chunks.
    """

    def __init__(self, n: int, tolerance_s: float, wait_s: float | None = None) -> None:
        self._n = n
        self._tolerance_s = tolerance_s
        self._wait_s = tolerance_s if wait_s is None else wait_s
        self._open: list[_Set] = []  # by rising time of capture
        self._gone: float | None = None  # capture of the newest set that went out

    def put(self, i: int, captured: Captured, now_unix_s: float | None = None) -> list[Aligned]:
        """Take a frame of sensor ``i``.

        Args:
            i: Number of the sensor.
            captured: Its frame.
            now_unix_s: Wall clock; ``None``: the frame's own time.

        Returns:
            What is complete by now, or has waited long enough, from old to new.
        """
        at = captured.at_unix_s if captured.at_unix_s is not None else now_unix_s
        at = time.time() if at is None else at
        now = at if now_unix_s is None else now_unix_s
        if self._gone is not None and at < self._gone - BACK_S:
            self._open, self._gone = [], None
        chosen = min(
            (each for each in self._open if i not in each.parts and abs(each.at - at) <= self._tolerance_s),
            key=lambda each: abs(each.at - at),
            default=None,
        )
        if chosen is None:
            if self._gone is not None and at <= self._gone:
                return self.due(now)  # its set has gone without it
            chosen = _Set(at, now)
            self._open.append(chosen)
            self._open.sort(key=lambda each: each.at)
        chosen.parts[i] = captured
        chosen.times.append(at)
        done = self._complete(chosen) if len(chosen.parts) == self._n else []
        while len(self._open) > MAX_OPEN:
            done.append(self._out(self._open.pop(0)))
        return done + self.due(now)

    def due(self, now_unix_s: float) -> list[Aligned]:
        """Sets that have waited long enough, from old to new."""
        late = [each for each in self._open if now_unix_s - each.first_at > self._wait_s]
        self._open = [each for each in self._open if each not in late]
        return [self._out(each) for each in late]

    def next_due_s(self) -> float | None:
        """Wall clock when `due` gives something, if nothing comes before."""
        first = min((each.first_at for each in self._open), default=None)
        return None if first is None else first + self._wait_s

    def flush(self) -> list[Aligned]:
        """All that is open, as it is: nothing more comes."""
        rest, self._open = self._open, []
        return [self._out(each) for each in rest]

    def _complete(self, chosen: _Set) -> list[Aligned]:
        """A complete set goes out. Older ones near it had the extra frames of faster sensors; others go as they are."""
        older = [each for each in self._open if each.at < chosen.at]
        self._open = [each for each in self._open if each.at > chosen.at]
        alone = [each for each in older if chosen.at - each.at > self._tolerance_s]
        return [self._out(each) for each in (*alone, chosen)]

    def _out(self, made: _Set) -> Aligned:
        self._gone = made.at if self._gone is None else max(self._gone, made.at)
        return Aligned(tuple(made.parts.get(i) for i in range(self._n)), min(made.times))
