"""The grid: every deadline at every bandwidth, the same frames in every cell.

A plan that is fixed does the same whatever the deadline: it is run once per bandwidth (one that sends nothing, once),
and its frames are judged by each deadline. The coordinator starts afresh in every cell, as it drops what cannot be in
time.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bench.deadlines.frames import Frames
from bench.deadlines.site import Live, Prepared, Setup, running, seconds_pass
from bench.deadlines.strategies import (
    COORDINATOR,
    FIXED,
    best_answer,
    fixed_answers,
    plan_of,
    said,
    true_problem,
)
from bench.testbed.log import Figures, say
from bench.testbed.watch import Planned
from tiercut.errors import BusError
from tiercut.plan import Plan
from tiercut.planner.alternatives import DEVICE_ONLY

#: Drop reasons that a deadline may cause.
LATE = ("past_deadline", "too_late", "newer_frame", "lost")
#: Of a frame that never set out, as a newer one came before its turn, its device says nothing.
UNHEARD = "never set out"


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How much is measured.

    Attributes:
        warm_up: Frames of a fixed plan that do not count.
        stays_s: A coordinator's plan that did not change for this long stays.
        settle_s: How long to wait for that.
        settle_frames: This many frames must also have come through: the margin is computed from them.
    """

    warm_up: int = 6
    stays_s: float = 3.0
    settle_s: float = 20.0
    settle_frames: int = 15


SHORT = Effort(warm_up=4, stays_s=1.0, settle_s=6.0, settle_frames=11)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one frame; all ``None`` where nothing came."""

    latency_ms: float | None = None
    right: bool | None = None
    dropped: str | None = None

    def in_time(self, deadline_ms: float) -> bool:
        """Whether its result came in time."""
        return self.latency_ms is not None and self.latency_ms <= deadline_ms


@dataclass(frozen=True, slots=True)
class Run:
    """Some frames by one plan, or by what a coordinator chose.

    Attributes:
        outcomes: One per frame, in the order of the frames.
        plans: The plans that were followed, in order.
        predicted_ms: What was promised, where somebody did.
        feasible: Whoever chose the plan says that it meets the deadline.
    """

    outcomes: tuple[Outcome, ...]
    plans: tuple[Plan, ...]
    predicted_ms: float | None
    feasible: bool


@dataclass(slots=True)
class Known:
    """Runs of fixed plans that are done: plans that send nothing for good, others at one bandwidth."""

    runs: dict[tuple[Plan, float | None], Run] = field(default_factory=dict)

    def key(self, plan: Plan, mbps: float) -> tuple[Plan, float | None]:
        """Under what a plan's run is kept."""
        return plan, mbps if plan.hops else None


async def grid(
    prepared: Prepared,
    frames: Frames,
    setup: Setup,
    axes: tuple[Sequence[float], Sequence[float]],
    *,
    effort: Effort,
    figures: Figures,
) -> None:
    """Measure all cells.

    Args:
        prepared: The model.
        frames: What the camera sees.
        setup: The site.
        axes: Bandwidths in Mbit/s, and deadlines in ms.
        effort: How much is measured.
        figures: Takes the cells.
    """
    known = Known()
    with tempfile.TemporaryDirectory(prefix="tiercut-deadlines-") as folder:
        for mbps in axes[0]:
            own = tempfile.mkdtemp(dir=folder)
            async with running(prepared, frames, setup, mbps, Path(own)) as live:
                for deadline_ms in axes[1]:
                    for cell in await _cells(live, frames, deadline_ms, effort, known):
                        figures.add("cells", cell)
                        say(_line(cell))


async def _cells(
    live: Live, frames: Frames, deadline_ms: float, effort: Effort, known: Known
) -> Iterable[dict[str, Any]]:
    """One deadline at one bandwidth, by every strategy."""
    problem = true_problem(live.prepared, live.setup, live.mbps, deadline_ms / 1e3)
    cells = []
    answers = fixed_answers(problem)
    for strategy in FIXED:
        answer = answers[strategy]
        plan = plan_of(answer)
        key = known.key(plan, live.mbps)
        if key not in known.runs:
            known.runs[key] = await by_hand(live, frames, plan, effort)
        run = replace(known.runs[key], predicted_ms=1e3 * answer.latency_seconds, feasible=answer.feasible)
        cells.append(_figures(strategy, live, deadline_ms, run))
    best = best_answer(problem)
    run = await coordinated(live, frames, deadline_ms, effort, before=plan_of(answers[DEVICE_ONLY]))
    cells.append(
        _figures(COORDINATOR, live, deadline_ms, run)
        | {"possible": best.feasible, "possible_accuracy": best.accuracy if best.feasible else None}
    )
    return cells


async def by_hand(live: Live, frames: Frames, plan: Plan, effort: Effort) -> Run:
    """All frames by one plan."""
    epoch = await live.follow(plan)
    watch, start = live.watch, len(live.watch.results)
    wanted_s = 10.0 + 3 * effort.warm_up * live.period_s
    await watch.until(lambda: len(watch.since(start, epoch=epoch)) >= effort.warm_up, timeout_s=wanted_s)
    outcomes = await take(live, frames)
    return Run(outcomes, (plan,), None, feasible=True)


