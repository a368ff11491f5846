"""When the streams of a site are planned as one, and when a better answer for all is worth a change.

A site is *full* when streams that are planned one by one ask more of a processor or a line than it has. From then on
all are planned as one (`tiercut.planner.site`), until there is room for each by itself again: all have what they ask
for, by one plan each, and nothing is nearly full.

While streams are planned as one their plans change where the present ones give clearly less than others would, which is
found by the same planner with the present plans alone. Shares and rates follow the figures without a change of plans.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from tiercut.coordinator.hysteresis import EVALUATIONS
from tiercut.coordinator.mix import Mix
from tiercut.coordinator.site.gain import gain_of, measured, much_worse, shares_are_off
from tiercut.coordinator.site.lines import LineEstimators
from tiercut.coordinator.site.mixes import changes, followed, impossible, is_served, is_short
from tiercut.coordinator.site.patience import Gain, Patience
from tiercut.coordinator.site.problem import (
    LEVELS,
    OVERLOADED,
    Member,
    loads,
    planned_busy,
    site_problem,
    with_spare_time,
)
from tiercut.coordinator.site_view import SiteView
from tiercut.coordinator.standing import alike, near
from tiercut.coordinator.stream import PlannedStream
from tiercut.plan import node_id
from tiercut.planner import Choice
from tiercut.planner.objectives import THROUGHPUT
from tiercut.planner.site import SitePlan, SiteProblem, StreamShare
from tiercut.planner.site.solve import plan_site, plan_site_with

#: A site is full, or has room again, only if that lasts for so long; each relapse within `RELAPSE_S` doubles the second
#: one.
FULL_S, ROOM_S, RELAPSE_S = 1.0, 20.0, 120.0
#: There is room again where nothing is busier than this.
ROOM = 0.65
#: The site's problem is solved this often while something happens, and at least this often else.
EVERY_S, STANDS_S = 0.75, 15.0
#: A site with more streams than this is looked at more rarely.
MANY = 16


@dataclass(frozen=True, slots=True)
class Answered:
    """The last problem and its answer.

    Attributes:
        members: Whose problem.
        problem: It.
        best: The best plan of all.
        at_s: When.
    """

    members: tuple[Member, ...]
    problem: SiteProblem
    best: SitePlan
    at_s: float


class SitePlanning:
    """Plans the streams of a site as one, while that is called for.

    Args:
        view: What is known of the site.

    Attributes:
        answered: The last problem and its answer, while streams are planned as one.
    """

    def __init__(self, view: SiteView) -> None:
        self._view = view
        self.answered: Answered | None = None
        self._looked_s = -math.inf
        #: since when the site is full, or has room again
        self._since_s: float | None = None
        self._room_s = ROOM_S
        self._left_s = -math.inf
        #: how often in a row other plans were found better
        self._found = 0
        #: nothing was changed for no other reason than that something had been a moment ago
        self._held_back = False
        #: streams follow plans that were found for all of them together
        self._followed = False
        self._patience = Patience()
        #: not all streams have what they ask for, however much is filled
        self._short = False
        #: plans keep more of deadlines free than they must, which costs no frames, and when that was looked at last
        self._spares, self._compared_s = True, -math.inf

    @property
    def active(self) -> bool:
        """Streams are planned as one."""
        return self.answered is not None

    def has(self, name: str) -> bool:
        """Whether a stream is one of those that are planned as one."""
        share = self.share(name)
        return share is not None and bool(share.ways)

    def share(self, name: str) -> StreamShare | None:
        """What a stream gets; ``None`` where it is planned by itself."""
        return None if self.answered is None else self.answered.best.shares.get(name)

    def due(self, now_s: float, *, step: bool) -> bool:
        """Whether to look at the site now: the larger it is, the rarer, as a look takes 3 ms a stream.

        Args:
            now_s: When.
            step: Something has changed abruptly, or a node is gone: now in any case.
        """
        every_s = EVERY_S if self.answered is None else EVERY_S * max(1.0, len(self.answered.members) / MANY)
        if not step and now_s - self._looked_s < every_s:
            return False
        self._looked_s = now_s
        return True

    def is_full(self, members: Sequence[Member], now_s: float) -> bool:
        """Whether streams that are planned one by one ask too much of something, and have done so for a while."""
        if self._left_s == -math.inf and any(member.stream.mixed for member in members):  # from before the hub's start
            self._followed = True
            return True
        if not self._lasts(_too_full(members, self._view.lines, now_s), now_s, FULL_S):
            return False
        if now_s - self._left_s < RELAPSE_S:
            self._room_s = min(2 * self._room_s, RELAPSE_S)
        else:
            self._room_s = ROOM_S
        return True

    def look(
        self,
        members: Sequence[Member],
        now_s: float,
        *,
        taken: Mapping[str, float],
        step: bool,
        besides: Collection[PlannedStream] = (),
    ) -> dict[str, tuple[Mix, str]]:
        """Solve the site's problem; the mix to change to and why, of streams that are to change.

        Args:
            members: The streams.
            now_s: When.
            taken: Part of its time that each resource is busy with other things.
            step: Something has changed abruptly.
            besides: Streams that are planned by themselves.
        """
        problem = site_problem(members, self._view, now_s, taken=taken, besides=besides)
        if self.answered is not None and not step and self._stands(problem, now_s):
            return {}
        known = {member.stream.goal.name: followed(member) for member in members}
        level, best = self._best(problem, members, known, now_s)
        problem = replace(problem, filled=level)
        present = plan_site_with(problem, known)
        self.answered = Answered(tuple(members), problem, best, now_s)
        if self._lasts(_has_room(best), now_s, self._room_s):
            self.leave(now_s)
            return changes(members, problem, best, "there is room for each stream by itself again")
        must, gives = self._must(members, best), measured(members, now_s)
        step = step and much_worse(members, present)
        waits = self._patience.plans_stay(now_s, gives, step=step)
        steady = self._patience.steady(now_s)
        gain = None if must is not None or waits else gain_of(members, present, best, steady=steady)
        if must is not None or self._better(gain, step=step):
            reason = must if gain is None else gain.words
            found = changes(members, problem, best, reason or "")
            if found:
                self._patience.plans_changed(now_s, gain, gives)
            self._followed, self._held_back = True, False
            return found
        shares_wait = self._patience.shares_stay(now_s)
        self._held_back = waits or shares_wait
        busy = planned_busy(members, self._view.lines, now_s)
        overloaded = any(part + taken.get(where, 0.0) > OVERLOADED for where, part in busy.items())
        off = overloaded or shares_are_off(members, present)
        if shares_wait or not off:
            return {}
        found = changes(members, problem, present, "shares follow the site's figures")
        if found:
            self._patience.shares_changed(now_s)
        return found

    def _best(
        self, problem: SiteProblem, members: Sequence[Member], known: Mapping[str, tuple[Choice, ...]], now_s: float
    ) -> tuple[float, SitePlan]:
        """The best plan of all: as little filled as gives all streams what they ask for, else as much as is allowed.

        Frames of a full site wait for each other, so plans keep more of deadlines free than what measured frames ask
        for, unless that costs frames. Streams that have no plan then keep no more free than they must.
        """
        most = LEVELS[-1]
        if self._short:  # as it was the last time: what is less than the most need not be tried
            best = _best_with_time_to_spare(problem, members, known, most)
            self._short = _lacks(best)
        if not self._short:
            for level in LEVELS:
                best = _best_with_time_to_spare(problem, members, known, level)
                if not _lacks(best):
                    return level, best
            self._short = True
        if not self._spares or now_s - self._compared_s >= STANDS_S:
            self._compared_s = now_s
            tight = plan_site(replace(problem, filled=most), known=known)
            self._spares = gain_of(members, best, tight) is None
            best = best if self._spares else tight
        return most, best

    def leave(self, now_s: float) -> None:
        """Streams are planned one by one from now on."""
        self.rest()
        self._left_s = now_s

    def rest(self) -> None:
        """There is nothing to plan."""
        self.answered, self._since_s, self._found = None, None, 0
        self._followed = False

    def _stands(self, problem: SiteProblem, now_s: float) -> bool:
        """Whether a problem is still about the one that was solved last."""
        known = self.answered
        if known is None or self._found or self._held_back or now_s - known.at_s >= STANDS_S:
            return False
        return (
            near(sum(part for _, part in known.problem.taken), sum(part for _, part in problem.taken), least=0.05)
            and [line.name for line in known.problem.lines] == [line.name for line in problem.lines]
            and all(near(a.mbps, b.mbps) for a, b in zip(known.problem.lines, problem.lines, strict=True))
            and [(each.name, each.weight) for each in known.problem.streams]
            == [(each.name, each.weight) for each in problem.streams]
            and all(
                _near_rate(a.frames_per_second, b.frames_per_second) and alike(a.problem, b.problem)
                for a, b in zip(known.problem.streams, problem.streams, strict=True)
            )
        )

    def _must(self, members: Sequence[Member], best: SitePlan) -> str | None:
        """Why the present plans will not do, if so."""
        if not self._followed:
            return "the site is full: its streams are planned as one"
        for member in members:
            stream = member.stream
            gone = self.gone(stream) or impossible(member)
            if gone and best.shares[stream.goal.name].ways:
                return f"plans of '{stream.goal.name}' cannot go on: {gone}"
            if stream.plan is not None and stream.plan.device != stream.goal.device:
                return f"'{stream.goal.device}' reads the sensor of '{stream.goal.name}' now"
        return None

    def gone(self, stream: PlannedStream) -> str | None:
        """Which node of the plans that a stream follows is gone, or does not do its part."""
        if stream.mix is None:
            return None
        failing = sorted(node_id(*key) for key in stream.failing & stream.mix.nodes)
        if failing:
            return f"{failing[0]} said ready and failed"
        return next((gone for plan, _ in stream.mix.plans if (gone := self._view.gone(plan)) is not None), None)

    def _better(self, gain: Gain | None, *, step: bool) -> bool:
        """Whether other plans are worth a change, found often enough in a row."""
        self._found = 0 if gain is None else self._found + 1
        if gain is None or (not step and self._found < EVALUATIONS):
            return False
        self._found = 0
        return True

    def _lasts(self, holds: bool, now_s: float, seconds: float) -> bool:
        if not holds:
            self._since_s = None
            return False
        if self._since_s is None:
            self._since_s = now_s
        if now_s - self._since_s < seconds:
            return False
        self._since_s = None
        return True


def _too_full(members: Sequence[Member], lines: LineEstimators, now_s: float) -> bool:
    """Whether streams that share something ask too much of it, or one that has it alone has no plan that keeps up."""
    return any(_asks_for_several(each) for each in members) or any(
        load.short for load in loads(members, lines, now_s).values()
    )


def _asks_for_several(member: Member) -> bool:
    """Whether a stream by itself is served best by several plans: none keeps up, or it is to give all it can."""
    stream = member.stream
    if stream.kept.offered.asked_fps is None:
        return stream.goal.objective == THROUGHPUT.name
    return stream.behind and stream.kept.overrun is not None


def _lacks(plan: SitePlan) -> bool:
    """Whether a stream that has a way gets less than it asks for."""
    return any(is_served(share) and is_short(share) for share in plan.shares.values())


def _has_room(plan: SitePlan) -> bool:
    """Whether each stream can be planned by itself again."""
    return max(plan.load.values(), default=0.0) < ROOM and all(
        len(share.ways) == 1 and not is_short(share) for share in plan.shares.values() if is_served(share)
    )


def _best_with_time_to_spare(
    problem: SiteProblem, members: Sequence[Member], known: Mapping[str, tuple[Choice, ...]], level: float
) -> SitePlan:
    """The best plan that keeps more of deadlines free, but for those of streams that would have no way then."""
    best = plan_site(replace(with_spare_time(problem, members), filled=level), known=known)
    in_time = [member for member in members if member.stream.goal.deadline_s is None or _has_way(member, best)]
    if len(in_time) == len(members):
        return best
    return plan_site(replace(with_spare_time(problem, in_time), filled=level), known=known)


def _has_way(member: Member, plan: SitePlan) -> bool:
    return bool(plan.shares[member.stream.goal.name].ways)


def _near_rate(one: float, other: float) -> bool:
    return one == other or near(one, other)
