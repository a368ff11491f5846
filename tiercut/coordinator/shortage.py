"""Which resource a stream is short of, and by how much, where no plan does without: in figures and in a sentence."""

from __future__ import annotations

from tiercut.coordinator.best_plan import Best
from tiercut.coordinator.keeping_up import Overrun
from tiercut.coordinator.parts import Part, planned_parts
from tiercut.coordinator.promise import Deviation
from tiercut.planner import Answer, Problem
from tiercut.protocol.explanations import Shortage

#: A node that is this many times as slow as its profile says does something else besides.
SHARED = 1.5
#: The most that a factor says: where nothing is left of a deadline, it would be infinite.
MOST = 1e6


def shortage(*, overrun: Overrun | None, late: Deviation | None, best: Best, current: Answer) -> Shortage | None:
    """What a stream is short of; the first of rate, deadline and latency that does not hold.

    Args:
        overrun: The part because of which the plan does not keep up.
        late: What differs while frames come later than promised.
        best: The best plan.
        current: The plan that is followed, by today's figures.
    """
    if overrun is not None:
        return _of_rate(overrun, best, current)
    if best.late is not None and best.deadline_s is not None:
        return _of_deadline(best, best.deadline_s)
    return None if late is None else _of_latency(late, best.problem)


def _of_rate(overrun: Overrun, best: Best, current: Answer) -> Shortage:
    part, fps = overrun.part, overrun.asked_fps
    short = f"{part.name} is short by a factor of {overrun.factor:.2g}"
    if overrun.factor <= 1:
        short = f"{part.name} is {overrun.factor:.0%} full, so that frames wait for each other"
    end = "; no plan takes as many" if best.behind else ""
    return Shortage(
        limit="rate",
        resource=part.resource,
        where=part.where,
        needed_seconds=overrun.busy_s,
        available_seconds=1 / fps,
        factor=overrun.factor,
        message=f"{short}: {_sum(overrun, current)}{_shared(part, best.problem)}{end}",
    )


def _sum(overrun: Overrun, current: Answer) -> str:
    """The sum behind it: ``25 frames/s of 72 ms each, 14 would get through``."""
    part, fps = overrun.part, overrun.asked_fps
    most = f"{1 / overrun.busy_s:.3g} frames/s get through"
    if part.resource != "line":
        return f"{fps:.3g} frames/s of {_ms(overrun.busy_s)} each are asked for, {most} at most"
    sent_bytes = next((each.sent_bytes for each in current.stages if each.where == part.where), 0.0)
    rates = f"{fps * sent_bytes / 1e6:.2g} MB/s, it carries {sent_bytes / 1e6 / overrun.busy_s:.2g}"
    return f"{fps:.3g} frames/s of {sent_bytes / 1e3:.3g} kB each are {rates}, {most} at most"


def _of_deadline(best: Best, deadline_s: float) -> Shortage:
    parts, whole_s = planned_parts(best.problem, best.answer), best.answer.latency_seconds
    part = max(parts, key=lambda each: parts[each])
    factor = min(MOST, whole_s / deadline_s) if deadline_s else MOST
    return Shortage(
        limit="deadline",
        resource=part.resource,
        where=part.where,
        needed_seconds=whole_s,
        available_seconds=deadline_s,
        factor=factor,
        message=(
            f"the deadline leaves {_ms(deadline_s)}, the fastest plan takes {_ms(whole_s)}: {_ms(parts[part])} of it "
            f"is {part.name}{_shared(part, best.problem)}"
        ),
    )


def _of_latency(late: Deviation, problem: Problem) -> Shortage:
    part = late.part
    return Shortage(
        limit="latency",
        resource=part.resource,
        where=part.where,
        needed_seconds=late.measured_s,
        available_seconds=late.promised_s,
        factor=min(MOST, late.measured_s / late.promised_s) if late.promised_s else MOST,
        message=(
            f"frames take {_ms(late.measured_s)}, promised were {_ms(late.promised_s)}: {_ms(late.part_s)} of it is "
            f"{part.name}, promised {_ms(late.part_promised_s)}{_shared(part, problem)}; no better plan is known"
        ),
    )


def _shared(part: Part, problem: Problem) -> str:
    """That a node does something else besides, where its figures say so."""
    if part.resource == "line":
        return ""
    slowdown = next((node.slowdown for node in problem.nodes if node.id == part.where), 1.0)
    return f" ({part.where} is {slowdown:.2g} times as slow as its profile says)" if slowdown >= SHARED else ""


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.3g} ms" if seconds < 1 else f"{seconds * 1e3:.0f} ms"
