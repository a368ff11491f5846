"""Whether a plan keeps up with its stream's sensor: each part is done with a frame before the next one.

What does not keep up has a queue that only the window of frames in flight ends: a frame then takes about that window
times the slowest part, whatever the plan's latency is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from tiercut.coordinator.offered import Offered
from tiercut.coordinator.parts import Part, Parts, busy_parts
from tiercut.planner import Answer, Problem

#: Part of the time between two frames that a new plan may fill: with more, frames that take longer than usual queue up
#: (at 0.85 and with even arrivals, three of them at most of the time).
FILLED = 0.85
#: A part is busy all the time from this share of it on; less, and something else holds frames up.
BUSY = 0.8


@dataclass(frozen=True, slots=True, kw_only=True)
class Overrun:
    """A part that takes longer for a frame than there is between two.

    Attributes:
        part: Which.
        busy_s: What it takes.
        asked_fps: Frames per second that the sensor gives.
    """

    part: Part
    busy_s: float
    asked_fps: float

    @property
    def factor(self) -> float:
        """How many times as fast it would have to be."""
        return self.busy_s * self.asked_fps

    def __str__(self) -> str:
        if self.factor <= 1:
            return f"which fill {self.factor:.0%} of {self.part.name}"
        return f"for which {self.part.name} is {self.factor:.2g} times too slow"


def keeps_up(problem: Problem, answer: Answer, asked_fps: float) -> bool:
    """Whether a plan would keep up, with something to spare."""
    return max(busy_parts(problem, answer).values(), default=0.0) * asked_fps <= FILLED


def without_queues(problem: Problem) -> Problem:
    """The problem as it is where all plans keep up."""
    return problem.with_nodes(lambda node: replace(node, queue_seconds=0.0))


def busy_now(planned: Parts, typical: Parts) -> dict[Part, float]:
    """What each part of a plan takes of the time between frames: as measured for processors, else as planned.

    Args:
        planned: `parts.busy_parts` of the plan.
        typical: What frames of the plan have taken of late. A line's time has others' waiting in it.
    """
    return {part: typical.get(part, s) if part.resource == "processor" else s for part, s in planned.items()}


def overrun(busy: Parts, offered: Offered, late: Part | None) -> Overrun | None:
    """The part of a plan because of which it does not keep up; ``None`` while it does.

    It must be seen: either frames do not get through as fast as they come, and the part has hardly any time left (a
    sensor that gives less than its settings ask for overruns nothing); or they wait in front of a part that is all but
    full.

    Args:
        busy: What each part takes of a frame's time.
        offered: The stream's sensor.
        late: What of their way frames are late for, if they are.
    """
    asked_fps, done_fps = offered.asked_fps, offered.done_fps
    if asked_fps is None or done_fps is None or not busy:
        return None
    part = max(busy, key=lambda each: busy[each])
    found = Overrun(part=part, busy_s=busy[part], asked_fps=asked_fps)
    seen = offered.gets_stuck and busy[part] * done_fps >= BUSY
    waits = late is not None and late.where == part.where and late.resource in {"queue", "line"}
    return found if (seen and found.factor > 1) or (waits and found.factor > FILLED) else None
