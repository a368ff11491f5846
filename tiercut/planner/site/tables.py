"""All plans of streams as arrays: what each piece takes of each resource, without trying the plans one by one.

Streams whose problems have the same shape (blocks, number of edges and clouds, cuts of their codecs) are stacked, so
that a hundred streams cost few array operations. Axes, always in this order: S streams, V variants, E edges or W
stations (the edges, then the clouds), C clouds, O offers (`costs`), N cuts.

A plan with two hops is split at its edge: what lies before (device, first hop, decoding on the edge) depends on the
first offer, what lies after (encoding on the edge, second hop, cloud) on the second one, and the edge's own blocks are
a difference of two running sums, one for each half.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tiercut.planner.best import limits_of
from tiercut.planner.costs import Costs, Ints, costs_of
from tiercut.planner.objectives import Floats
from tiercut.planner.plan_cost import PlanIndex, slack
from tiercut.planner.problem import Problem
from tiercut.planner.search import Bools
from tiercut.planner.site.resources import Resources

#: A plan that takes longer gives no frames worth counting; it keeps what a solver sees within its range.
LONGEST_SECONDS = 1e6

#: The same of a hop.
MOST_BITS = 1e18


@dataclass(frozen=True, slots=True)
class Pieces:
    """What one stream's plans take. Seconds unless named otherwise; 0 where there is nothing, impossible or not.

    Attributes:
        costs: The same problem's pieces of latency.
        deadline: Seconds.
        alone: (V) device, whole model.
        device: (V, O) device [0, cut) and encoding.
        decode: (V, O) decoding.
        encode: (V, O) encoding.
        bits: (V, O) on the wire.
        finish: (V, W, O) a station decodes and runs [cut, end).
        beyond: (V, C, O) a cloud node decodes and runs [cut, end).
        sums: (V, E, O) an edge runs [0, cut).
        spans: (V, E, O) the same as it counts in latencies: a frame of a batch takes part of its time, and lasts as
            long as all of it.
        runs: (V, E) whether an edge can run any block.
        latency_alone: (V); infinity where impossible or late, as in those that follow.
        latency_one: (V, W, O).
        latency_before: (V, E, O) of the first half, without the edge's blocks.
        latency_after: (V, E, C, O).
        queue: (E) of the edges.
        last: (V, E, O) the last cut that an edge has memory for from each offer's cut on; past the end without a limit.
    """

    costs: Costs
    deadline: float
    alone: Floats
    device: Floats
    decode: Floats
    encode: Floats
    bits: Floats
    finish: Floats
    beyond: Floats
    sums: Floats
    spans: Floats
    runs: Bools
    latency_alone: Floats
    latency_one: Floats
    latency_before: Floats
    latency_after: Floats
    queue: Floats
    last: Ints

    def plan(self, v: int, station: int, cloud: int, first: int, second: int) -> PlanIndex:
        """A plan by its place in the tables; -1 for what it does not have."""
        costs = self.costs
        variant, end, edges = int(costs.variants[v]), int(costs.blocks[v]), costs.edges
        if station < 0:
            return PlanIndex(variant, None, None, (), end, end)
        cut, codec = int(costs.offers.cut[first]), int(costs.offers.codec[first])
        if cloud >= 0:
            codecs = (codec, int(costs.offers.codec[second]))
            return PlanIndex(variant, station, cloud, codecs, cut, int(costs.offers.cut[second]))
        if station < edges:
            return PlanIndex(variant, station, None, (codec,), cut, end)
        return PlanIndex(variant, None, station - edges, (codec,), cut, cut)


def pieces_of(problem: Problem, frame_bits: float = 0.0) -> Pieces:
    """Price the pieces of one stream's plans; each message has so many bits besides its tensors."""
    deadline, floor = limits_of(problem)
    deadline = min(deadline, LONGEST_SECONDS)
    costs = costs_of(problem, floor)
    cut, edges = costs.offers.cut, costs.edges
    codec = costs.offers.codec
    size_mb = np.zeros(costs.bits[:, 0].shape)
    for row, v in enumerate(costs.variants):
        blocks = costs.blocks[row]
        inside = cut < blocks
        size_mb[row, inside] = problem.variants[v].cut_bytes[cut[inside]] / 1e6
    ratio = np.array([one.ratio for one in problem.codecs])[codec]
    with np.errstate(over="ignore"):
        bits = np.minimum(size_mb / ratio * 8e6 + frame_bits, MOST_BITS)
        encode = _known(size_mb * np.array([one.encode_seconds_per_mb for one in problem.codecs])[codec])
        decode = _known(size_mb * np.array([one.decode_seconds_per_mb for one in problem.codecs])[codec])
    stations = (*problem.edges, *problem.clouds)
    queues = np.array([node.queue_seconds for node in stations])
    frames = _frames(problem, costs.variants)
    finish = _known(costs.finish - queues[:, None]) / frames[:, 1:] + decode[:, None]
    steps = np.where(np.isfinite(costs.edge_steps), costs.edge_steps, 0.0)
    spans = np.cumsum(steps, axis=-1) - steps
    sums = spans / frames[:, 1 : 1 + edges]
    before = costs.device[:, None] + costs.first[:, :edges]
    after = costs.second + costs.ends[:, None, edges:]
    one = costs.device[:, None] + costs.first + costs.ends
    return Pieces(
        costs=costs,
        deadline=deadline,
        alone=_known(costs.alone - problem.device.queue_seconds) / frames[:, 0, 0],
        device=_known(costs.device - problem.device.queue_seconds * (cut > 0)) / frames[:, 0] + encode,
        decode=decode,
        encode=encode,
        bits=bits,
        finish=finish,
        beyond=finish[:, edges:],
        sums=sums[..., cut],
        spans=spans[..., cut],
        runs=np.isfinite(costs.edge_steps[..., 0]),
        latency_alone=_within(costs.alone + costs.back_alone, deadline),
        latency_one=_within(one, deadline),
        latency_before=_within(before, deadline),
        latency_after=_within(after, deadline),
        queue=costs.edge_queue,
        last=np.full(sums.shape, sums.shape[-1])[..., cut] if costs.edge_last is None else costs.edge_last[..., cut],
    )


