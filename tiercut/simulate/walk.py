"""Every plan of a scenario, walked through its true traces: when would a frame be done on each of them?

The walk follows `world`: one thing at a time on each node and link, in the order of arrival, rates that change under
way, the slowdown at a segment's start, a node that goes on alone once it knows that the next one is gone. It leaves out
what only a whole world has: frames that are replaced by newer ones while they wait behind the device.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from tiercut.coordinator.problem import as_plan
from tiercut.plan import Plan
from tiercut.planner.answer import Answer, Choice
from tiercut.planner.costs import Ints
from tiercut.planner.objectives import Floats
from tiercut.planner.plan_cost import usable
from tiercut.planner.problem import Problem, Variant
from tiercut.simulate.curves import Curve
from tiercut.simulate.scenario import Scenario
from tiercut.simulate.stations import noise_of
from tiercut.simulate.world import noticed


@dataclass(frozen=True, slots=True, eq=False)
class Way:
    """The plans that take one route, those omitted that another one beats in everything.

    Attributes:
        nodes: The device, and one or two others.
        plans: K of them.
        decode: (nodes, K) seconds at each node, as the others.
        run: Seconds of its segment, at the profile's pace.
        rest: Seconds of all that comes behind.
        encode: Seconds; 0 at the last node.
        megabits: What it sends on.
    """

    nodes: tuple[str, ...]
    plans: Sequence[Plan]
    decode: Floats
    run: Floats
    rest: Floats
    encode: Floats
    megabits: Floats


class Line(Protocol):
    """What waits before the nodes and links of a walk."""

    def start(self, resource: object, came_s: Floats) -> Floats:
        """When what comes at each of some times would have its turn."""


@dataclass(frozen=True, slots=True)
class Walked:
    """What became of a frame on each plan of a way.

    Attributes:
        done_s: (K) when it is done; infinite where never.
        taken: By node or link: when the frame came there, and when it let it go; minus infinity where it never came.
    """

    done_s: Floats
    taken: Mapping[object, tuple[Floats, Floats]]

    def longest_s(self, *, nodes: bool = False) -> Floats:
        """(K) the longest time that it held a node or link, waiting included; or a node alone."""
        spans = [span for where, span in self.taken.items() if isinstance(where, str) or not nodes]
        held_s = [np.subtract(end, came, out=np.zeros_like(came), where=np.isfinite(came)) for came, end in spans]
        return np.asarray(np.max(held_s, axis=0))


@dataclass(slots=True)
class Walker:
    """Walks frames through a scenario's traces."""

    scenario: Scenario
    _mbps: dict[tuple[str, str], Curve] = field(init=False)
    _latency: dict[tuple[str, str], Curve] = field(init=False)
    _slowdown: dict[str, Curve] = field(init=False)
    _gone: dict[tuple[str, str], Floats] = field(init=False)

    def __post_init__(self) -> None:
        links = self.scenario.links
        self._mbps = {ends: Curve.of(traces.mbps) for ends, traces in links.items()}
        self._latency = {ends: Curve.of(traces.latency_seconds) for ends, traces in links.items()}
        self._slowdown = {node: Curve.of(trace) for node, trace in self.scenario.slowdowns.items()}
        spans = {ends: noticed(traces.mbps.zeros(), self.scenario.detect_s) for ends, traces in links.items()}
        self._gone = {ends: np.array(each, dtype=np.float64).reshape(-1) for ends, each in spans.items()}

    def walk(self, way: Way, seq: int, at_s: Floats | float, line: Line) -> Walked:
        """One frame on every plan of a way.

        Args:
            way: The plans.
            seq: The frame's number, on which its noise depends.
            at_s: When it sets out; one time, or one per plan.
            line: What waits there.
        """
        now_s = at_s + np.zeros(len(way.plans))
        done_s = np.full(len(way.plans), np.inf)
        on = np.ones(len(way.plans), dtype=bool)
        taken: dict[object, tuple[Floats, Floats]] = {}
        for index, node in enumerate(way.nodes):
            came_s, slow = now_s, self._slowdown[node]
            noise = noise_of(self.scenario, node, self.scenario.site.goal.name, seq)
            begun_s = line.start(node, came_s) + way.decode[index]
            ran_s = begun_s + way.run[index] * slow.at(begun_s) * noise
            if index + 1 == len(way.nodes):
                taken[node] = np.where(on, came_s, -np.inf), np.where(on, ran_s, -np.inf)
                return Walked(np.where(on, ran_s, done_s), taken)
            ends = node, way.nodes[index + 1]
            gone = on & (np.searchsorted(self._gone[ends], ran_s, side="right") % 2 == 1)
            alone_s = ran_s + way.rest[index] * slow.at(ran_s) * noise
            done_s = np.where(gone, alone_s, done_s)
            sent_s = ran_s + way.encode[index]
            taken[node] = np.where(on, came_s, -np.inf), np.where(on, np.where(gone, alone_s, sent_s), -np.inf)
            on &= ~gone
            left_s = self._mbps[ends].until_sum(line.start(ends, sent_s), way.megabits[index])
            taken[ends] = np.where(on, sent_s, -np.inf), np.where(on, left_s, -np.inf)
            now_s = left_s + self._latency[ends].at(left_s)
        raise AssertionError  # a way has nodes


