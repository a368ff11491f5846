"""What the blocks of a stream's model hold, for planning problems: from the profiles of all nodes that may run it.

Profiles differ little in this, as weights and tensors are the same everywhere; of two figures the greater counts. A
node of an older version does not say: where no node does, the model's cuts are asked.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from tiercut.coordinator.stream_goal import StreamGoal
from tiercut.coordinator.variant_costs import Chain
from tiercut.model.cuts import CutPoint
from tiercut.model.memory import SESSION_BYTES, SLACK, BlockMemory
from tiercut.planner.problem import Variant
from tiercut.profiling.profile import Profile

#: Bytes of a weight.
WEIGHT_BYTES = 4


def with_memory(variant: Variant, chain: Chain, goal: StreamGoal, profiles: Sequence[Profile]) -> Variant:
    """A variant with what its blocks hold; the heads of exits that are tried on the way count in their block.

    Args:
        variant: The variant.
        chain: The same as the coordinator knows it.
        goal: Its stream.
        profiles: Of the nodes.
    """
    known = (profile.memory.get(chain.name) for profile in profiles)
    blocks = [memory for memory in known if memory is not None and len(memory.weights_mb) == variant.blocks]
    if not blocks:
        other = goal.variant(chain.name)
        blocks = [from_cuts(goal.cuts if other is None else other.cuts)]
    weights = np.max([each.weights_mb for each in blocks], axis=0)
    peak = np.max([each.peak_mb for each in blocks], axis=0)
    for block, name in chain.tried.items():
        heads = list(_heads(name, profiles))
        weights[block] += max((head for head, _ in heads), default=0.0)
        peak[block] = max(peak[block], *(most for _, most in heads), 0.0)
    return replace(variant, block_weights_mb=weights, block_peak_mb=peak)


def from_cuts(cuts: Sequence[CutPoint]) -> BlockMemory:
    """The estimate from a model's cuts alone: weights of 4 bytes, and the tensors at both ends of a block."""
    pairs = list(itertools.pairwise(cuts))
    return BlockMemory(
        weights_mb=tuple(SLACK * WEIGHT_BYTES * (b.parameters - a.parameters) / 1e6 for a, b in pairs),
        peak_mb=tuple((SLACK * (a.bytes + b.bytes) + SESSION_BYTES) / 1e6 for a, b in pairs),
    )


def _heads(name: str, profiles: Iterable[Profile]) -> Iterable[tuple[float, float]]:
    """Weights and peak of an exit's head, of each profile that says."""
    for profile in profiles:
        memory = profile.memory.get(name)
        if memory is not None and memory.weights_mb:
            yield memory.weights_mb[-1], memory.peak_mb[-1]
