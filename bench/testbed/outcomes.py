"""What came of steps, of changes of plan and of frames, by what was seen."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bench.testbed.candidates import plan_name
from bench.testbed.truth import State, Truth
from bench.testbed.watch import Planned, Seen

#: Frames before a step that say what is usual, and how far off a frame shows the step.
USUAL, SHOWS = 20, 1.3
#: Frames after a change of plan that the change may have delayed.
TOUCHED = 5


@dataclass(frozen=True, slots=True)
class Step:
    """A change of the site.

    Attributes:
        what: In words.
        at_s: When.
        until_s: When the next one came.
        state: How the site is from then on.
    """

    what: str
    at_s: float
    until_s: float
    state: State


def reaction(step: Step, truth: Truth, results: Sequence[Seen], plans: Sequence[Planned]) -> dict[str, Any]:
    """How a stream answered a step.

    The first affected frame is the first that was captured after the step, or before and came so late that it shows it.
    The reaction is counted from its capture to the first frame that was captured for a new plan.
    """
    usual = [seen.total_ms for seen in results if step.at_s - 30 < seen.at_s < step.at_s][-USUAL:]
    usual_ms = statistics.median(usual) if usual else float("inf")
    ordered = sorted((seen for seen in results if seen.captured_s < step.until_s), key=lambda seen: seen.seq)
    touched = [
        seen
        for seen in ordered
        if seen.captured_s >= step.at_s or (seen.at_s > step.at_s and seen.total_ms > SHOWS * usual_ms)
    ]
    changes = [plan for plan in plans if step.at_s <= plan.at_s < step.until_s]
    followed = [plan.message.plan for plan in plans if plan.at_s < step.until_s]
    before = [plan.message.plan for plan in plans if plan.at_s < step.at_s]
    figures: dict[str, Any] = {
        "step": step.what,
        "usual_ms": usual_ms,
        "plans": [plan_name(plan.message.plan) for plan in changes],
        "plans_s": [plan.at_s - step.at_s for plan in changes],
        "reasons": [plan.message.reason for plan in changes],
        "affected": bool(touched) and _differs(touched, usual_ms),
        "best": truth.best,
        "best_true_ms": truth.best_ms,
        "before_true_ms": truth.price_ms(before[-1]) if before else None,
        "end": plan_name(followed[-1]) if followed else None,
        "end_true_ms": truth.price_ms(followed[-1]) if followed else None,
        "reaction_s": None,
        "reaction_frames": None,
        "settled_s": None,
    }
    if touched and changes:
        first = touched[0]
        figures |= {"reaction_s": _after(first, changes[0], ordered), "settled_s": _after(first, changes[-1], ordered)}
        new = next((seen for seen in ordered if seen.epoch == changes[0].epoch), None)
        figures["reaction_frames"] = None if new is None else sum(1 for s in touched if s.seq < new.seq)
    last = [seen.total_ms for seen in touched[-USUAL:]]
    figures["end_ms"] = statistics.median(last) if last else None
    return figures


def _differs(touched: Sequence[Seen], usual_ms: float) -> bool:
    """Whether the step is felt under the plan that was followed when it came."""
    first = [seen.total_ms for seen in touched if seen.epoch == touched[0].epoch][:USUAL]
    return statistics.median(first) > SHOWS * usual_ms


def _after(first: Seen, plan: Planned, ordered: Sequence[Seen]) -> float | None:
    new = next((seen for seen in ordered if seen.epoch == plan.epoch), None)
    return None if new is None else max(0.0, new.captured_s - first.captured_s)


def account(results: Sequence[Seen], dropped: Sequence[dict[str, Any]], *, until_s: float) -> dict[str, Any]:
    """Frames lost, doubled and out of order: of those that were captured until some seconds before the end."""
    came = [seen.seq for seen in results]
    last = max((seen.seq for seen in results if seen.captured_s <= until_s), default=-1)
    known = set(came)
    newest = itertools.accumulate(came, max, initial=-1)
    return {
        "frames": last + 1,
        "lost": sum(1 for seq in range(last + 1) if seq not in known),
        "doubled": len(came) - len(known),
        "out_of_order": sum(1 for seq, seen in zip(came, newest, strict=False) if seq < seen),
        "dropped": len(dropped),
        "fallbacks": sum(1 for seen in results if seen.result.get("fallback")),
    }


def switch(plan: Planned, results: Sequence[Seen], load_s: float | None) -> dict[str, Any]:
    """What a change of plan cost: how much longer its first frames took than the later ones of the same plan."""
    mine = sorted((seen for seen in results if seen.epoch == plan.epoch), key=lambda seen: seen.seq)
    later = [seen.latency_ms for seen in mine[TOUCHED:][:USUAL]]
    usual_ms = statistics.median(later) if len(later) >= TOUCHED else None
    first = mine[:TOUCHED]
    return {
        "plan": plan_name(plan.message.plan),
        "reason": plan.message.reason,
        "load_ms": None if load_s is None else load_s * 1e3,
        "usual_ms": usual_ms,
        "frames": len(mine),
        "excess_ms": None if usual_ms is None else max(seen.latency_ms - usual_ms for seen in first),
        "spread_ms": None if usual_ms is None else max(later) - usual_ms,
        "waited_ms": max((seen.waited_ms for seen in first), default=None),
    }