def ways(problem: Problem) -> list[Way]:
    """All plans of a problem within its constraints but the deadline, by route."""
    limit = problem.max_accuracy_drop
    floor = -np.inf if limit is None else problem.best_accuracy - limit - 1e-9
    found: list[Way] = []
    for variant in problem.variants:
        if variant.accuracy >= floor:
            pieces = _Pieces.of(problem, variant, variant.accuracy - floor)
            found += [way for route in _routes(problem) if (way := pieces.way(route)) is not None]
    return found


@dataclass(frozen=True, slots=True, eq=False)
class _Pieces:
    """The offers (a codec at a cut) of one variant: what they cost wherever they are used.

    Arrays have one entry per offer, by cut.
    """

    problem: Problem
    variant: Variant
    names: Sequence[str]
    cut: Ints
    drop: Floats
    budget: float
    encode: Floats
    decode: Floats
    megabits: Floats

    @classmethod
    def of(cls, problem: Problem, variant: Variant, budget: float) -> _Pieces:
        offers = [
            (codec, cut)
            for cut in range(variant.blocks)
            for codec in problem.codecs
            if usable(codec, cut, variant.blocks) and codec.accuracy_drop <= budget
        ]
        sizes = np.array([variant.cut_bytes[cut] / 1e6 for _, cut in offers])
        ratio, encode, decode, drop = (
            np.array([getattr(codec, name) for codec, _ in offers])
            for name in ("ratio", "encode_seconds_per_mb", "decode_seconds_per_mb", "accuracy_drop")
        )
        return cls(
            problem=problem,
            variant=variant,
            names=[codec.name for codec, _ in offers],
            cut=np.array([cut for _, cut in offers]),
            drop=drop,
            budget=budget,
            encode=encode * sizes,
            decode=decode * sizes,
            megabits=8 * sizes / ratio,
        )

    def way(self, route: tuple[str, ...]) -> Way | None:
        """The plans of a route; ``None`` if there are none."""
        problem, end, count = self.problem, self.variant.blocks, len(self.cut)
        if len(route) == 1:
            chosen = np.zeros((0, 1), dtype=np.intp)
            cuts = np.array([[end]])
        elif len(route) == 2:  # noqa: PLR2004 - one hop
            chosen = np.arange(count)[None, :]
            cuts = np.stack([self.cut, np.full(count, end)])
        else:
            pairs = (self.cut[:, None] <= self.cut) & (self.drop[:, None] + self.drop <= self.budget)
            chosen = np.stack(np.nonzero(pairs))
            cuts = np.stack([self.cut[chosen[0]], self.cut[chosen[1]], np.full(chosen.shape[1], end)])
        fits = cuts[0] >= min(problem.min_first_cut, end)
        chosen, cuts = chosen[:, fits], cuts[:, fits]
        if not fits.any():
            return None
        none = np.zeros((1, cuts.shape[1]))
        ran = [self._seconds(node) for node in route]
        if any(each is None for each in ran):
            return None
        upto = np.stack([each[cuts[k]] for k, each in enumerate(ran) if each is not None])
        since = np.stack([each[cuts[k - 1] if k else cuts[0] * 0] for k, each in enumerate(ran) if each is not None])
        whole = np.array([[each[end]] for each in ran if each is not None])
        encode = np.concatenate([self.encode[chosen].reshape(chosen.shape), none])
        decode = np.concatenate([none, self.decode[chosen].reshape(chosen.shape)])
        megabits = np.concatenate([self.megabits[chosen].reshape(chosen.shape), none])
        kept = _unbeaten(np.concatenate([upto - since, encode, decode, megabits]).T)
        plans = [self._plan(route, chosen[:, k], cuts[:, k]) for k in kept]
        fields = (decode, upto - since, whole - upto, encode, megabits)
        return Way(route, plans, *(each[:, kept] for each in fields))

    def _seconds(self, name: str) -> Floats | None:
        """Seconds of segments [0, k) on a node, ``None`` where it does not run the variant."""
        node = next(each for each in self.problem.nodes if each.id == name)
        blocks = node.block_seconds.get(self.variant.name)
        return None if blocks is None else np.concatenate([[0.0], np.cumsum(blocks)])

    def _plan(self, route: tuple[str, ...], offers: Ints, cuts: Ints) -> Plan:
        problem = self.problem
        edge = next((node.id for node in problem.edges if node.id in route), None)
        cloud = next((node.id for node in problem.clouds if node.id in route), None)
        end = self.variant.blocks
        choice = Choice(
            variant=self.variant.name,
            edge=edge,
            cloud=cloud,
            first_cut=int(cuts[0]),
            second_cut=int(cuts[1]) if len(route) == 3 else int(cuts[0]) if cloud is not None else end,  # noqa: PLR2004
            codecs=tuple(self.names[int(k)] for k in offers),
        )
        return as_plan(Answer(device=problem.device.id, choice=choice), epoch=1)


def _routes(problem: Problem) -> Iterable[tuple[str, ...]]:
    device = problem.device.id
    yield (device,)
    for node in (*problem.edges, *problem.clouds):
        if (device, node.id) in problem.links:
            yield (device, node.id)
    for edge in problem.edges:
        for cloud in problem.clouds:
            if (device, edge.id) in problem.links and (edge.id, cloud.id) in problem.links:
                yield (device, edge.id, cloud.id)


def _unbeaten(rows: Floats) -> list[int]:
    """Positions of the rows that no other one is at most as large as everywhere; of equal ones the first."""
    order = np.argsort(rows.sum(axis=1), kind="stable")
    kept: list[int] = []
    for index in order:
        against = rows[kept]
        if not kept or not np.any(np.all(against <= rows[index], axis=1)):
            kept.append(int(index))
    return sorted(kept)