def _frames(problem: Problem, variants: Ints) -> Floats:
    """(V, 1 + W, 1) how many frames of a variant each node computes at once."""
    names = [problem.variants[v].name for v in variants]
    return np.array([[[node.frames_of(name)] for node in problem.nodes] for name in names], dtype=np.float64)


def _known(seconds: Floats) -> Floats:
    """The same with 0 where there is nothing, or more than can be used."""
    return np.where(seconds <= LONGEST_SECONDS, np.maximum(seconds, 0.0), 0.0)


def _within(seconds: Floats, deadline: float) -> Floats:
    return np.where(seconds <= deadline, seconds, np.inf)


@dataclass(frozen=True, slots=True)
class Batch:
    """Stacked streams.

    Attributes:
        members: (S) their positions in the site.
        pieces: Of each.
        deadline: (S).
        budget: (S, V) accuracy that the codecs of a plan may lose together.
        drop: (S, O) accuracy that an offer loses.
        cut: (O).
        starts: (N) the first offer of each cut.
        device: (S) resources.
        station: (S, W) resources.
        first: (S, W) the hops from the device, as rows of `Resources.hops`.
        second: (S, E, C) the hops from an edge to a cloud, as such rows.
        runs: (S, V, E) whether an edge can run any block.
        last: (S, V, E, O) of `Pieces`; ``None`` where no edge has a limit.
        loaded: Places (S, V, E) and first cut of what edges have loaded beyond that, with the last cuts.
        of: The other arrays of `Pieces` by name, with the axis S in front.
    """

    members: Ints
    pieces: tuple[Pieces, ...]
    deadline: Floats
    budget: Floats
    drop: Floats
    cut: Ints
    starts: Ints
    device: Ints
    station: Ints
    first: Ints
    second: Ints
    runs: Bools
    last: Ints | None
    loaded: dict[tuple[int, int, int, int], list[int]]
    of: dict[str, Floats]

    @property
    def edges(self) -> int:
        """How many stations are edges."""
        return int(self.second.shape[1])


def batches(problems: Sequence[Problem], resources: Resources) -> list[Batch]:
    """All streams of a site, those of one shape together."""
    shapes: defaultdict[tuple[object, ...], list[int]] = defaultdict(list)
    pieces = [pieces_of(problem, resources.frame_bits) for problem in problems]
    for index, (problem, piece) in enumerate(zip(problems, pieces, strict=True)):
        offers = piece.costs.offers
        shape = (tuple(piece.costs.blocks), len(problem.edges), len(problem.clouds), offers.cut.tobytes())
        shapes[shape].append(index)
    return [_stack(problems, pieces, members, resources) for members in shapes.values()]


STACKED = (
    "alone", "device", "decode", "encode", "bits", "finish", "beyond", "sums", "spans",
    "latency_alone", "latency_one", "latency_before", "latency_after", "queue",
)  # fmt: skip


def _stack(
    problems: Sequence[Problem], pieces: Sequence[Pieces], members: Sequence[int], resources: Resources
) -> Batch:
    chosen = tuple(pieces[index] for index in members)
    mine = [problems[index] for index in members]
    offers = chosen[0].costs.offers
    stations = [[*problem.edges, *problem.clouds] for problem in mine]
    second = [
        [resources.hop(index, edge.id, cloud.id) for edge in problem.edges for cloud in problem.clouds]
        for index, problem in zip(members, mine, strict=True)
    ]
    return Batch(
        members=np.array(members, dtype=np.intp),
        pieces=chosen,
        deadline=np.array([piece.deadline for piece in chosen]),
        budget=np.array([piece.costs.budget + slack(0.0) for piece in chosen]),
        drop=np.array([piece.costs.offers.drop for piece in chosen]),
        cut=offers.cut,
        starts=offers.starts,
        device=np.array([resources.row[resources.processor(problem.device.id)] for problem in mine], dtype=np.intp),
        station=_ints([[resources.row[resources.processor(node.id)] for node in nodes] for nodes in stations]),
        first=_ints(
            [
                [resources.hop(index, problem.device.id, node.id) for node in nodes]
                for index, problem, nodes in zip(members, mine, stations, strict=True)
            ]
        ),
        second=_ints(second).reshape(len(members), len(mine[0].edges), len(mine[0].clouds)),
        runs=np.stack([piece.runs for piece in chosen]),
        last=None
        if all(piece.costs.edge_last is None for piece in chosen)
        else np.stack([piece.last for piece in chosen]),
        loaded=_loaded(chosen),
        of={name: np.stack([getattr(piece, name) for piece in chosen]) for name in STACKED},
    )


def _loaded(pieces: Sequence[Pieces]) -> dict[tuple[int, int, int, int], list[int]]:
    found: defaultdict[tuple[int, int, int, int], list[int]] = defaultdict(list)
    for s, piece in enumerate(pieces):
        for v, e, start, end in piece.costs.edge_loaded:
            found[s, v, e, start].append(end)
    return dict(found)


def _ints(rows: Sequence[Sequence[int]]) -> Ints:
    return np.array(rows, dtype=np.intp).reshape(len(rows), -1)
