"""The grid: for each model, edge and uplink, is the coordinator's plan as good as the best measured by hand?

Per cell: all candidates in turns by hand; then a hub that starts afresh, until its plan stays; then its plan beside the
best by hand and the single tiers once more, in turns, so that what is compared was measured at the same time.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from msgspec import structs

from bench.testbed.candidates import RAW_CLOUD, SINGLE, Candidate, candidates, kind_of, plan_name, true_problem
from bench.testbed.hand import Hand, Measured
from bench.testbed.log import Figures, say
from bench.testbed.models import Prepared
from bench.testbed.net import Net
from bench.testbed.site import HUB, Bench, Setup, running
from tiercut.plan import Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How much is measured.

    Attributes:
        rounds: Turns of each plan by hand.
        each: Frames that count per turn.
        again: Turns when the chosen plan is compared.
        best: Plans that it is compared with, beside the single tiers.
        stays_s: A plan that did not change for this long stays.
        settle_s: How long to wait for that.
    """

    rounds: int = 2
    each: int = 3
    again: int = 3
    best: int = 4
    stays_s: float = 8.0
    settle_s: float = 45.0


SHORT = Effort(rounds=1, again=2, best=2, stays_s=4.0, settle_s=20.0)


def period_s(prepared: Prepared, setup: Setup) -> float:
    """Between two frames: what the device alone needs, and somewhat more, so that no frame waits for another."""
    return 1.1 * (setup.device_slowdown * prepared.profile.cut_seconds[-1] + 0.015)


async def grid(
    net: Net, prepared: Prepared, setup: Setup, uplinks: Sequence[float], *, effort: Effort, figures: Figures
) -> None:
    """Measure the cells of one model and one edge; only the uplink changes between them."""
    with tempfile.TemporaryDirectory(prefix="tiercut-testbed-") as folder:
        async with running(net, prepared, setup, Path(folder)) as bench:
            hand = Hand(bench)
            for uplink in uplinks:
                net.set_uplink(uplink)
                start_s = time.monotonic()
                cell = await _cell(bench, hand, effort)
                cell["seconds"] = round(time.monotonic() - start_s, 1)
                figures.add("grid", cell)
                say(_line(cell))


async def _cell(bench: Bench, hand: Hand, effort: Effort) -> dict[str, Any]:
    plans = candidates(true_problem(bench.prepared, bench.setup, bench.net), seed=round(bench.net.uplink_mbps * 100))
    by_hand = await hand.in_turns(plans, rounds=effort.rounds, each=effort.each)
    alone = next(plan.plan for plan in plans if plan.kind == "device-only")
    await hand.frames(alone, 1, skip=0)  # what the hub finds
    chosen = await settle(bench, effort)
    compared = _compared(chosen.plan, by_hand, effort, bench.prepared.bundle.end)
    again = await hand.in_turns(compared, rounds=effort.again, each=effort.each)
    return _figures(bench, by_hand, again, chosen)


@dataclass(frozen=True, slots=True)
class Chosen:
    """What a hub chose.

    Attributes:
        plan: The plan that stayed, or the last one.
        stayed: It did.
        changes: How many plans there were, the first included.
        after_s: From the hub's start to that plan.
        measured_ms: Median of its frames while it stayed.
        predicted_ms: What the coordinator said of it meanwhile, median.
        frames: How many frames that is.
        reasons: Why it was changed, each time.
    """

    plan: Plan
    stayed: bool
    changes: int
    after_s: float
    measured_ms: float | None
    predicted_ms: float | None
    frames: int
    reasons: tuple[str, ...]


async def settle(bench: Bench, effort: Effort) -> Chosen:
    """Start a hub that knows nothing, and wait until its plan stays."""
    watch = bench.watch
    await bench.forget_plan()
    seen, start_s = len(watch.plans), time.monotonic()
    await bench.programs.start(HUB)
    try:
        await watch.until(lambda: len(watch.plans) > seen, timeout_s=effort.settle_s)
        while True:
            last_s = watch.plans[-1].at_s if len(watch.plans) > seen else time.monotonic()
            now_s = time.monotonic()
            if now_s - last_s >= effort.stays_s or now_s - start_s >= effort.settle_s:
                break
            await asyncio.sleep(0.1)
    finally:
        await bench.programs.stop(HUB)
    plans = watch.plans[seen:]
    if not plans:
        raise RuntimeError(f"the hub published no plan:\n{bench.programs.tail(HUB)}")
    last = plans[-1]
    quiet_s = (last.at_s + now_s) / 2  # the second half of its time: estimates have had theirs
    steady = [s.latency_ms for s in watch.results if s.epoch == last.epoch and quiet_s <= s.captured_s <= now_s]
    said = [
        float(document["predicted"]["latency_seconds"]) * 1e3
        for at_s, document in watch.explained
        if quiet_s <= at_s <= now_s + 0.5
        and document.get("predicted")
        and (document.get("plan") or {}).get("epoch") == last.epoch
    ]
    return Chosen(
        plan=last.message.plan,
        stayed=now_s - last.at_s >= effort.stays_s,
        changes=len(plans),
        after_s=last.at_s - start_s,
        measured_ms=statistics.median(steady) if steady else None,
        predicted_ms=statistics.median(said) if said else None,
        frames=len(steady),
        reasons=tuple(plan.message.reason for plan in plans),
    )


