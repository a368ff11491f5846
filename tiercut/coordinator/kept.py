"""Whether one stream's plan does what it is to do: it keeps up with the sensor, and frames take what was promised."""

from __future__ import annotations

from dataclasses import dataclass, field

from tiercut.coordinator.keeping_up import Overrun, busy_now, overrun
from tiercut.coordinator.long_waits import LongWaits
from tiercut.coordinator.offered import Offered
from tiercut.coordinator.parts import Parts, busy_parts, measured_parts, planned_parts
from tiercut.coordinator.promise import Promise
from tiercut.coordinator.standing import near
from tiercut.plan import Plan
from tiercut.planner import Answer, Problem
from tiercut.protocol.results import Journey
from tiercut.protocol.streams import SourceReport


@dataclass(slots=True)
class PlanKept:
    """The plan that a stream follows.

    Attributes:
        offered: What the sensor gives, and what of it gets through.
        promise: What the plan promised, against what frames take.
        waits: Where frames have waited for somebody else's, under this plan or an earlier one.
        overrun: Because of what the plan does not keep up.
    """

    offered: Offered = field(default_factory=Offered)
    promise: Promise = field(default_factory=Promise)
    waits: LongWaits = field(default_factory=LongWaits)
    overrun: Overrun | None = None
    #: how long the plan keeps each part from the next frame
    _busy: Parts = field(default_factory=dict)

    def evaluated(self, plan: Plan, problem: Problem, current: Answer, now_s: float) -> None:
        """The plan by today's figures: its promise, the first time, and whether it keeps up."""
        as_taken = self.offered.asked_fps is None
        if (self.promise.epoch, self.promise.as_taken) != (plan.epoch, as_taken):
            self.promise.made(plan.epoch, planned_parts(problem, current), as_taken=as_taken)
        self._busy = busy_parts(problem, current)
        self._find_cause(now_s)

    def reported(self, report: SourceReport, now_s: float) -> bool:
        """The node that reads the sensor reports; whether the sensor gives another rate now, or frames get stuck."""
        before = self.offered.asked_fps, self.offered.gets_stuck
        self.offered.heard(report, now_s)
        return not near(before[0], self.offered.asked_fps) or before[1] != self.offered.gets_stuck

    def fell_silent(self) -> None:
        """No frames come any more: what was found of the last ones says nothing of the next."""
        self.offered.done_fps = self.overrun = None
        self.promise.withdraw()

    def planned_with_others(self) -> None:
        """Its plans are part of a full site's: what holds there is not for a stream to judge by itself."""
        self.overrun = None
        self.promise.withdraw()

    def looked_at(self, now_s: float) -> None:
        """The figures that the plan was evaluated with still hold: whether it keeps up is told by its frames."""
        self._find_cause(now_s)

    def arrived(self, journey: Journey, now_s: float) -> str | None:
        """A frame has a result; returns what has changed, in words, if this one shows it.

        One that did not go the plan's whole way says nothing, nor does one whose time on a line is unknown. Where
        frames may leave early the plan promises a mean, which no single frame takes.
        """
        whole = (
            journey.plan.threshold is None
            and journey.fallback is None
            and not journey.cached
            and journey.exit == journey.plan.exit
        )
        wires = sum(stage.kind == "wire" for stage in journey.stages)
        if not whole or journey.plan.epoch != self.promise.epoch or wires != len(journey.plan.hops):
            return None
        said = self.promise.arrived(measured_parts(journey), now_s)
        if said is not None:
            self._find_cause(now_s)
        return said

    def _find_cause(self, now_s: float) -> None:
        """Frames wait because their own come too fast, or else for somebody else's."""
        late = self.promise.late
        busy = busy_now(self._busy, self.promise.typical())
        self.overrun = overrun(busy, self.offered, None if late is None else late.part)
        if late is not None and late.part.resource == "queue" and self.overrun is None:
            self.waits.noted(late.part.where, late.part_s, now_s)
