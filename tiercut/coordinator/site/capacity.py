"""What is said of a site as a whole: what it gives, what edges or cloud nodes alone would give, and what is short."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from msgspec import UNSET

from tiercut.coordinator.site.mixes import ALL_OF_IT
from tiercut.coordinator.site.planning import Answered
from tiercut.coordinator.site.problem import LEVELS, only
from tiercut.coordinator.stream import PlannedStream
from tiercut.planner.site import SharedLine, SiteProblem, StreamShare
from tiercut.planner.site.solve import plan_site
from tiercut.protocol.capacity import SiteCapacity, StreamRoom
from tiercut.protocol.explanations import Resource, Shortage

#: What a site could give is found anew after this long, where its problem has been solved anew.
ANEW_S, CALM_S = 10.0, 60.0
#: Sooner where its plans give so much more or less than then.
SOON_S, SOON = 2.0, 0.1
#: Of more streams than this it takes a while: nothing is found while the site has room for them, and else rarely.
MANY = 16


@dataclass(frozen=True, slots=True)
class Yardsticks:
    """What a site could give, in frames per second of all streams.

    Attributes:
        problem: Of which problem.
        bound: No plan gives more, with nothing kept free.
        edges: Edges alone.
        cloud: Cloud nodes alone.
        devices: Devices alone.
        planned: What the site's plans gave then; ``None`` while streams are planned one by one.
        at_s: When that was found.
    """

    problem: SiteProblem
    bound: float
    edges: float
    cloud: float
    devices: float
    planned: float | None
    at_s: float

    @classmethod
    def of(cls, answered: Answered, known: Yardsticks | None, measured: float, now_s: float) -> Yardsticks:
        """Those of the last problem; the known ones, if they are of it or hardly old."""
        planned = answered.best.frames_per_second
        if known is not None and (
            known.problem is answered.problem or now_s - known.at_s < known.lasts_s(planned, measured)
        ):
            return known
        return cls._found(answered.problem, planned, now_s)

    @classmethod
    def calm(cls, problem: SiteProblem, known: Yardsticks | None, measured: float, now_s: float) -> Yardsticks | None:
        """The same where the site is not full: nothing follows from them, so that they may be older."""
        if len(problem.streams) > MANY:
            return None
        same = known is not None and _who(known.problem) == _who(problem)
        if known is not None and same and now_s - known.at_s < (SOON_S if known.is_refuted(measured) else CALM_S):
            return known
        return cls._found(problem, None, now_s)

    def lasts_s(self, planned: float, measured: float) -> float:
        """How long these hold where the site's plans give so many frames now, and so many come."""
        if len(self.problem.streams) > MANY:
            return CALM_S
        moved = self.planned is None or abs(planned - self.planned) > SOON * self.planned
        return SOON_S if moved or self.is_refuted(measured) else ANEW_S

    def is_refuted(self, measured: float) -> bool:
        """More frames come than these say are possible: nodes were busy with starting when they were found."""
        return measured > (1 + SOON) * self.bound

    @classmethod
    def _found(cls, problem: SiteProblem, planned: float | None, now_s: float) -> Yardsticks:
        full = replace(problem, filled=LEVELS[-1])
        edges, cloud, devices = (
            plan_site(only(full, {tier})).frames_per_second for tier in ("edge", "cloud", "device")
        )
        whole = plan_site(replace(problem, filled=1.0))
        return cls(problem, whole.bound_frames_per_second, edges, cloud, devices, planned, now_s)


def _who(problem: SiteProblem) -> set[tuple[str, str]]:
    """The streams, and the nodes that each may use."""
    return {(stream.name, node.id) for stream in problem.streams for node in stream.problem.nodes}


def measured_fps(streams: Iterable[PlannedStream], now_s: float) -> float:
    """Results per second of late, of all streams."""
    return sum(stream.recent.per_second(now_s) for stream in streams)


