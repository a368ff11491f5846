"""A problem as arrays: what each piece of a plan costs on its own, so that a search only has to add.

Axes, always in this order: V variants, E edges or W stations (the edges, then the clouds), C clouds, O offers. An
*offer* is a codec at a cut where it may be used: a codec for one cut only costs one entry, not one at every cut. What
is impossible costs infinity: a missing link, a node without the variant, a cut past the end, a codec that alone loses
too much, one with too little noise for the first hop, or a segment that the device or the last station has no memory
for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tiercut.planner.memory import Bools, Piece, edge_last_cuts, edge_loaded, from_start_fit, to_end_fit
from tiercut.planner.objectives import Floats
from tiercut.planner.plan_cost import slack
from tiercut.planner.problem import Codec, Link, Node, Problem, Variant

Ints = npt.NDArray[np.intp]

NO_LINK = Link(latency_seconds=np.inf, mbps=1.0, watts=0.0)


@dataclass(frozen=True, slots=True)
class Offers:
    """The codecs at the cuts where they may be used, by cut, then by drop, then as listed.

    Attributes:
        cut: (O).
        codec: (O) position in the problem's list.
        drop: (O) accuracy lost.
        starts: (N) the first offer of each cut 0..N-1; there is always one, ``raw``.
    """

    cut: Ints
    codec: Ints
    drop: Floats
    starts: Ints


@dataclass(frozen=True, slots=True)
class Costs:
    """The pieces; seconds unless named otherwise.

    Attributes:
        variants: (V) position in the problem's list: of those that are accurate enough.
        blocks: (V) blocks of each variant; N is the most.
        accuracy: (V) of each variant.
        floor: Accuracy that a plan must have; minus infinity if any will do.
        offers: Axis O.
        alone: (V) the device runs everything.
        alone_joules: (V) what it draws for that.
        device: (V, O) the device runs [0, cut), with its queue.
        first: (V, W, O) hop from the device to a station.
        first_joules: (V, W, O) what the device draws until its frame is sent, computing included.
        finish: (V, W, O) a station runs [cut, end), with its queue.
        edge_steps: (V, E, N) one block on an edge, without queue.
        edge_queue: (E) paid once when an edge runs a block.
        second: (V, E, C, O) hop from an edge to a cloud.
        bits: (V, 1, O) on the wire, as the codec leaves them.
        edge_last: (V, E, N) the last cut up to which an edge has memory for a segment from each cut; ``None`` where no
            edge has a limit.
        edge_loaded: Segments beyond that cut which an edge has loaded already: (V, E, first cut, last cut) of each.
        back: (1 + W, 1) a result's way back from the device and each station: part of a latency, of no stage; ``None``
            where it does not count.
    """

    variants: Ints
    blocks: Ints
    accuracy: Floats
    floor: float
    offers: Offers
    alone: Floats
    alone_joules: Floats
    device: Floats
    first: Floats
    first_joules: Floats
    finish: Floats
    edge_steps: Floats
    edge_queue: Floats
    second: Floats
    bits: Floats
    edge_last: Ints | None = None
    edge_loaded: tuple[Piece, ...] = ()
    back: Floats | None = None

    @property
    def edges(self) -> int:
        """How many stations are edges."""
        return len(self.edge_queue)

    def may_run(self, variant: int, edge: int, start: int) -> Bools:
        """(N) up to which cuts an edge has memory for a segment from a cut on."""
        last = np.inf if self.edge_last is None else max(start, int(self.edge_last[variant, edge, start]))
        may: Bools = np.arange(self.edge_steps.shape[-1]) <= last
        may[[end for *at, end in self.edge_loaded if at == [variant, edge, start]]] = True
        return may

    @property
    def back_alone(self) -> float:
        """A result's way back from the device."""
        return 0.0 if self.back is None else float(self.back[0, 0])

    @property
    def ends(self) -> Floats:
        """(V, W, O) from the start of a station's last segment to the result at its destination."""
        return self.finish if self.back is None else self.finish + self.back[1:]

    @property
    def budget(self) -> Floats:
        """(V) accuracy that the codecs of a plan may lose together."""
        return self.accuracy - self.floor


def costs_of(problem: Problem, floor: float = -np.inf) -> Costs:
    """Price every piece of every plan that is at least ``floor`` accurate.

    Args:
        problem: The problem.
        floor: Not above the accuracy of its best variant.
    """
    kept = np.array([v for v, variant in enumerate(problem.variants) if variant.accuracy >= floor])
    variants = [problem.variants[v] for v in kept]
    stations = (*problem.edges, *problem.clouds)
    accuracy = np.array([variant.accuracy for variant in variants])
    blocks = np.array([variant.blocks for variant in variants])
    width = int(blocks.max())
    offers = _offers(problem.codecs, width, float(accuracy.max()) - floor)
    bits, coding = _wire(variants, problem.codecs, offers, accuracy - floor)
    device = _device(problem, variants, width)
    before, end = device[:, offers.cut], (np.arange(len(variants)), blocks)
    first = [problem.links.get((problem.device.id, node.id), NO_LINK) for node in stations]
    second = [problem.links.get((edge.id, cloud.id), NO_LINK) for edge in problem.edges for cloud in problem.clouds]
    send = _send_seconds(first, bits)
    joules = np.where(np.isfinite(device), device, 0.0) * problem.device.power_watts
    hops = (len(variants), len(problem.edges), len(problem.clouds), len(offers.cut))
    last = edge_last_cuts(problem.edges, variants, width)
    return Costs(
        variants=kept,
        blocks=blocks,
        accuracy=accuracy,
        floor=floor,
        offers=offers,
        alone=device[end],
        alone_joules=joules[end],
        device=before,
        first=send + coding + _column([link.latency_seconds for link in first]) + _unfit(problem, offers),
        first_joules=joules[:, None, offers.cut] + send * _column([link.watts for link in first]),
        finish=_finish(stations, variants, width)[..., offers.cut],
        edge_steps=_steps(problem.edges, variants, width),
        edge_queue=np.array([edge.queue_seconds for edge in problem.edges], dtype=np.float64),
        second=(_send_seconds(second, bits) + coding + _column([link.latency_seconds for link in second])).reshape(
            hops
        ),
        bits=bits,
        edge_last=last,
        edge_loaded=edge_loaded(problem.edges, variants, last),
        back=None if problem.way_back is None else _column([problem.back_seconds(node.id) for node in problem.nodes]),
    )


