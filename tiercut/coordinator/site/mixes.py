"""From a full site's plan to what each of its streams is to follow, and back."""

from __future__ import annotations

import math
from collections.abc import Sequence

from msgspec import structs

from tiercut.coordinator.best_plan import Best
from tiercut.coordinator.deadline import MAX_IN_FLIGHT
from tiercut.coordinator.mix import Mix
from tiercut.coordinator.problem import as_choice
from tiercut.coordinator.site.problem import Member
from tiercut.errors import SettingsError
from tiercut.plan import Plan
from tiercut.planner import Answer, Choice, Problem, evaluate
from tiercut.planner.objectives import THROUGHPUT
from tiercut.planner.site import SitePlan, SiteProblem, StreamShare

#: Room that differs from what is asked by less than this part is no limit.
ALL_OF_IT = 0.98
#: Frames that may be in flight beyond those that make the deadline on average.
SPARE_FRAMES = 0.3
#: No stream is let down to less than this, which would be to end it.
LEAST_FPS = 0.01


def changes(
    members: Sequence[Member], problem: SiteProblem, chosen: SitePlan, reason: str
) -> dict[str, tuple[Mix, str]]:
    """What streams get that is not what they have."""
    found: dict[str, tuple[Mix, str]] = {}
    for member in members:
        mix = _mix(member, problem, chosen.shares[member.stream.goal.name])
        if mix is not None and not mix.alike(member.stream.mix):
            found[member.stream.goal.name] = mix, reason
    return found


def followed(member: Member) -> tuple[Choice, ...]:
    """The plans that a stream follows now."""
    mix = member.stream.mix
    return () if mix is None else tuple(as_choice(plan) for plan, _ in mix.plans)


def given(member: Member, possible_fps: float) -> float:
    """Frames per second that a stream has room for now."""
    fps = None if member.stream.mix is None else member.stream.mix.frames_per_second
    return possible_fps if fps is None else fps


def limits_nothing(member: Member, share: StreamShare) -> bool:
    """Whether a stream is still held to a rate although there is room for all that it asks for."""
    limited = member.stream.mix is not None and member.stream.mix.frames_per_second is not None
    return limited and not is_short(share)


def impossible(member: Member) -> str | None:
    """Why one of the plans that a stream follows cannot be followed, whatever it takes; ``None`` where all can."""
    for choice in followed(member):
        try:
            evaluate(member.problem, choice)
        except SettingsError as error:
            return f"expected {error.expected}, came {error.came}"
    return None


def is_short(share: StreamShare) -> bool:
    """Whether a stream gets less than it asks for."""
    return share.frames_per_second < ALL_OF_IT * share.asked_frames_per_second


def lacks(member: Member, fps: float) -> bool:
    """Whether so many frames are less than a stream is known to ask for."""
    asked_fps = member.stream.kept.offered.asked_fps
    if asked_fps is None:
        return member.stream.goal.objective == THROUGHPUT.name
    return fps < ALL_OF_IT * asked_fps


def is_served(share: StreamShare) -> bool:
    """Whether a stream asks for frames and has a way for them: what others get is not judged by one that does not."""
    return bool(share.ways) and share.asked_frames_per_second > 0


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
    """One way's plan. Frames of other streams are ahead of its own: as many may be in flight as make the deadline.

    No more, so that frames that are late slow their way down: else a queue that has built up once, on a line that has
    hardly room, would make all frames late for ever, and the line would be busy with nothing else.
    """
    plan = Best(alone, answer).plan(member.stream.goal, answer)
    if plan.deadline is None:
        return plan
    in_flight = min(MAX_IN_FLIGHT, max(1, math.floor(fps * plan.deadline.seconds + SPARE_FRAMES)))
    return structs.replace(plan, deadline=structs.replace(plan.deadline, in_flight=in_flight))
