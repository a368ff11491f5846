"""A problem as arrays: what each piece of a plan costs on its own, so that a search only adds.

Axes, always in this order: V variants, E edges or W stations (the edges, then the clouds), C clouds, K codecs (raw
first), A cut points 0..N of the longest variant. What is impossible costs infinity: a missing link, a codec that may
not be used at a cut, a node without the variant, a cut past the end.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from tiercut.planner.fields import Floats
from tiercut.planner.problem import Codec, Link, Node, Problem, Variant

Ints = npt.NDArray[np.intp]

NO_LINK = Link(latency_seconds=np.inf, mbps=1.0, watts=0.0)


@dataclass(frozen=True, slots=True)
class Costs:
    """The pieces; seconds unless named otherwise.

    Attributes:
        blocks: (V) blocks of each variant.
        accuracy: (V) of each variant.
        drop: (K) accuracy lost by each codec.
        device: (V, A) the device runs [0, a), with its queue.
        device_joules: (V, A) the same, 0 where impossible.
        first: (V, W, K, A) hop from the device to a station.
        first_joules: (V, W, K, A) what the device sends it with.
        finish: (V, W, A) a station runs [a, end), with its queue.
        edge_steps: (V, E, N) one block on an edge, without queue.
        edge_queue: (E) paid once when an edge runs a block.
        second: (V, E, C, K, A) hop from an edge to a cloud.
    """

    blocks: Ints
    accuracy: Floats
    drop: Floats
    device: Floats
    device_joules: Floats
    first: Floats
    first_joules: Floats
    finish: Floats
    edge_steps: Floats
    edge_queue: Floats
    second: Floats

    @property
    def edges(self) -> int:
        """How many stations are edges."""
        return len(self.edge_queue)

    def only(self, variants: Ints) -> Costs:
        """The same, of some variants."""
        per_variant = ("blocks", "accuracy", "device", "device_joules", "first", "first_joules", "finish", "edge_steps")
        return replace(self, **{name: getattr(self, name)[variants] for name in (*per_variant, "second")})


def costs_of(problem: Problem) -> Costs:
    """Price every piece of every plan."""
    variants, stations = problem.variants, (*problem.edges, *problem.clouds)
    blocks = np.array([variant.blocks for variant in variants])
    width = int(blocks.max()) + 1
    bits, coding = _wire(variants, problem.codecs, width)
    device = _device(problem, width)
    first = [problem.links.get((problem.device.id, node.id), NO_LINK) for node in stations]
    second = [problem.links.get((edge.id, cloud.id), NO_LINK) for edge in problem.edges for cloud in problem.clouds]
    send = _send_seconds(first, bits)
    hops = (len(variants), len(problem.edges), len(problem.clouds), len(problem.codecs), width)
    return Costs(
        blocks=blocks,
        accuracy=np.array([variant.accuracy for variant in variants]),
        drop=np.array([codec.accuracy_drop for codec in problem.codecs]),
        device=device,
        device_joules=np.where(np.isfinite(device), device, 0.0) * problem.device.power_watts,
        first=send + coding + _column([link.latency_seconds for link in first]),
        first_joules=send * _column([link.watts for link in first]),
        finish=_finish(stations, variants, width),
        edge_steps=_steps(problem.edges, variants, width - 1),
        edge_queue=np.array([edge.queue_seconds for edge in problem.edges], dtype=np.float64),
        second=(_send_seconds(second, bits) + coding + _column([link.latency_seconds for link in second])).reshape(
            hops
        ),
    )


def _wire(variants: tuple[Variant, ...], codecs: tuple[Codec, ...], width: int) -> tuple[Floats, Floats]:
    """(V, 1, K, A) bits on the wire, and seconds for encoding and decoding (infinity: not at this cut)."""
    shape = (len(variants), 1, len(codecs), width)
    bits, coding = np.zeros(shape), np.full(shape, np.inf)
    ratio = np.array([[codec.ratio] for codec in codecs])
    per_mb = np.array([[codec.encode_seconds_per_mb + codec.decode_seconds_per_mb] for codec in codecs])
    for v, variant in enumerate(variants):
        size = variant.cut_bytes[:-1]
        bits[v, 0, :, : variant.blocks] = size / ratio * 8
        seconds = size / 1e6 * per_mb
        for k, codec in enumerate(codecs):
            start, end = _range(codec, variant.blocks)
            coding[v, 0, k, start:end] = seconds[k, start:end]
    return bits, coding


def _range(codec: Codec, blocks: int) -> tuple[int, int]:
    """Cuts [start, end) that a codec may be used at; the end of the model is never sent."""
    if codec.name == "raw":
        return 0, blocks
    first, last = codec.cuts or (1, blocks - 1)
    return min(first, blocks), min(last + 1, blocks)


def _send_seconds(links: list[Link], bits: Floats) -> Floats:
    return bits / _column([link.mbps * 1e6 for link in links])


def _column(values: list[float]) -> Floats:
    """(W, 1, 1): one value per station, to stand beside (V, W, K, A)."""
    return np.array(values, dtype=np.float64)[:, None, None]


def _device(problem: Problem, width: int) -> Floats:
    node = problem.device
    seconds = np.full((len(problem.variants), width), np.inf)
    for v, variant in enumerate(problem.variants):
        if variant.name in node.block_seconds:
            run = node.slowdown * np.cumsum(node.block_seconds[variant.name]) + node.queue_seconds
            seconds[v, 1 : variant.blocks + 1] = run
    seconds[:, 0] = 0.0
    seconds[:, : problem.min_first_cut] = np.inf
    if problem.max_first_cut is not None:
        seconds[:, problem.max_first_cut + 1 :] = np.inf
    return seconds


def _finish(stations: tuple[Node, ...], variants: tuple[Variant, ...], width: int) -> Floats:
    seconds = np.full((len(variants), len(stations), width), np.inf)
    for v, variant in enumerate(variants):
        for w, node in enumerate(stations):
            if variant.name in node.block_seconds:
                rest = np.cumsum(node.block_seconds[variant.name][::-1])[::-1]
                seconds[v, w, : variant.blocks] = node.slowdown * rest + node.queue_seconds
    return seconds


def _steps(edges: tuple[Node, ...], variants: tuple[Variant, ...], blocks: int) -> Floats:
    seconds = np.full((len(variants), len(edges), blocks), np.inf)
    for v, variant in enumerate(variants):
        for e, node in enumerate(edges):
            if variant.name in node.block_seconds:
                seconds[v, e, : variant.blocks] = node.slowdown * node.block_seconds[variant.name]
    return seconds