def _compared(chosen: Plan, by_hand: Sequence[Measured], effort: Effort, end: int) -> list[Candidate]:
    """The chosen plan, the best by hand, and each single tier's best by hand."""
    ranked = sorted(by_hand, key=lambda one: one.median_ms)
    best = ranked[0].median_ms / 1e3
    taken = [Candidate(kind_of(chosen, end), structs.replace(chosen, epoch=0), best)]
    wanted = [one.candidate for one in ranked[: effort.best]]
    for kind in SINGLE:
        wanted += [one.candidate for one in ranked if one.candidate.kind == kind][:1]
    for candidate in wanted:
        if all(candidate.plan != other.plan for other in taken):
            taken.append(candidate)
    return taken


def _figures(bench: Bench, by_hand: Sequence[Measured], again: Sequence[Measured], chosen: Chosen) -> dict[str, Any]:
    mine = again[0]
    best = min(again, key=lambda one: one.median_ms)
    single = {kind: _least(again, by_hand, kind) for kind in SINGLE}
    best_single = min(value for value in single.values() if value is not None)
    return {
        "model": bench.prepared.bundle.name,
        "edge_slowdown": bench.setup.edge_slowdown,
        "uplink_mbps": bench.net.uplink_mbps,
        "chosen": plan_name(mine.candidate.plan),
        "kind": mine.candidate.kind,
        "chosen_ms": mine.median_ms,
        "best": plan_name(best.candidate.plan),
        "best_ms": best.median_ms,
        "regret": mine.median_ms / best.median_ms,
        **{f"{kind}_ms": value for kind, value in single.items()},
        "cloud_raw_ms": _least((), by_hand, RAW_CLOUD),
        "to_best_single": mine.median_ms / best_single,
        "steady_ms": chosen.measured_ms,
        "predicted_ms": chosen.predicted_ms,
        "steady_frames": chosen.frames,
        "stayed": chosen.stayed,
        "plans": chosen.changes,
        "settled_s": chosen.after_s,
        "reasons": list(chosen.reasons),
        "stages_ms": stages_ms(mine),
        "by_hand": [_row(one) for one in by_hand],
        "again": [_row(one) for one in again],
    }


def stages_ms(one: Measured) -> dict[str, float]:
    """Where a plan's time goes: medians by node and kind of stage, in the order of the stages."""
    found: dict[str, list[float]] = {}
    for seen in one.results:
        for stage in seen.result["stages"]:
            found.setdefault(f"{stage['where']} {stage['kind']}", []).append(float(stage["ms"]))
    return {name: statistics.median(values) for name, values in found.items()}


def _least(again: Sequence[Measured], by_hand: Sequence[Measured], kind: str) -> float | None:
    """A kind's best median: of those measured last, else of those measured first."""
    for group in (again, by_hand):
        values = [one.median_ms for one in group if one.candidate.kind == kind and one.results]
        if values:
            return min(values)
    return None


def _row(one: Measured) -> dict[str, Any]:
    return {
        "kind": one.candidate.kind,
        "plan": one.candidate.name,
        "true_prediction_ms": one.candidate.predicted_s * 1e3,
        "median_ms": one.median_ms if one.results else None,
        "frames": len(one.results),
        "latencies_ms": [round(seen.latency_ms, 2) for seen in one.results],
        "waited_ms": round(max((seen.waited_ms for seen in one.results), default=0.0), 2),
    }


def _line(cell: dict[str, Any]) -> str:
    predicted = cell["predicted_ms"]
    return (
        f"{cell['model']} edge x{cell['edge_slowdown']:g} {cell['uplink_mbps']:g} Mbit/s: {cell['chosen']} "
        f"{cell['chosen_ms']:.1f} ms, best {cell['best']} {cell['best_ms']:.1f} ms, regret {cell['regret']:.3f}, "
        f"predicted {'-' if predicted is None else f'{predicted:.1f}'} ms, {cell['plans']} plans, "
        f"{cell['seconds']:.0f} s"
    )
