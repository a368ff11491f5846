"""Steps: how soon a new plan follows a change of a link or node, and what the change costs its frames."""

from __future__ import annotations

import asyncio
import itertools
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.testbed.candidates import candidates, plan_name, price_s, true_problem
from bench.testbed.hand import Hand
from bench.testbed.log import Figures, say
from bench.testbed.models import Prepared
from bench.testbed.net import Net
from bench.testbed.site import HUB, Bench, Setup, running
from bench.testbed.watch import Planned, Seen
from tiercut.plan import Plan

#: Frames before a step that say what is usual, and how far off a frame shows the step.
USUAL, SHOWS = 20, 1.3
#: Frames after a change of plan that the change may have delayed.
TOUCHED = 5
#: Frames that the last ones of a run are given to arrive.
GRACE_S = 4.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """What changes when.

    Attributes:
        fast: Uplink that the plan may use, Mbit/s.
        slow: Uplink that it cannot use.
        busy: Slowdown of the busy edge.
        times: How often each step is made.
        down_s: How long the bad state lasts.
        up_s: How long the good one.
        settle_s: For the first plan.
        switches: Changes of plan by hand on a steady site.
    """

    fast: float = 18.88
    slow: float = 1.1
    busy: float = 16.0
    times: int = 3
    down_s: float = 15.0
    up_s: float = 25.0
    settle_s: float = 12.0
    switches: int = 12


SHORT = Story(times=1, down_s=8.0, up_s=8.0, settle_s=8.0, switches=6)


class Truth:
    """What plans cost by the true figures: the planner's formula, the declared rates and slowdowns.

    Args:
        prepared: The model.
        setup: The site then.
        net: Its links then.
    """

    def __init__(self, prepared: Prepared, setup: Setup, net: Net) -> None:
        self._problem = true_problem(prepared, setup, net)
        self.best = candidates(self._problem, seed=1)[0]

    def price_ms(self, plan: Plan) -> float:
        """A plan's latency."""
        return price_s(self._problem, plan) * 1e3


@dataclass(frozen=True, slots=True)
class Step:
    """A change of the site.

    Attributes:
        what: In words.
        at_s: When.
        until_s: When the next one came.
        truth: What plans cost from then on.
    """

    what: str
    at_s: float
    until_s: float
    truth: Truth


async def steps(net: Net, prepared: Prepared, setup: Setup, story: Story, figures: Figures) -> None:
    """All steps of one model."""
    await bandwidth(net, prepared, setup, story, figures)
    await _load(net, prepared, setup, story, figures)
    await _by_hand(net, prepared, setup, story, figures)


async def bandwidth(net: Net, prepared: Prepared, setup: Setup, story: Story, figures: Figures) -> None:
    """The uplink falls and rises."""
    net.set_uplink(story.fast)
    with tempfile.TemporaryDirectory(prefix="tiercut-testbed-") as folder:
        async with running(net, prepared, setup, Path(folder)) as bench:
            await bench.programs.start(HUB)
            await asyncio.sleep(story.settle_s)
            made: list[Step] = []
            for _ in range(story.times):
                for mbps, lasts_s in ((story.slow, story.down_s), (story.fast, story.up_s)):
                    what = f"uplink {net.uplink_mbps:g} → {mbps:g} Mbit/s"
                    start_s = time.monotonic()
                    net.set_uplink(mbps)
                    await asyncio.sleep(lasts_s)
                    made.append(Step(what, start_s, time.monotonic(), Truth(prepared, setup, net)))
            await _finish(bench, "bandwidth", made, figures)


