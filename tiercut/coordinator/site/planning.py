"""When the streams of a site are planned as one, and when a better answer for all is worth a change.

A site is *full* when streams that are planned one by one ask more of a processor or a line than it has. From then on
all are planned as one (`tiercut.planner.site`), until there is room for each by itself again: all have what they ask
for, by one plan each, and nothing is nearly full.

While streams are planned as one their plans change where the present ones give clearly less than others would, which is
found by the same planner with the present plans alone. Shares and rates follow the figures without a change of plans.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from operator import truediv

from msgspec import structs

from tiercut.coordinator.best_plan import Best
from tiercut.coordinator.deadline import MAX_IN_FLIGHT
from tiercut.coordinator.hysteresis import EVALUATIONS
from tiercut.coordinator.mix import Mix
from tiercut.coordinator.problem import as_choice
from tiercut.coordinator.site.lines import LineEstimators
from tiercut.coordinator.site.patience import Patience
from tiercut.coordinator.site.problem import LEVELS, Member, loads, overloaded, site_problem
from tiercut.coordinator.site_view import SiteView
from tiercut.coordinator.standing import alike, near
from tiercut.coordinator.stream import PlannedStream
from tiercut.errors import SettingsError
from tiercut.plan import Plan, node_id
from tiercut.planner import Answer, Choice, Problem, evaluate
from tiercut.planner.objectives import THROUGHPUT
from tiercut.planner.site import SitePlan, SiteProblem, StreamShare
from tiercut.planner.site.solve import plan_site, plan_site_with

#: A site is full, or has room again, only if that lasts for so long; each relapse within `RELAPSE_S` doubles the second
#: one.
FULL_S, ROOM_S, RELAPSE_S = 1.0, 20.0, 120.0
#: There is room again where nothing is busier than this.
ROOM = 0.65
#: Other plans are worth a change from this gain on: of the stream that has least, or of all frames. As much as after a
#: step must be gained of latency, which frames that wait for each other change as well.
GAIN, STEP_GAIN = 0.10, 0.20
#: The site's problem is solved this often while something happens, and at least this often else.
EVERY_S, STANDS_S = 0.75, 15.0
#: Shares and rates of the same plans change for so much more.
WORTH = 0.05
#: A site with more streams than this is looked at more rarely.
MANY = 16
#: Room that differs from what is asked by less than this part is no limit.
ALL_OF_IT = 0.98
#: No stream is let down to less than this, which would be to end it.
LEAST_FPS = 0.01


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
        self, members: Sequence[Member], now_s: float, *, taken: Mapping[str, float], step: bool
    ) -> dict[str, tuple[Mix, str]]:
        """Solve the site's problem; the mix to change to and why, of streams that are to change.

        Args:
            members: The streams.
            now_s: When.
            taken: Part of its time that each resource is busy with other things.
            step: Something has changed abruptly.
        """
        problem = site_problem(members, self._view, now_s, taken=taken)
        if self.answered is not None and not step and self._stands(problem, now_s):
            return {}
        followed = {member.stream.goal.name: _followed(member) for member in members}
        for level in LEVELS:
            problem = replace(problem, filled=level)
            best = plan_site(problem, known=followed)
            if not any(map(_is_short, best.shares.values())):
                break
        present = plan_site_with(problem, followed)
        self.answered = Answered(tuple(members), problem, best, now_s)
        if self._lasts(_has_room(best), now_s, self._room_s):
            self.leave(now_s)
            return _changes(members, problem, best, "there is room for each stream by itself again")
        must = self._must(members, best)
        why = must or self._better(members, present, best, now_s, step=step)
        if why is not None:
            changes = _changes(members, problem, best, why)
            if changes:
                self._patience.plans_changed(now_s, better=must is None)
            self._followed, self._held_back = True, False
            return changes
        self._held_back = self._patience.plans_stay(now_s, step=step) or self._patience.shares_stay(now_s)
        if self._patience.shares_stay(now_s) or not self._shares_are_off(members, present, now_s):
            return {}
        changes = _changes(members, problem, present, "shares follow the site's figures")
        if changes:
            self._patience.shares_changed(now_s)
        return changes

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

    def _shares_are_off(self, members: Sequence[Member], present: SitePlan, now_s: float) -> bool:
        """Whether the rates that streams have are too much for something, or clearly less than there is room for.

        The same rates can often be had by many shares: those that are followed stay as long as they are good.
        """
        if overloaded(members, self._view.lines, now_s):
            return True
        if any(_limits_nothing(member, present.shares[member.stream.goal.name]) for member in members):
            return True
        served = [member for member in members if _is_served(present.shares[member.stream.goal.name])]
        if not served:
            return False
        possible = [present.shares[member.stream.goal.name].frames_per_second for member in served]
        given = [_given(member, fps) for member, fps in zip(served, possible, strict=True)]
        weights = [member.stream.goal.weight for member in served]
        least, more = (min(map(truediv, each, weights)) for each in (given, possible))
        return sum(possible) > (1 + WORTH) * sum(given) or more > (1 + WORTH) * least

    def _must(self, members: Sequence[Member], best: SitePlan) -> str | None:
        """Why the present plans will not do, if so."""
        if not self._followed:
            return "the site is full: its streams are planned as one"
        for member in members:
            stream = member.stream
            gone = self.gone(stream) or _impossible(member)
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

    def _better(
        self, members: Sequence[Member], present: SitePlan, best: SitePlan, now_s: float, *, step: bool
    ) -> str | None:
        """Why the best plan of all is worth a change, found often enough in a row, and not too soon after the last."""
        if self._patience.plans_stay(now_s, step=step):
            return None
        gain = STEP_GAIN if step else GAIN
        why = None
        least, more = _least(members, present, present), _least(members, best, present)
        if more > (1 + gain) * least:
            why = f"the stream with least has {least:.3g} → {more:.3g} frames/s"
        elif best.frames_per_second > (1 + gain) * present.frames_per_second:
            why = f"the site gives {present.frames_per_second:.3g} → {best.frames_per_second:.3g} frames/s"
        elif _latency_s(best) < (1 - STEP_GAIN) * _latency_s(present):
            why = f"frames take {_latency_s(present) * 1e3:.1f} → {_latency_s(best) * 1e3:.1f} ms"
        self._found = 0 if why is None else self._found + 1
        if why is None or (not step and self._found < EVALUATIONS):
            return None
        self._found = 0
        return why

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


def _has_room(plan: SitePlan) -> bool:
    """Whether each stream can be planned by itself again."""
    return max(plan.load.values(), default=0.0) < ROOM and all(
        len(share.ways) == 1 and not _is_short(share) for share in plan.shares.values() if _is_served(share)
    )


def _changes(
    members: Sequence[Member], problem: SiteProblem, chosen: SitePlan, reason: str
) -> dict[str, tuple[Mix, str]]:
    """What streams get that is not what they have."""
    changes: dict[str, tuple[Mix, str]] = {}
    for member in members:
        mix = _mix(member, problem, chosen.shares[member.stream.goal.name])
        if mix is not None and not mix.alike(member.stream.mix):
            changes[member.stream.goal.name] = mix, reason
    return changes


def _given(member: Member, possible_fps: float) -> float:
    """Frames per second that a stream has room for now."""
    fps = None if member.stream.mix is None else member.stream.mix.frames_per_second
    return possible_fps if fps is None else fps


def _limits_nothing(member: Member, share: StreamShare) -> bool:
    """Whether a stream is still held to a rate although there is room for all that it asks for."""
    limited = member.stream.mix is not None and member.stream.mix.frames_per_second is not None
    return limited and not _is_short(share)


def _impossible(member: Member) -> str | None:
    """Why one of the plans that a stream follows cannot be followed, whatever it takes; ``None`` where all can."""
    for choice in _followed(member):
        try:
            evaluate(member.problem, choice)
        except SettingsError as error:
            return f"expected {error.expected}, came {error.came}"
    return None


def _followed(member: Member) -> tuple[Choice, ...]:
    """The plans that a stream follows now."""
    mix = member.stream.mix
    return () if mix is None else tuple(as_choice(plan) for plan, _ in mix.plans)


def _mix(member: Member, problem: SiteProblem, share: StreamShare) -> Mix | None:
    """What a stream gets as plans; ``None`` where there is none for it."""
    fps, asked_fps = share.frames_per_second, share.asked_frames_per_second
    if not share.ways or fps <= 0:
        return None
    alone = next(each.problem for each in problem.streams if each.name == member.stream.goal.name)
    answers = [(evaluate(alone, way.choice), way.frames_per_second / fps) for way in share.ways]
    plans = tuple((_plan(member, alone, answer, part * fps), part) for answer, part in answers)
    if fps >= ALL_OF_IT * asked_fps:
        return Mix(plans)
    return Mix(plans, max(fps, LEAST_FPS))


def _plan(member: Member, alone: Problem, answer: Answer, fps: float) -> Plan:
    """One way's plan. Frames of other streams are ahead of its own: as many may be in flight as make the deadline."""
    plan = Best(alone, answer).plan(member.stream.goal, answer)
    if plan.deadline is None:
        return plan
    in_flight = min(MAX_IN_FLIGHT, 1 + math.ceil(fps * plan.deadline.seconds))
    return structs.replace(plan, deadline=structs.replace(plan.deadline, in_flight=in_flight))


def _least(members: Sequence[Member], plan: SitePlan, present: SitePlan) -> float:
    """Frames per second and weight of the stream with least, of those that have too few by the present plans."""
    short = [
        plan.shares[member.stream.goal.name].frames_per_second / member.stream.goal.weight
        for member in members
        if _is_short(present.shares[member.stream.goal.name]) and _is_served(plan.shares[member.stream.goal.name])
    ]
    return min(short, default=0.0)


def _is_short(share: StreamShare) -> bool:
    return share.frames_per_second < ALL_OF_IT * share.asked_frames_per_second


def _is_served(share: StreamShare) -> bool:
    """Whether a stream asks for frames and has a way for them: what others get is not judged by one that does not."""
    return bool(share.ways) and share.asked_frames_per_second > 0


def _latency_s(plan: SitePlan) -> float:
    """Mean over all frames."""
    ways = [way for share in plan.shares.values() for way in share.ways]
    frames = sum(way.frames_per_second for way in ways)
    return sum(way.frames_per_second * way.latency_seconds for way in ways) / frames if frames else math.inf


def _near_rate(one: float, other: float) -> bool:
    return one == other or near(one, other)
