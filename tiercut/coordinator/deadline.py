"""Meeting a stream's deadline: the margin that measured frames ask for, and how many have met it."""

from __future__ import annotations

import math
import statistics
from collections import deque
from dataclasses import dataclass, field

from tiercut.plan import Deadline
from tiercut.planner import Answer

#: Latest frames that the margin, and the share of met deadlines, are computed from.
KEPT, COUNTED = 60, 500
#: From this many frames on, their 95th percentile is known.
ENOUGH = 20
#: Before this many are known, this part of the deadline is kept free.
FEW, FIRST_MARGIN = 10, 0.15
#: Standard deviations that are kept free: one frame in a thousand is later.
DEVIATIONS = 3.1
#: A plan is given up for a more accurate one only if that has this much time to spare; else plans would flap.
SPARE = 0.05
#: One that would be late by less than this part must be found so at a few evaluations in a row.
BARELY = 0.10
#: Part of the predicted rest of the way that a frame needs in any case, so that none is dropped for a prediction.
MIN_REST_SHARE = 0.8
#: Frames that a plan may have in flight at once, at most.
MAX_IN_FLIGHT = 64
#: Median absolute deviation → standard deviation.
_NORMAL = 1.4826


@dataclass(slots=True)
class Punctuality:
    """One stream's frames against its deadline.

    Attributes:
        predicted_s: Latency that its plan promised when it was evaluated last.
        overhead_s: What every frame takes besides, whichever plan it follows.
    """

    predicted_s: float | None = None
    overhead_s: float = 0.0
    #: how much later than promised frames of the plan came; of one that has gone it may say that estimates were wrong
    _late_s: deque[float] = field(default_factory=lambda: deque(maxlen=KEPT))
    #: how much they differed under the plan before, at most; infinite before there was one
    _carried_s: float = math.inf
    _met: deque[bool] = field(default_factory=lambda: deque(maxlen=COUNTED))

    def arrived(self, latency_s: float, *, usual: bool, frames: int = 1) -> None:
        """A frame, and those that it stands for, took so long; ``usual`` if it went its plan's whole way."""
        if usual and self.predicted_s is not None:
            self._late_s.extend([latency_s - self.predicted_s - self.overhead_s] * min(frames, KEPT))

    def judged(self, *, met: bool, frames: int = 1) -> None:
        """A frame, and those that it stands for, have met their deadline, or have not."""
        self._met.extend([met] * min(frames, COUNTED))

    def new_plan(self) -> None:
        """Forget the frames of the last plan, but keep about how much they differed."""
        self._met.clear()
        if len(self._late_s) >= FEW:
            self._carried_s = self._spread_s()
        self._late_s.clear()

    @property
    def met_share(self) -> float | None:
        """Share of frames of the plan that have met their deadline."""
        return sum(self._met) / len(self._met) if self._met else None

    @property
    def counted(self) -> int:
        """Frames that this share rests on."""
        return len(self._met)

    def margin_s(self, deadline_s: float) -> float:
        """What is to be kept free of a deadline: what every frame takes besides, and how much later some come."""
        if len(self._late_s) < FEW:
            return self.overhead_s + min(self._carried_s, FIRST_MARGIN * deadline_s)
        return self.overhead_s + self._spread_s()

    def _spread_s(self) -> float:
        """How much later than promised frames come: the median and some deviations, or 19 of 20 where that is more."""
        middle = statistics.median(self._late_s)
        spread = _NORMAL * statistics.median(abs(each - middle) for each in self._late_s)
        ordered = sorted(self._late_s)
        latest = ordered[int(0.95 * len(ordered))] if len(ordered) >= ENOUGH else 0.0
        return max(0.0, middle + DEVIATIONS * spread, latest)


def deadline_of(deadline_s: float | None, answer: Answer, *, drop: bool, early: bool) -> Deadline | None:
    """The deadline as a plan carries it.

    Args:
        deadline_s: The stream's, ``None`` for none.
        answer: The planner's answer that becomes the plan.
        drop: The plan meets it, so what is late is useless.
        early: Frames may leave early, so how much of the way is left is unknown.
    """
    if deadline_s is None:
        return None
    rest: list[float] = [0.0]
    for stage in reversed(answer.stages):
        if stage.kind == "transfer":
            rest.append(rest[-1])
        rest[-1] += stage.seconds
    rest_s = () if early or not drop else tuple(MIN_REST_SHARE * each for each in reversed(rest))
    longest_s = max(answer.longest_stage_seconds, 1e-6)
    in_flight = max(1, min(MAX_IN_FLIGHT, int(answer.latency_seconds / longest_s)))
    return Deadline(seconds=deadline_s, drop=drop, rest_s=rest_s, in_flight=in_flight)