async def _load(net: Net, prepared: Prepared, setup: Setup, story: Story, figures: Figures) -> None:
    """The edge gets busy and is free again, at an uplink that leaves the work with it; its own status says when."""
    net.set_uplink(story.slow)
    emulation = []
    at_s = story.settle_s + 3.0
    for _ in range(story.times):
        emulation += [
            {"at_s": at_s, "slowdown": story.busy},
            {"at_s": at_s + story.down_s, "slowdown": setup.edge_slowdown},
        ]
        at_s += story.down_s + story.up_s
    loaded = replace(setup, edge_emulation=tuple(emulation))
    with tempfile.TemporaryDirectory(prefix="tiercut-testbed-") as folder:
        async with running(net, prepared, loaded, Path(folder)) as bench:
            before = len(bench.watch.emulated)
            await bench.programs.start(HUB)
            await asyncio.sleep(at_s)
            now_s = time.monotonic()
            said = [(what, when_s) for node, what, when_s in bench.watch.emulated[before:] if node == "e"]
            ends = [when_s for _, when_s in said[1:]] + [now_s]
            slowdowns = [float(step["slowdown"]) for step in emulation]
            befores = [setup.edge_slowdown, *slowdowns]
            made = [
                Step(
                    f"edge slowdown {before:g} → {after:g}",
                    when_s,
                    end_s,
                    Truth(prepared, replace(setup, edge_slowdown=after), net),
                )
                for before, after, (_, when_s), end_s in zip(befores, slowdowns, said, ends, strict=False)
            ]
            await _finish(bench, "load", made, figures)


async def _by_hand(net: Net, prepared: Prepared, setup: Setup, story: Story, figures: Figures) -> None:
    """Changes of plan on a steady site: what a change itself costs, without what caused it."""
    net.set_uplink(story.fast)
    with tempfile.TemporaryDirectory(prefix="tiercut-testbed-") as folder:
        async with running(net, prepared, setup, Path(folder)) as bench:
            hand = Hand(bench)
            plans = candidates(true_problem(prepared, setup, net), seed=1)
            pace_s = 0.8 / setup.fps
            good = [one for one in plans if one.plan.hops and one.predicted_s < pace_s]
            for number in range(story.switches):
                await hand.adopt(good[number % len(good)].plan)
                await asyncio.sleep(2.0)
            await _finish(bench, "by hand", [], figures)


async def _finish(bench: Bench, part: str, made: Sequence[Step], figures: Figures) -> None:
    """Let the last frames arrive, and keep what was seen."""
    last_s = time.monotonic()
    await asyncio.sleep(GRACE_S)
    watch = bench.watch
    for step in made:
        known: dict[str, Any] = next((said for at_s, said in reversed(watch.explained) if at_s < step.until_s), {})
        beliefs = {name: known.get(name) for name in ("nodes", "links", "predicted", "trouble")}
        figures.add("steps", {"part": part, **reaction(step, watch.results, watch.plans), "beliefs": beliefs})
        say(_line(figures.of("steps")[-1]))
    figures.add("frames", {"part": part, **account(watch.results, watch.dropped, until_s=last_s)})
    say(f"{part}: {figures.of('frames')[-1]}")
    for plan in watch.plans[1:]:
        figures.add("switches", {"part": part, **switch(plan, watch.results, watch.load_s(plan.epoch))})


def reaction(step: Step, results: Sequence[Seen], plans: Sequence[Planned]) -> dict[str, Any]:
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
        "best": step.truth.best.name,
        "best_true_ms": step.truth.best.predicted_s * 1e3,
        "before_true_ms": step.truth.price_ms(before[-1]) if before else None,
        "end": plan_name(followed[-1]) if followed else None,
        "end_true_ms": step.truth.price_ms(followed[-1]) if followed else None,
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


def _line(step: dict[str, Any]) -> str:
    reaction_s = step["reaction_s"]
    soon = "no new plan" if reaction_s is None else f"after {reaction_s:.2f} s, {step['reaction_frames']} frames"
    truth = "-" if step["end_true_ms"] is None else f"{step['end_true_ms']:.1f}"
    return (
        f"{step['step']}: {soon}, {len(step['plans'])} plans; ends with {step['end']} at {truth} ms by true figures, "
        f"best {step['best_true_ms']:.1f}; {'; '.join(step['reasons'])}"
    )