def _offers(codecs: Sequence[Codec], width: int, budget: float) -> Offers:
    """Those that lose no more than the budget; the end of the model is never sent."""
    bounds = [(0, width) if codec.name == "raw" else codec.cuts or (1, width) for codec in codecs]
    first, last = (np.array([min(bound[side], width) for bound in bounds])[:, None] for side in (0, 1))
    drops = np.array([codec.accuracy_drop for codec in codecs])
    cuts = np.arange(width)
    codec, cut = np.nonzero((first <= cuts) & (cuts <= last) & (drops[:, None] <= budget))
    order = np.lexsort((codec, drops[codec], cut))
    codec, cut = codec[order], cut[order]
    return Offers(cut, codec, drops[codec], np.searchsorted(cut, cuts))


def _wire(
    variants: Sequence[Variant], codecs: Sequence[Codec], offers: Offers, budget: Floats
) -> tuple[Floats, Floats]:
    """(V, 1, O) bits on the wire, and seconds for encoding and decoding (infinity: not in this variant)."""
    size = np.zeros((len(variants), 1, len(offers.starts)))
    for v, variant in enumerate(variants):
        size[v, 0, : variant.blocks] = variant.cut_bytes[:-1]
    size = size[..., offers.cut]
    ratio = np.array([codec.ratio for codec in codecs])[offers.codec]
    per_mb = np.array([codec.encode_seconds_per_mb + codec.decode_seconds_per_mb for codec in codecs])[offers.codec]
    blocks = np.array([[[variant.blocks]] for variant in variants])
    fits = (offers.cut < blocks) & (offers.drop <= budget[:, None, None])
    return size / ratio * 8, np.where(fits, size / 1e6 * per_mb, np.inf)


def _unfit(problem: Problem, offers: Offers) -> Floats:
    """(O) infinity for what has too little noise to be sent by the device, else 0."""
    least = problem.min_noise
    if least is None:
        return np.zeros(1)
    noisy = np.array([codec.noise >= least - slack(least) for codec in problem.codecs])
    return np.where(noisy[offers.codec], 0.0, np.inf)


def _send_seconds(links: list[Link], bits: Floats) -> Floats:
    return bits / _column([link.mbps * 1e6 for link in links])


def _column(values: list[float]) -> Floats:
    """(W, 1): one value per station, to stand beside (V, W, O)."""
    return np.array(values, dtype=np.float64)[:, None]


def _device(problem: Problem, variants: Sequence[Variant], width: int) -> Floats:
    """(V, cuts 0..N)."""
    node = problem.device
    seconds = np.full((len(variants), width + 1), np.inf)
    for v, variant in enumerate(variants):
        if variant.name in node.block_seconds:
            run = node.slowdown * np.cumsum(node.block_seconds[variant.name]) + node.queue_seconds
            seconds[v, 1 : variant.blocks + 1] = run
            if node.free_mb is not None:
                seconds[v, : variant.blocks + 1][~from_start_fit(node, variant)] = np.inf
    seconds[:, 0] = 0.0
    seconds[:, : problem.min_first_cut] = np.inf
    if problem.max_first_cut is not None:
        seconds[:, problem.max_first_cut + 1 :] = np.inf
    return seconds


def _finish(stations: Sequence[Node], variants: Sequence[Variant], width: int) -> Floats:
    seconds = np.full((len(variants), len(stations), width), np.inf)
    for v, variant in enumerate(variants):
        for w, node in enumerate(stations):
            if variant.name in node.block_seconds:
                rest = np.cumsum(node.block_seconds[variant.name][::-1])[::-1]
                seconds[v, w, : variant.blocks] = node.slowdown * rest + node.queue_seconds
                if node.free_mb is not None:
                    seconds[v, w, : variant.blocks][~to_end_fit(node, variant)] = np.inf
    return seconds


def _steps(edges: Sequence[Node], variants: Sequence[Variant], width: int) -> Floats:
    seconds = np.full((len(variants), len(edges), width), np.inf)
    for v, variant in enumerate(variants):
        for e, node in enumerate(edges):
            if variant.name in node.block_seconds:
                seconds[v, e, : variant.blocks] = node.slowdown * node.block_seconds[variant.name]
    return seconds
