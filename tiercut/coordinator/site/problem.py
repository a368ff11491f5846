"""One planning problem of all streams of a site, from theirs as if each were alone."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from tiercut.coordinator.keeping_up import FILLED
from tiercut.coordinator.parts import busy_parts
from tiercut.coordinator.problem import ENVELOPE_BYTES, as_choice
from tiercut.coordinator.sharing import with_memory_taken
from tiercut.coordinator.site.lines import LineEstimators
from tiercut.coordinator.site_view import SiteView
from tiercut.coordinator.stream import PlannedStream
from tiercut.coordinator.stream_goal import of_rates
from tiercut.errors import SettingsError
from tiercut.plan import Plan, node_id
from tiercut.planner import Problem, evaluate
from tiercut.planner.objectives import THROUGHPUT
from tiercut.planner.problem import Link, Node
from tiercut.planner.site import SharedLine, SiteProblem, SiteStream

#: Parts of each processor's and line's time that a full site may use: the least with which all streams get what they
#: ask for, else the most. Frames are spaced and dealt out evenly, so that less is kept free at most than for a stream
#: whose frames nobody spaces (`keeping_up.FILLED`); still, those of several streams come at the same time.
LEVELS = (0.8, 0.95)
#: Streams that are planned as one are given other rates at once where those they have take more of something than this.
OVERLOADED = 0.99
#: Part of a deadline that new plans of a full site keep free where that costs no frames, as frames wait for each other;
#: and the most that plans must keep free that are followed: how late their frames come is no matter of the plans then.
SPARE_TIME, MOST_MARGIN = 0.5, 0.2
#: A resource is in use all the time from this part of it on: frames that wait for each other leave gaps.
BUSY = 0.65
#: Room for a sensor without a rate: at least so much, and so many times what it gives.
SELDOM_FPS, GROWTH = 1.0, 1.5
#: A node that serves other sites as well is taken for busy with them from this part of its time on.
ELSEWHERE = 0.05


@dataclass(frozen=True, slots=True)
class Member:
    """A stream of the site, with its problem as if it were alone."""

    stream: PlannedStream
    problem: Problem

    def asked_fps(self, now_s: float) -> float:
        """Frames per second to plan for; infinity where the stream is to give as many as are taken.

        Of a sensor without a rate, such as one that publishes on the bus when something happens, nobody knows what it
        would give: it gets room for somewhat more than it gives now, and again for more once it has used that.
        """
        asked = self.stream.kept.offered.asked_fps
        if asked is not None:
            return asked
        if self.stream.goal.objective == THROUGHPUT.name:
            return math.inf
        return max(SELDOM_FPS, GROWTH * self.stream.rate(now_s))


def may_share(stream: PlannedStream, now_s: float) -> bool:
    """Whether a stream can be planned with others: it is the coordinator's to plan, and is to be quick or to give much.

    What others are to have of energy or accuracy says nothing of rates: they keep what they have. A stream whose frames
    have stopped leaves its part to the others. One that misses its deadline may do so because the site is full.
    """
    if stream.control.mode != "auto" or not of_rates(stream.goal):
        return False
    well = stream.trouble is None or stream.late or stream.mixed
    return well and not stream.idle(now_s)


def site_problem(
    members: Sequence[Member],
    view: SiteView,
    now_s: float,
    *,
    taken: Mapping[str, float],
    besides: Collection[PlannedStream] = (),
) -> SiteProblem:
    """The problem of a site.

    Args:
        members: Its streams.
        view: Lines that hops share, and gateways, which work on their edge's processor.
        now_s: When.
        taken: Part of its time that each resource is busy with other things.
        besides: Streams that are planned by themselves: the memory of their segments is not free.
    """
    lines = view.lines
    ends = {pair for member in members for pair in member.problem.links}
    shared = tuple(
        SharedLine(name=line.name, links=crossing, mbps=lines.mbps(line, now_s))
        for line in lines.lines
        if (crossing := frozenset(pair for pair in ends if line.carries(*pair)))
    )
    rates: dict[tuple[str, str], float] = {}
    for line in shared:
        rates |= {pair: min(line.mbps, rates.get(pair, math.inf)) for pair in line.links}
    streams = tuple(
        SiteStream(
            name=member.stream.goal.name,
            problem=_alone(member, rates, besides, now_s),
            frames_per_second=member.asked_fps(now_s),
            weight=member.stream.goal.weight,
            model=member.stream.goal.model,
        )
        for member in members
    )
    return SiteProblem(
        streams=streams,
        lines=shared,
        processors=tuple((node.id, node_id("edge", node.node)) for node in view.nodes.values() if node.gateway),
        frame_bytes=ENVELOPE_BYTES,
        taken=tuple(sorted(taken.items())),
        filled=LEVELS[-1],
    )


def with_spare_time(problem: SiteProblem, members: Sequence[Member]) -> SiteProblem:
    """The same site with more of some streams' deadlines kept free."""
    deadlines_s = {member.stream.goal.name: member.stream.goal.deadline_s for member in members}

    def spared(stream: SiteStream) -> SiteStream:
        deadline_s, kept_s = deadlines_s.get(stream.name), stream.problem.deadline_seconds
        if deadline_s is None or kept_s is None:
            return stream
        least_s = min(kept_s, (1 - SPARE_TIME) * deadline_s)
        return replace(stream, problem=replace(stream.problem, deadline_seconds=least_s))

    return replace(problem, streams=tuple(map(spared, problem.streams)))


