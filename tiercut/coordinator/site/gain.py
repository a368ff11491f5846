"""Whether other plans of a full site are worth a change, and what the site gives by the plans it has."""

from __future__ import annotations

import math
from collections.abc import Sequence
from operator import truediv
from statistics import fmean

from tiercut.coordinator.site.mixes import given, is_served, is_short, lacks, limits_nothing
from tiercut.coordinator.site.patience import Gain, Kind
from tiercut.coordinator.site.problem import Member
from tiercut.planner.site import SitePlan

#: Other plans are worth a change from this gain on: of the stream that has least, or of all frames; after the present
#: ones have stood for long, from the second. Of latency more must be gained, which waiting frames change as well.
GAIN, STEADY_GAIN, LATENCY_GAIN = 0.10, 0.04, 0.30
#: What streams get has become much worse from this part on.
WORSE = 0.20
#: Shares and rates of the same plans change for so much more.
WORTH = 0.05


def gain_of(members: Sequence[Member], present: SitePlan, best: SitePlan, *, steady: bool = False) -> Gain | None:
    """What the best plans promise beside the present ones; ``None`` where that is not worth a change.

    Args:
        members: The streams.
        present: What the present plans give.
        best: What the best ones would give.
        steady: The present ones have stood for long.
    """
    worth = 1 + (STEADY_GAIN if steady else GAIN)
    least, more = _least(members, present, present), _least(members, best, present)
    if more > worth * least:
        words = f"the stream with least has {least:.3g} → {more:.3g} frames/s"
        return Gain("least", more / least if least else math.inf, words)
    if best.frames_per_second > worth * present.frames_per_second:
        factor = best.frames_per_second / present.frames_per_second if present.frames_per_second else math.inf
        return Gain(
            "total", factor, f"the site gives {present.frames_per_second:.3g} → {best.frames_per_second:.3g} frames/s"
        )
    before_s, after_s = _latency_s(present), _latency_s(best)
    if after_s < (1 - LATENCY_GAIN) * before_s:
        words = f"frames take {before_s * 1e3:.1f} → {after_s * 1e3:.1f} ms"
        return Gain("latency", after_s / before_s, words)
    return None


def measured(members: Sequence[Member], now_s: float) -> dict[Kind, float]:
    """What the site gives; infinity for the stream with least where all have what they ask for."""
    rates = [(member, member.stream.rate(now_s)) for member in members]
    lacking = [fps / member.stream.goal.weight for member, fps in rates if lacks(member, fps)]
    latencies_s = [member.stream.measured_s for member in members if member.stream.measured_s is not None]
    return {
        "least": min(lacking, default=math.inf),
        "total": sum(fps for _, fps in rates),
        "latency": fmean(latencies_s) if latencies_s else math.inf,
    }


def much_worse(members: Sequence[Member], present: SitePlan) -> bool:
    """Whether the present plans give clearly less than the streams were given."""
    shares = [(member, present.shares[member.stream.goal.name]) for member in members]
    possible = [share.frames_per_second for _, share in shares]
    had = [given(member, share.asked_frames_per_second) for member, share in shares]
    return any(
        now < (1 - WORSE) * before
        for (_, share), now, before in zip(shares, possible, had, strict=True)
        if is_served(share) and math.isfinite(before)
    )


def shares_are_off(members: Sequence[Member], present: SitePlan) -> bool:
    """Whether the rates that streams have are clearly less than the same plans have room for.

    The same rates can often be had by many shares: those that are followed stay as long as they are good.
    """
    if any(limits_nothing(member, present.shares[member.stream.goal.name]) for member in members):
        return True
    served = [member for member in members if is_served(present.shares[member.stream.goal.name])]
    if not served:
        return False
    possible = [present.shares[member.stream.goal.name].frames_per_second for member in served]
    had = [given(member, fps) for member, fps in zip(served, possible, strict=True)]
    weights = [member.stream.goal.weight for member in served]
    least, more = (min(map(truediv, each, weights)) for each in (had, possible))
    return sum(possible) > (1 + WORTH) * sum(had) or more > (1 + WORTH) * least


def _least(members: Sequence[Member], plan: SitePlan, present: SitePlan) -> float:
    """Frames per second and weight of the stream with least, of those that have too few by the present plans."""
    short = [
        plan.shares[member.stream.goal.name].frames_per_second / member.stream.goal.weight
        for member in members
        if is_short(present.shares[member.stream.goal.name]) and is_served(plan.shares[member.stream.goal.name])
    ]
    return min(short, default=0.0)


def _latency_s(plan: SitePlan) -> float:
    """Mean over all frames."""
    ways = [way for share in plan.shares.values() for way in share.ways]
    frames = sum(way.frames_per_second for way in ways)
    return sum(way.frames_per_second * way.latency_seconds for way in ways) / frames if frames else math.inf
