"""Which plans are measured one by one: there are thousands, so those that could be the best, and some that could not.

All plans are priced by the planner's own formula with the links' true rates and the nodes' true slowdowns. Taken are
the three single tiers (and cloud-only without a codec, as published comparisons send it), the best two of every way to
cut, the best few of all, and some drawn from those up to twice as slow. Plans that differ from a taken one by no more
than two cuts are omitted, as they are the same plan but for noise.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from bench.testbed.models import Prepared
from bench.testbed.site import NODES, Setup
from tiercut.plan import FULL, TIERS, Plan
from tiercut.planner.objectives import LATENCY
from tiercut.planner.plan_cost import PlanIndex, stages_of, usable
from tiercut.planner.problem import RAW, Link, Node, Problem, Variant
from tiercut.profiling.profile import block_seconds, codec_rows, named_by_cut

#: What a hop costs whatever its rate: two MQTT hops over a broker and a node's handling, as `bench.overhead` has it.
HOP_S = 0.0015
BEST_OF_ALL, BEST_OF_KIND, DRAWN = 4, 2, 2
#: Plans whose cuts lie no further apart are one plan.
NEIGHBOURS = 2
RAW_CLOUD = "cloud-only, raw"
SINGLE = ("device-only", "edge-only", "cloud-only")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A plan to measure.

    Attributes:
        kind: Which tiers run a part: ``device-only``, ``device | cloud``, …
        plan: The plan; its epoch is filled in when it is published.
        predicted_s: Its price with the true figures.
    """

    kind: str
    plan: Plan
    predicted_s: float

    @property
    def name(self) -> str:
        """What it is called in tables."""
        return plan_name(self.plan)


def plan_name(plan: Plan) -> str:
    """``d[0,25) int8+zstd e[25,36) …``: who runs what, and what crosses."""
    starts = {"device": 0, "edge": plan.first_cut, "cloud": plan.second_cut}
    words: list[str] = []
    stops = [tier for tier in TIERS if plan.node(tier) is not None]
    for hop, tier in enumerate(stops):
        start = starts[tier]
        stop = plan.segment_end(tier, -1)  # -1: the end
        part = "" if start == stop else f"[{start},{'end' if stop < 0 else stop})"
        words += [f"{plan.node(tier)}{part}", *plan.codecs[hop : hop + 1]]
    return " ".join(words)


class Rates(Protocol):
    """What the links carry."""

    @property
    def lan_mbps(self) -> float:
        """Device to edge."""

    @property
    def uplink_mbps(self) -> float:
        """To the cloud."""


def true_problem(prepared: Prepared, setup: Setup, rates: Rates) -> Problem:
    """The planning problem with what is declared, which no coordinator knows."""
    blocks = {FULL: np.array(block_seconds(prepared.profile))}
    hops = (("d", "e", rates.lan_mbps), ("e", "c", rates.uplink_mbps), ("d", "c", rates.uplink_mbps))
    slowdowns = {"device": setup.device_slowdown, "edge": setup.edge_slowdown}
    hop_s = HOP_S + setup.delay_ms / 1e3
    nodes = {tier: Node(node, tier, blocks, slowdowns.get(tier, 1.0)) for tier, node in NODES.items()}
    sizes = np.array([cut.bytes for cut in prepared.bundle.cuts], dtype=np.float64)
    return Problem(
        name=prepared.bundle.name,
        variants=(Variant(FULL, 1.0, sizes),),
        device=nodes["device"],
        edges=(nodes["edge"],),
        clouds=(nodes["cloud"],),
        links={(start, end): Link(hop_s, mbps) for start, end, mbps in hops},
        codecs=(RAW, *(named_by_cut(row) for row in codec_rows(prepared.profile) if row.name in setup.codecs)),
        objective=LATENCY,
    )