def capacity(
    streams: Sequence[PlannedStream],
    answered: Answered | None,
    yardsticks: Yardsticks | None,
    now_s: float,
    *,
    found_lines: Sequence[str] = (),
) -> SiteCapacity:
    """What people are told of a site.

    Args:
        streams: All of its streams.
        answered: The answer for all together, while they are planned as one.
        yardsticks: What the site could give.
        now_s: When.
        found_lines: What is said of lines that were found.
    """
    shares = {} if answered is None else answered.best.shares
    measured = measured_fps(streams, now_s)
    short = sorted({said.message for stream in streams if (said := stream.short) is not None})
    return SiteCapacity(
        message=_sentence(measured, yardsticks),
        measured=round(measured, 2),
        planned=None if answered is None else round(answered.best.frames_per_second, 2),
        bound=_rounded(yardsticks, "bound"),
        edges_alone=_rounded(yardsticks, "edges"),
        cloud_alone=_rounded(yardsticks, "cloud"),
        devices_alone=_rounded(yardsticks, "devices"),
        as_one=answered is not None,
        load={} if answered is None else {where: round(part, 3) for where, part in answered.best.load.items()},
        short=short,
        streams={stream.goal.name: _room(stream, shares.get(stream.goal.name), now_s) for stream in streams},
        found_lines=list(found_lines) or UNSET,
    )


def shortage_of(name: str, answered: Answered) -> Shortage | None:
    """What a stream that is planned with others is short of: the resource that most holds it back, in a sentence."""
    shares, share = answered.best.shares, answered.best.shares.get(name)
    if share is None or not share.short or share.frames_per_second >= ALL_OF_IT * share.asked_frames_per_second:
        return None
    where = share.short[0]
    others = [each for each in shares.values() if where in each.short]
    asked, given = (sum(f(each) for each in others) for f in (_asked, _given))
    resource, what = _resource(where, answered.problem.lines)
    fps = share.frames_per_second
    if len(others) > 1:
        ask = f"{len(others)} streams ask for {_fps(asked)}, the site has room for {given:.3g}, {fps:.3g} of them"
        said = f"{what} is short: {ask} for '{name}'"
    else:
        said = f"{what} is short: '{name}' asks for {_fps(asked)}, the site has room for {fps:.3g}"
    return Shortage(
        limit="rate",
        resource=resource,
        where=where,
        needed_seconds=1 / fps if fps else 0.0,
        available_seconds=0.0 if math.isinf(_asked(share)) else 1 / _asked(share),
        factor=_factor(share),
        message=said,
    )


def _factor(share: StreamShare) -> float:
    asked, fps = share.asked_frames_per_second, share.frames_per_second
    return min(1e6, asked / fps) if fps else 1e6


def _sentence(measured: float, yardsticks: Yardsticks | None) -> str:
    said = f"this site: {measured:.3g} frames/s"
    if yardsticks is None:
        return said
    each = (("edge alone", yardsticks.edges), ("cloud alone", yardsticks.cloud), ("devices alone", yardsticks.devices))
    alone = ", ".join(f"{name}: {fps:.3g}" for name, fps in each)
    return f"{said}, {alone}, bound: {yardsticks.bound:.3g}"


def _room(stream: PlannedStream, share: StreamShare | None, now_s: float) -> StreamRoom:
    asked = stream.kept.offered.asked_fps
    return StreamRoom(
        asked=None if asked is None else round(asked, 2),
        room=None if share is None else round(share.frames_per_second, 2),
        measured=round(stream.recent.per_second(now_s), 2),
        ways=0 if stream.mix is None else len(stream.mix.plans),
    )


def _rounded(yardsticks: Yardsticks | None, name: str) -> float | None:
    return None if yardsticks is None else round(float(getattr(yardsticks, name)), 2)


def _resource(where: str, lines: Sequence[SharedLine]) -> tuple[Resource, str]:
    """What kind of resource has a name, and the name for people."""
    if any(line.name == where for line in lines):
        return "line", f"the line '{where}'"
    return ("line", f"the line {where}") if "->" in where else ("processor", f"the processor of {where}")


def _asked(share: StreamShare) -> float:
    return share.asked_frames_per_second


def _given(share: StreamShare) -> float:
    return share.frames_per_second


def _fps(asked: float) -> str:
    return "as many frames as it takes" if math.isinf(asked) else f"{asked:.3g} frames/s"