def _alone(
    member: Member, rates: Mapping[tuple[str, str], float], besides: Collection[PlannedStream], now_s: float
) -> Problem:
    """A stream's problem without queues, which the site's plan does without, and with what shared lines carry.

    What the segments of streams hold that are planned by themselves is not free for this one.
    """

    def seen(node: Node) -> Node:
        return replace(node, queue_seconds=member.stream.kept.waits.seconds(node.id, now_s))

    def crossed(pair: tuple[str, str], link: Link) -> Link:
        return link if pair not in rates else replace(link, mbps=rates[pair])

    shunned = {node_id(*key) for key in member.stream.shunned if member.stream.is_shunned(key, now_s)}
    problem = member.problem.without(shunned)
    links = {pair: crossed(pair, link) for pair, link in problem.links.items()}
    return with_memory_taken(replace(problem.with_nodes(seen), links=links), member.stream, besides)


def only(problem: SiteProblem, tiers: Collection[str]) -> SiteProblem:
    """The same site if nodes of some tiers alone computed, besides what devices must: others pass frames on."""

    def idle(node: Node) -> Node:
        return node if node.tier in {*tiers, "device"} else replace(node, block_seconds={})

    def alone(stream: SiteStream) -> SiteStream:
        most = None if "device" in tiers else stream.problem.min_first_cut
        return replace(stream, problem=replace(stream.problem.with_nodes(idle), max_first_cut=most))

    return replace(problem, streams=tuple(map(alone, problem.streams)))


@dataclass(slots=True)
class Load:
    """What streams that are planned one by one do with a resource.

    Attributes:
        asked: Part of its time that they would need for all frames that their sensors give.
        now: Part of its time that it is busy with those that get through.
        streams: How many use it.
    """

    asked: float = 0.0
    now: float = 0.0
    streams: int = 0

    @property
    def short(self) -> bool:
        """Several streams ask too much of it: hardly any of its time is left, and not all frames get through.

        A sensor that gives less than its settings ask for makes nothing short.
        """
        return self.streams > 1 and self.asked > FILLED and self.now >= BUSY


def loads(members: Iterable[Member], lines: LineEstimators, now_s: float) -> dict[str, Load]:
    """What streams do with each resource by the plans they have."""
    busy: dict[str, Load] = {}
    for member in members:
        rate_fps = member.stream.rate(now_s)
        asked_fps = max(rate_fps, member.stream.kept.offered.asked_fps or 0.0)
        for where, seconds in _busy(member, member.stream.plan, lines, now_s).items():
            load = busy.setdefault(where, Load())
            load.asked += asked_fps * seconds
            load.now += rate_fps * seconds
            load.streams += 1
    return busy


def planned_busy(members: Iterable[Member], lines: LineEstimators, now_s: float) -> dict[str, float]:
    """Part of its time that each resource is busy with streams that are planned as one, at the rates they have."""
    busy: dict[str, float] = {}
    for member in members:
        mix = member.stream.mix
        limit = None if mix is None else mix.frames_per_second
        fps = member.asked_fps(now_s) if limit is None else limit
        for plan, share in () if mix is None or not math.isfinite(fps) else mix.plans:
            for where, seconds in _busy(member, plan, lines, now_s).items():
                busy[where] = busy.get(where, 0.0) + share * fps * seconds
    return busy


def _busy(member: Member, plan: Plan | None, lines: LineEstimators, now_s: float) -> dict[str, float]:
    """Seconds of each resource that a frame of a stream's plan takes."""
    if plan is None:
        return {}
    try:
        answer = evaluate(member.problem, as_choice(plan))
    except SettingsError:  # not possible any more: it is about to change
        return {}
    seconds = {part.where: s for part, s in busy_parts(member.problem, answer).items()}
    for line in lines.lines:
        sent = [
            stage.sent_bytes
            for stage in answer.stages
            if stage.kind == "transfer" and line.carries(*stage.where.split(" -> "))
        ]
        if sent:
            seconds[line.name] = (sum(sent) + ENVELOPE_BYTES * len(sent)) * 8e-6 / lines.mbps(line, now_s)
    return seconds


def elsewhere(members: Sequence[Member], now_s: float, busy: Mapping[str, float]) -> dict[str, float]:
    """Part of its time that each cloud node works for others than these streams.

    Args:
        members: The streams.
        now_s: When.
        busy: Part of its time that each cloud node works, as it says.
    """
    ours: dict[str, float] = dict.fromkeys(busy, 0.0)
    for member in members:
        for key, seconds in member.stream.worked_s.items():
            if (node := node_id(*key)) in ours:
                ours[node] += member.stream.rate(now_s) * seconds
    return {node: min(FILLED, part - ours[node]) for node, part in busy.items() if part - ours[node] > ELSEWHERE}
