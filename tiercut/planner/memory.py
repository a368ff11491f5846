"""Which segments fit into a node's memory.

A segment [a, b) of a variant needs the weights of all its blocks, and the activations of the block that needs most of
them while it runs: ``sum(weights[a:b]) + max(peak[a:b])``. Both only grow when a segment grows, so of an edge's
segments from a cut on those up to some last cut fit. A segment that is loaded already fits in any case.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tiercut.planner.objectives import Floats
from tiercut.planner.problem import Node, Variant

Ints = npt.NDArray[np.intp]
Bools = npt.NDArray[np.bool_]
#: A segment by positions: variant, edge, first cut, last cut.
Piece = tuple[int, int, int, int]

#: Sums in another order differ in their last bits: a segment that needs this part more than there is still fits.
CLOSE = 1e-9


def needed_mb(variant: Variant, start: int, end: int) -> float:
    """What a segment needs, MB; 0 for an empty one and where nothing is known of the variant."""
    if start >= end:
        return 0.0
    weights, peak = variant.block_weights_mb, variant.block_peak_mb
    held = 0.0 if weights is None else float(weights[start:end].sum())
    return held + (0.0 if peak is None else float(peak[start:end].max()))


def fits(node: Node, variant: Variant, start: int, end: int) -> bool:
    """Whether a node has room for a segment, or has it already."""
    return _has_room(node, needed_mb(variant, start, end)) or (variant.name, start, end) in node.loaded


def from_start_fit(node: Node, variant: Variant) -> Bools:
    """(blocks + 1) whether a node has memory for the segments [0, k)."""
    weights, peak = _of_blocks(variant)
    need = np.concatenate(([0.0], np.cumsum(weights) + np.maximum.accumulate(peak)))
    return _fit(node, need, [end for start, end in _loaded(node, variant) if start == 0])


def to_end_fit(node: Node, variant: Variant) -> Bools:
    """(blocks) whether a node has memory for the segments [k, end)."""
    weights, peak = _of_blocks(variant)
    need = np.cumsum(weights[::-1])[::-1] + np.maximum.accumulate(peak[::-1])[::-1]
    return _fit(node, need, [start for start, end in _loaded(node, variant) if end == variant.blocks])


def edge_last_cuts(edges: Sequence[Node], variants: Sequence[Variant], width: int) -> Ints | None:
    """(V, E, N) the last cut up to which an edge has memory for a segment from each cut, at least that cut itself.

    ``None`` where no edge has a limit.
    """
    limits = [edge.free_mb for edge in edges]
    if all(limit is None for limit in limits):
        return None
    last = np.tile(np.arange(width), (len(variants), len(edges), 1))
    for v, variant in enumerate(variants):
        needed = _of_segments(variant)
        for e, limit in enumerate(limits):
            most = np.inf if limit is None else limit * (1 + CLOSE)
            last[v, e, : variant.blocks] += (needed <= most).sum(axis=1)
    return last


def edge_loaded(edges: Sequence[Node], variants: Sequence[Variant], last: Ints | None) -> tuple[Piece, ...]:
    """Segments that edges have loaded and pass on, of those that they would have no memory for else."""
    if last is None:
        return ()
    return tuple(
        (v, e, start, end)
        for v, variant in enumerate(variants)
        for e, edge in enumerate(edges)
        for start, end in sorted(_loaded(edge, variant))
        if variant.name in edge.block_seconds and last[v, e, start] < end < variant.blocks
    )


def _has_room(node: Node, need_mb: float) -> bool:
    free_mb = node.free_mb
    return free_mb is None or need_mb <= free_mb * (1 + CLOSE)


def _fit(node: Node, need_mb: Floats, loaded: Sequence[int]) -> Bools:
    fit: Bools = need_mb <= (np.inf if node.free_mb is None else node.free_mb * (1 + CLOSE))
    fit[loaded] = True
    return fit


def _loaded(node: Node, variant: Variant) -> list[tuple[int, int]]:
    pieces = [(start, end) for name, start, end in node.loaded if name == variant.name]
    return [(start, end) for start, end in pieces if 0 <= start < end <= variant.blocks]


def _of_segments(variant: Variant) -> Floats:
    """(blocks, blocks) what [a, b + 1) needs, MB; infinity where b is before a."""
    weights, peak = _of_blocks(variant)
    cuts = np.arange(variant.blocks)
    most = np.maximum.accumulate(np.where(cuts >= cuts[:, None], peak, 0.0), axis=1)
    held = np.cumsum(weights)
    return np.where(cuts >= cuts[:, None], held - (held - weights)[:, None] + most, np.inf)


def _of_blocks(variant: Variant) -> tuple[Floats, Floats]:
    """(blocks) weights and peak activations, MB; zeros where unknown."""
    nothing = np.zeros(variant.blocks)
    weights, peak = variant.block_weights_mb, variant.block_peak_mb
    return nothing if weights is None else weights, nothing if peak is None else peak