async def coordinated(live: Live, frames: Frames, deadline_ms: float, effort: Effort, *, before: Plan) -> Run:
    """All frames by what a hub chooses that starts afresh, from when its plan stays.

    Until it has chosen, the device works alone: no link has frames of another plan on it.
    """
    watch = live.watch
    start, epoch = len(watch.results), await live.follow(before)
    await watch.until(lambda: bool(watch.since(start, epoch=epoch)), timeout_s=effort.settle_s)
    async with live.coordinated(objective="accuracy", deadline_ms=deadline_ms):
        seen, dropped, start_s = len(watch.plans), len(watch.dropped), time.monotonic()
        await watch.until(lambda: len(watch.plans) > seen, timeout_s=effort.settle_s)
        while not _settled(live, watch.plans[seen:], dropped, effort) and time.monotonic() - start_s < effort.settle_s:
            await seconds_pass(time.monotonic() + 0.1)
        from_s = time.monotonic()
        outcomes = await take(live, frames)
        until_s = time.monotonic()
    plans = watch.plans[seen:]
    followed = [plan for plan in plans if plan.at_s > from_s]
    followed = [*[plan for plan in plans if plan.at_s <= from_s][-1:], *followed]
    predicted = _predicted_ms(live, {plan.epoch for plan in followed}, from_s, until_s)
    return Run(
        outcomes,
        tuple(each.message.plan for each in followed),
        predicted,
        feasible=bool(followed) and all(_promises(each.message.plan) for each in followed),
    )


async def take(live: Live, frames: Frames) -> tuple[Outcome, ...]:
    """What becomes of each frame, once: of those that are captured from now on."""
    watch = live.watch
    results, dropped = len(watch.results), len(watch.dropped)
    first = 2 + await live.next_outcome()
    wanted = range(first, first + len(frames))
    found: dict[int, Outcome] = {}

    def complete() -> bool:
        for seen in watch.results[results:]:
            found[seen.seq] = Outcome(seen.total_ms, frames.is_right(seen.result))
        for each in watch.dropped[dropped:]:
            found[int(each["seq"])] = Outcome(dropped=_reason(each))
        return all(seq in found for seq in wanted)

    # A device says nothing of frames that gave way to newer ones: after their time there is nothing to wait for.
    await watch.until(complete, timeout_s=(len(wanted) + 3) * live.period_s + 2.0)
    by_frame = {frames.place(seq): found.get(seq, Outcome()) for seq in wanted}
    return tuple(by_frame[index] for index in range(len(frames)))


def _reason(dropped: dict[str, Any]) -> str:
    """Why a frame has no result.

    Raises:
        BusError: for something else than its time.
    """
    reason = str(dropped["reason"])
    if reason not in LATE:
        raise BusError(
            f"'{dropped['where']}' drops frames",
            expected=f"none dropped but for {', '.join(LATE)}",
            came=f"{reason}: {dropped['message']}",
            fix="see its log",
        )
    return reason


def _settled(live: Live, plans: Sequence[Planned], dropped: int, effort: Effort) -> bool:
    """Whether the last plan stays, and enough frames have come through since the first one."""
    if not plans or time.monotonic() - plans[-1].at_s < effort.stays_s:
        return False
    came = sum(1 for seen in live.watch.results if seen.at_s > plans[0].at_s)
    return came + len(live.watch.dropped) - dropped >= effort.settle_frames


def _promises(plan: Plan) -> bool:
    """Whether the coordinator says that a plan meets its deadline."""
    return plan.deadline is not None and plan.deadline.drop


def _predicted_ms(live: Live, epochs: set[int], from_s: float, until_s: float) -> float | None:
    """What the coordinator said of its plan meanwhile, median."""
    told = [
        1e3 * float(document["predicted"]["latency_seconds"])
        for at_s, document in live.watch.explained
        if from_s <= at_s <= until_s + 0.5
        and document.get("predicted")
        and (document.get("plan") or {}).get("epoch") in epochs
    ]
    return statistics.median(told) if told else None


def _figures(strategy: str, live: Live, deadline_ms: float, run: Run) -> dict[str, Any]:
    """A cell: who chose what, and what came of it; ``right`` has a digit per frame."""
    met = [outcome.in_time(deadline_ms) for outcome in run.outcomes]
    right = [good and bool(outcome.right) for good, outcome in zip(met, run.outcomes, strict=True)]
    latencies = [outcome.latency_ms for outcome in run.outcomes if outcome.latency_ms is not None]
    reasons = [outcome.dropped or UNHEARD for outcome in run.outcomes if outcome.latency_ms is None]
    last = run.plans[-1] if run.plans else None
    return {
        "strategy": strategy,
        "mbps": live.mbps,
        "deadline_ms": deadline_ms,
        "frames": len(run.outcomes),
        "accuracy": sum(right) / len(right),
        "met_share": sum(met) / len(met),
        "feasible": run.feasible,
        "plan": None if last is None else said(last),
        "variant": None if last is None else last.exit,
        "first_cut": None if last is None else last.first_cut,
        "second_cut": None if last is None else last.second_cut,
        "codecs": [] if last is None else list(last.codecs),
        "plans": len(run.plans),
        "predicted_ms": run.predicted_ms,
        "measured_ms": statistics.median(latencies) if latencies else None,
        "worst_ms": max(latencies, default=None),
        "no_result": {reason: reasons.count(reason) for reason in dict.fromkeys(reasons)},
        "met": "".join("1" if each else "0" for each in met),
        "right": "".join("1" if each else "0" for each in right),
    }


def _line(cell: dict[str, Any]) -> str:
    """A cell for people who wait."""
    told = "-" if cell["measured_ms"] is None else f"{cell['measured_ms']:.1f} ms"
    return (
        f"{cell['mbps']:g} Mbit/s, {cell['deadline_ms']:g} ms, {cell['strategy']}: accuracy {cell['accuracy']:.3f}, "
        f"in time {cell['met_share']:.2f}, {told}, {cell['plan']}{'' if cell['feasible'] else ' (misses it)'}"
    )
