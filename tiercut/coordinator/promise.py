"""What a plan promised when it was taken up, against what its frames take: both directions.

Estimates follow nodes and lines, so that a prediction is soon right again, however bad it has become. The promise
stays as it was: frames that come much later, or much sooner, than promised and keep doing so are a `Deviation`.
"""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from tiercut.coordinator.parts import Part, Parts

#: Frames that the typical latency is taken from. With one in five frames off by half, their median is not.
KEPT = 9
#: Frames come late from this factor on, and as promised again below the second one; sooner than promised below the
#: third. Jitter of 20 % moves a median of nine frames by 8 %.
LATE, KEPT_AGAIN, EARLY = 1.5, 1.25, 0.67
#: … if it is at least this much: below, timers and schedulers are all that differs.
LEAST_S = 0.020
#: A part is named instead of the last one if that differs by less than this share of it.
HARDLY_MORE = 0.67
#: A deviation must last this long, so that loading a model or one burst is none.
LASTS_S = 2.0

State = Literal["kept", "late"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Deviation:
    """Frames take another time than promised, and go on doing so.

    Attributes:
        measured_s: Typical latency.
        promised_s: What the plan promised.
        part: What differs most.
        part_s: What that part takes now.
        part_promised_s: What it was to take.
    """

    measured_s: float
    promised_s: float
    part: Part
    part_s: float
    part_promised_s: float

    def __str__(self) -> str:
        return (
            f"frames take {_ms(self.measured_s)} ms, promised were {_ms(self.promised_s)}: "
            f"{self.part.name} {_ms(self.part_promised_s)} → {_ms(self.part_s)} ms"
        )


class Promise:
    """The promise of one stream's plan.

    Attributes:
        epoch: Of the plan that made it; ``None`` before the first.
        promised_s: What frames are to take from the first to the last of its parts.
        as_taken: The sensor gives as many frames as are taken.
        late: What differs, while frames are late.
    """

    def __init__(self) -> None:
        self.epoch: int | None = None
        self.promised_s = math.inf
        self.as_taken = False
        self.late: Deviation | None = None
        self._parts: Parts = {}
        #: what frames are known to take, where that is less than promised
        self._known_s = math.inf
        #: the last frames: their times, and the parts of these
        self._times_s: deque[float] = deque(maxlen=KEPT)
        self._frames: deque[Parts] = deque(maxlen=KEPT)
        #: since when the median is off, and in which direction
        self._off: tuple[str, float] | None = None

    def made(self, epoch: int, parts: Parts, *, as_taken: bool) -> None:
        """A plan is taken up.

        Args:
            epoch: Its number.
            parts: What its parts are to take of a frame's time.
            as_taken: The sensor gives as many frames as are taken. They then wait for each other in queues and on
                lines, and there is no promise but for the processors.
        """
        self.epoch, self.as_taken = epoch, as_taken
        self._parts = self._counted(parts)
        self.promised_s = self._known_s = sum(self._parts.values())
        self.late, self._off = None, None
        self._times_s.clear()
        self._frames.clear()

    def withdraw(self) -> None:
        """Nothing is promised, until a plan is looked at again."""
        self.epoch = None
        self.late, self._off = None, None

    def arrived(self, parts: Parts, now_s: float) -> str | None:
        """A frame of that plan has come its whole way; returns what has changed, in words, if this one shows it.

        Args:
            parts: What its parts took of its time.
            now_s: When it came.
        """
        counted = self._counted(parts)
        self._frames.append(counted)
        self._times_s.append(sum(counted.values()))
        if len(self._frames) < KEPT:
            return None
        measured_s = statistics.median(self._times_s)
        if self.late is not None:
            return self._still_late(measured_s, now_s)
        if _more(measured_s, LATE, self.promised_s):
            return self._lasts("late", now_s, lambda: self._is_late(measured_s))
        if measured_s < EARLY * self._known_s and self._known_s - measured_s >= LEAST_S:
            return self._lasts("early", now_s, lambda: self._is_early(measured_s))
        self._off = None
        return None

    def blames(self, part: Part) -> bool:
        """Whether frames are late mostly because of a part."""
        return self.late is not None and self.late.part == part

    def typical(self) -> dict[Part, float]:
        """What each part takes of late; nothing before there are enough frames."""
        if len(self._frames) < KEPT:
            return {}
        names = {part for parts in self._frames for part in parts}
        return {part: statistics.median(parts.get(part, 0.0) for parts in self._frames) for part in names}

    def _counted(self, parts: Parts) -> Parts:
        """The parts that there is a promise for."""
        return {part: s for part, s in parts.items() if part.resource == "processor" or not self.as_taken}

    def _lasts(self, direction: str, now_s: float, then: Callable[[], str | None]) -> str | None:
        """What follows from a median that has been off in one direction for long enough."""
        if self._off is None or self._off[0] != direction:
            self._off = direction, now_s
        return then() if now_s - self._off[1] >= LASTS_S else None

    def _is_late(self, measured_s: float) -> str | None:
        self._off = None
        self.late = self._deviation(measured_s)
        return None if self.late is None else str(self.late)

    def _still_late(self, measured_s: float, now_s: float) -> str | None:
        if _more(measured_s, KEPT_AGAIN, self.promised_s):
            self._off = None
            self.late = self._deviation(measured_s) or self.late
            return None
        return self._lasts("kept", now_s, lambda: self._is_kept(measured_s))

    def _is_kept(self, measured_s: float) -> str:
        self._off = self.late = None
        return f"frames take {_ms(measured_s)} ms again, as promised"

    def _is_early(self, measured_s: float) -> str:
        known_s, self._known_s, self._off = self._known_s, measured_s, None
        return f"frames take {_ms(measured_s)} ms, less than {_ms(known_s)}"

    def _deviation(self, measured_s: float) -> Deviation | None:
        """What differs most, the last such part before others that differ by hardly more; ``None`` where none does."""
        typical = self.typical()
        excess = {each: s - self._parts.get(each, 0.0) for each, s in typical.items()}
        part = max(excess, key=lambda each: excess[each], default=None)
        if part is None:
            return None
        if self.late is not None and excess.get(self.late.part, 0.0) > HARDLY_MORE * excess[part]:
            part = self.late.part
        return Deviation(
            measured_s=measured_s,
            promised_s=self.promised_s,
            part=part,
            part_s=typical[part],
            part_promised_s=self._parts.get(part, 0.0),
        )


def _more(measured_s: float, factor: float, promised_s: float) -> bool:
    return measured_s > factor * promised_s and measured_s - promised_s >= LEAST_S


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.0f}"
