"""What each node has run for a frame, from its plan and the exit at which it has left."""

from __future__ import annotations

from tiercut.coordinator.node_view import NodeKey
from tiercut.coordinator.stream_goal import StreamGoal
from tiercut.plan import FULL, Plan, Tier
from tiercut.profiling.profile import Span


def spans(plan: Plan, left_at: str, goal: StreamGoal, *, reached: int | None = None) -> dict[NodeKey, Span]:
    """Node → what it has run for a frame that did not fall back.

    Args:
        plan: The plan it has followed.
        left_at: The variant at whose end it has left.
        goal: Its stream, which knows the variants.
        reached: Cut that it had got to when it was dropped; ``None`` for one that has a result.
    """
    end = goal.end_of(plan.exit)
    if end is None:
        return {}
    exits = goal.exits_before(plan.exit) if plan.threshold is not None else ()
    gone_at = reached
    if reached is None:
        gone_at = next((cut for cut, name in exits if name == left_at != plan.exit), None)
    found: dict[NodeKey, Span] = {}
    start = 0
    tiers: list[Tier] = ["device", *(to for _, to in plan.hops)]
    for tier in tiers:
        stop = plan.segment_end(tier, end)
        node = plan.node(tier)
        last = stop if gone_at is None else min(stop, gone_at)
        if node is not None and start <= last:
            heads = tuple(name for cut, name in exits if start < cut <= last)
            variant = plan.exit if last == end or plan.exit not in goal.shared else FULL
            found[tier, node] = Span(start, last, variant, heads)
        if gone_at is not None and gone_at <= stop:
            break
        start = stop
    return found