def every_plan(problem: Problem) -> Iterator[PlanIndex]:
    """All plans of a problem with one variant, at most one edge and at most one cloud."""
    end = problem.variants[0].blocks
    codecs = [
        [index for index, codec in enumerate(problem.codecs) if usable(codec, cut, end)] for cut in range(end + 1)
    ]
    yield PlanIndex(0, None, None, (), end, end)
    for first in range(end):
        yield from (PlanIndex(0, 0, None, (codec,), first, end) for codec in codecs[first])
        yield from (PlanIndex(0, None, 0, (codec,), first, first) for codec in codecs[first])
        for second in range(first, end):
            yield from (
                PlanIndex(0, 0, 0, (one, two), first, second) for one in codecs[first] for two in codecs[second]
            )


def kind_of(plan: Plan, end: int) -> str:
    """Which tiers run a part of the model that ends at cut ``end``."""
    stops = {"device": (0, plan.segment_end("device", end))}
    if plan.edge is not None:
        stops["edge"] = (plan.first_cut, plan.segment_end("edge", end))
    if plan.cloud is not None:
        stops["cloud"] = (plan.second_cut, end)
    parts = [tier for tier, (start, stop) in stops.items() if stop > start]
    return f"{parts[0]}-only" if len(parts) == 1 else " | ".join(parts)


def candidates(problem: Problem, *, seed: int) -> list[Candidate]:
    """The plans to measure, best by prediction first; see the top of this file."""
    end = problem.variants[0].blocks
    priced = sorted(
        (sum(stage.seconds for stage in stages_of(problem, choice)), index, choice)
        for index, choice in enumerate(every_plan(problem))
    )
    everything = [(seconds, _plan(problem, choice)) for seconds, _, choice in priced]
    taken: list[Candidate] = []
    kinds: dict[str, list[tuple[float, Plan]]] = {}
    for seconds, plan in everything:
        kinds.setdefault(kind_of(plan, end), []).append((seconds, plan))
    for kind in sorted(kinds, key=lambda kind: kind not in SINGLE):  # they first: they must be there
        _take(taken, kinds[kind], 1 if kind in SINGLE else BEST_OF_KIND, end)
    raw = [(s, p) for s, p in kinds["cloud-only"] if p.codecs == ("raw",)]
    _take(taken, raw, 1, end, kind=RAW_CLOUD)
    _take(taken, everything, BEST_OF_ALL, end)
    slower = [(s, p) for s, p in everything if s <= 2 * everything[0][0]]
    random.Random(seed).shuffle(slower)
    _take(taken, slower, DRAWN, end)
    return sorted(taken, key=lambda each: each.predicted_s)


def price_s(problem: Problem, plan: Plan) -> float:
    """What a plan costs by a problem's figures."""
    cuts = {"device": plan.first_cut, "edge": plan.second_cut}
    names = [codec.name for codec in problem.codecs]
    codecs = (
        names.index(name if name == "raw" else f"{name}@{cuts[start]}")
        for name, (start, _) in zip(plan.codecs, plan.hops, strict=True)
    )
    edge, cloud = (None if node is None else 0 for node in (plan.edge, plan.cloud))
    choice = PlanIndex(0, edge, cloud, tuple(codecs), plan.first_cut, plan.second_cut)
    return sum(stage.seconds for stage in stages_of(problem, choice))


def _take(
    taken: list[Candidate], plans: Iterable[tuple[float, Plan]], count: int, end: int, *, kind: str | None = None
) -> None:
    for seconds, plan in plans:
        if count == 0:
            return
        if kind is not None or not any(_alike(plan, other.plan) for other in taken):
            taken.append(Candidate(kind or kind_of(plan, end), plan, seconds))
            count -= 1


def _alike(one: Plan, other: Plan) -> bool:
    same = (one.edge, one.cloud, one.codecs) == (other.edge, other.cloud, other.codecs)
    apart = abs(one.first_cut - other.first_cut) + abs(one.second_cut - other.second_cut)
    return same and apart <= NEIGHBOURS


def _plan(problem: Problem, choice: PlanIndex) -> Plan:
    return Plan(
        epoch=0,
        first_cut=choice.first_cut,
        second_cut=choice.second_cut,
        device=problem.device.id,
        edge=None if choice.edge is None else problem.edges[choice.edge].id,
        cloud=None if choice.cloud is None else problem.clouds[choice.cloud].id,
        codecs=tuple(problem.codecs[index].name.partition("@")[0] for index in choice.codecs),
    )
