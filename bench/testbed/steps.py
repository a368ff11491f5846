"""Steps: how soon a new plan follows a change of a link or node, and what the change costs its frames."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.testbed.candidates import candidates, true_problem
from bench.testbed.hand import Hand
from bench.testbed.log import Figures, say
from bench.testbed.models import Prepared
from bench.testbed.net import Net
from bench.testbed.outcomes import Step, account, reaction, switch
from bench.testbed.site import HUB, Setup, running
from bench.testbed.truth import State, Truth, by_figures, by_hand
from bench.testbed.watch import Watch
from tiercut.plan import Plan, node_id

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
#: 20 steps.
BUSY = Story(times=5)


@dataclass(frozen=True, slots=True)
class Run:
    """A run of a site, with what was seen of it.

    Attributes:
        part: What changed in it.
        made: Its steps.
        watch: What was seen.
        last_s: The last frame that counts was captured by then.
    """

    part: str
    made: Sequence[Step]
    watch: Watch
    last_s: float


async def steps(net: Net, prepared: Prepared, setup: Setup, story: Story, figures: Figures) -> None:
    """All steps of one model."""
    runs = [await bandwidth(net, prepared, setup, story), await _load(net, prepared, setup, story)]
    for run in runs:
        truths = {}
        for state in dict.fromkeys(step.state for step in run.made):
            if setup.busy:
                truths[state] = await by_hand(net, prepared, state, _followed(run, state))
            else:
                truths[state] = by_figures(prepared, state)
        keep(run, truths, figures)
    if not setup.busy:
        keep(await _by_hand(net, prepared, setup, story), {}, figures)


async def bandwidth(net: Net, prepared: Prepared, setup: Setup, story: Story) -> Run:
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
                    made.append(Step(what, start_s, time.monotonic(), State(setup, net.lan_mbps, mbps)))
            return await _arrived("bandwidth", made, bench.watch)


async def _load(net: Net, prepared: Prepared, setup: Setup, story: Story) -> Run:
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
            said = [when_s for node, _, when_s in bench.watch.emulated[before:] if node == node_id("edge", "e")]
            slowdowns = [float(step["slowdown"]) for step in emulation]
            befores = [setup.edge_slowdown, *slowdowns]
            made = [
                Step(
                    f"edge slowdown {before:g} → {after:g}",
                    when_s,
                    end_s,
                    State(replace(setup, edge_slowdown=after), net.lan_mbps, story.slow),
                )
                for before, after, when_s, end_s in zip(befores, slowdowns, said, [*said[1:], now_s], strict=False)
            ]
            return await _arrived("load", made, bench.watch)


async def _by_hand(net: Net, prepared: Prepared, setup: Setup, story: Story) -> Run:
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
            return await _arrived("by hand", [], bench.watch)


async def _arrived(part: str, made: Sequence[Step], watch: Watch) -> Run:
    """A run whose last frames have been given time to arrive."""
    last_s = time.monotonic()
    await asyncio.sleep(GRACE_S)
    return Run(part, made, watch, last_s)


def _followed(run: Run, state: State) -> Iterable[Plan]:
    """The plans that were followed before and after the steps to a state."""
    for step in run.made:
        if step.state == state:
            before, after = ([p for p in run.watch.plans if p.at_s < at_s][-1:] for at_s in (step.at_s, step.until_s))
            yield from (planned.message.plan for planned in (*before, *after))


def keep(run: Run, truths: Mapping[State, Truth], figures: Figures) -> None:
    """Keep what was seen of a run, by what plans take in each of its states."""
    watch = run.watch
    for step in run.made:
        known: dict[str, Any] = next((said for at_s, said in reversed(watch.explained) if at_s < step.until_s), {})
        beliefs = {name: known.get(name) for name in ("nodes", "links", "predicted", "trouble")}
        seen = reaction(step, truths[step.state], watch.results, watch.plans)
        figures.add("steps", {"part": run.part, "busy": step.state.setup.busy, **seen, "beliefs": beliefs})
        say(_line(figures.of("steps")[-1]))
    figures.add("frames", {"part": run.part, **account(watch.results, watch.dropped, until_s=run.last_s)})
    say(f"{run.part}: {figures.of('frames')[-1]}")
    for plan in watch.plans[1:]:
        figures.add("switches", {"part": run.part, **switch(plan, watch.results, watch.load_s(plan.epoch))})


def _line(step: dict[str, Any]) -> str:
    reaction_s = step["reaction_s"]
    soon = "no new plan" if reaction_s is None else f"after {reaction_s:.2f} s, {step['reaction_frames']} frames"
    truth = "-" if step["end_true_ms"] is None else f"{step['end_true_ms']:.1f}"
    return (
        f"{step['step']}: {soon}, {len(step['plans'])} plans; ends with {step['end']} at {truth} ms by true figures, "
        f"best {step['best_true_ms']:.1f}; {'; '.join(step['reasons'])}"
    )
