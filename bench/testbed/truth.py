"""What plans really take on a site as it is after a step, and which is the best.

By the declared rates and slowdowns where the machine does nothing else. How much programs that keep its cores busy slow
its nodes nobody has declared: there the plans that may be the best are measured by hand, and those that were followed.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from msgspec import structs

from bench.testbed.candidates import SINGLE, Candidate, candidates, kind_of, plan_name, price_s, true_problem
from bench.testbed.hand import Hand
from bench.testbed.log import say
from bench.testbed.models import Prepared
from bench.testbed.net import Net
from bench.testbed.site import Setup, running
from tiercut.plan import Plan

#: Plans that are measured besides the single tiers and those that were followed; turns, and frames of each turn.
BEST, ROUNDS, EACH = 3, 5, 6


@dataclass(frozen=True, slots=True)
class State:
    """A site between two steps.

    Attributes:
        setup: Its nodes.
        lan_mbps: Device to edge.
        uplink_mbps: To the cloud.
    """

    setup: Setup
    lan_mbps: float
    uplink_mbps: float


@dataclass(frozen=True, slots=True)
class Truth:
    """What plans take in a state.

    Attributes:
        best: The best plan's name.
        best_ms: What it takes.
        price_ms: What a plan takes.
    """

    best: str
    best_ms: float
    price_ms: Callable[[Plan], float]


def by_figures(prepared: Prepared, state: State) -> Truth:
    """The planner's formula with the declared figures."""
    problem = true_problem(prepared, state.setup, state)
    best = candidates(problem, seed=1)[0]
    return Truth(best.name, best.predicted_s * 1e3, lambda plan: price_s(problem, plan) * 1e3)


async def by_hand(net: Net, prepared: Prepared, state: State, followed: Iterable[Plan]) -> Truth:
    """Medians of frames, measured in turns; of no other plans than these is anything known."""
    problem = true_problem(prepared, state.setup, state)
    known = candidates(problem, seed=1)
    wanted = known[:BEST] + [next(plan for plan in known if plan.kind == kind) for kind in SINGLE]
    end = prepared.bundle.end
    for plan in (structs.replace(plan, epoch=0) for plan in followed):
        wanted.append(Candidate(kind_of(plan, end), plan, price_s(problem, plan)))
    plans = list({plan_name(one.plan): one for one in wanted}.values())
    net.set_uplink(state.uplink_mbps)
    with tempfile.TemporaryDirectory(prefix="tiercut-testbed-") as folder:
        async with running(net, prepared, state.setup, Path(folder)) as bench:
            measured = await Hand(bench).in_turns(plans, rounds=ROUNDS, each=EACH)
    took_ms = {one.candidate.name: one.median_ms for one in measured}
    best = min(took_ms, key=took_ms.__getitem__)
    where = f"{state.uplink_mbps:g} Mbit/s, edge x{state.setup.edge_slowdown:g}"
    say(f"by hand at {where}: best {best} {took_ms[best]:.1f} ms")
    return Truth(best, took_ms[best], lambda plan: took_ms[plan_name(plan)])
