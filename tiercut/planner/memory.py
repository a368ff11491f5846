"""Which segments fit into a node's memory.

A segment [a, b) of a variant needs the weights of all its blocks, and the activations of the block that needs most of
them while it runs: ``sum(weights[a:b]) + max(peak[a:b])``. Both only grow when a segment grows, so of an edge's
segments from a cut on those up to some last cut fit.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tiercut.planner.objectives import Floats
from tiercut.planner.problem import Node, Variant

Ints = npt.NDArray[np.intp]

#: Sums in another order differ in their last bits: a segment that needs this part more than there is still fits.
CLOSE = 1e-9


def needed_mb(variant: Variant, start: int, end: int) -> float:
    """What a segment needs, MB; 0 for an empty one and where nothing is known of the variant."""
    if start >= end:
        return 0.0
    weights, peak = variant.block_weights_mb, variant.block_peak_mb
    held = 0.0 if weights is None else float(weights[start:end].sum())
    return held + (0.0 if peak is None else float(peak[start:end].max()))


def fits(node: Node, need_mb: float) -> bool:
    """Whether a node has room for so much."""
    free_mb = node.free_mb
    return free_mb is None or need_mb <= free_mb * (1 + CLOSE)


def from_start_mb(variant: Variant) -> Floats:
    """(blocks + 1) what the segments [0, k) need, MB."""
    weights, peak = _of_blocks(variant)
    return np.concatenate(([0.0], np.cumsum(weights) + np.maximum.accumulate(peak)))


def to_end_mb(variant: Variant) -> Floats:
    """(blocks) what the segments [k, end) need, MB."""
    weights, peak = _of_blocks(variant)
    found: Floats = np.cumsum(weights[::-1])[::-1] + np.maximum.accumulate(peak[::-1])[::-1]
    return found


def last_cuts(variant: Variant, node: Node) -> Ints:
    """(blocks) for each cut a the last b of which [a, b) fits into a node; a itself where no block does."""
    blocks = variant.blocks
    if node.free_mb is None:
        return np.full(blocks, blocks)
    weights, peak = _of_blocks(variant)
    last, end = np.empty(blocks, dtype=np.intp), 0
    for start in range(blocks):  # the last cut never moves back
        end = max(end, start)
        while end < blocks and fits(node, float(weights[start : end + 1].sum() + peak[start : end + 1].max())):
            end += 1
        last[start] = end
    return last


def edge_last_cuts(edges: Sequence[Node], variants: Sequence[Variant], width: int) -> Ints | None:
    """(V, E, N) the last cut that an edge's memory reaches from each cut; ``None`` where no edge has a limit."""
    if all(edge.free_mb is None for edge in edges):
        return None
    last = np.tile(np.arange(width), (len(variants), len(edges), 1))
    for v, variant in enumerate(variants):
        for e, edge in enumerate(edges):
            last[v, e, : variant.blocks] = last_cuts(variant, edge)
    return last


def _of_blocks(variant: Variant) -> tuple[Floats, Floats]:
    """(blocks) weights and peak activations, MB; zeros where unknown."""
    nothing = np.zeros(variant.blocks)
    weights, peak = variant.block_weights_mb, variant.block_peak_mb
    return nothing if weights is None else weights, nothing if peak is None else peak
