"""The memory that segments hold: an estimate from the graph, before anything is built.

A segment [a, b) holds the weights of its blocks as long as it is loaded, and the activations of the block that needs
most of them while it runs: ``sum(weights[a:b]) + max(peak[a:b])``. `profiling.memory` measures the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from tiercut.plan import FULL

#: A session holds more than weights and activations: weights as packed for its kernels, its allocator's slack, the
#: graph. For six of eight segments of EfficientNet-Lite0 this gave 0.65 to 1.6 times what was measured; two took less,
#: as they found freed memory (2026-11-21).
SLACK = 1.5
SESSION_BYTES = 500_000


class Weighed(Protocol):
    """What the estimate needs of a graph."""

    @property
    def end(self) -> int:
        """Its last cut."""
        ...

    def weight_bytes(self, a: int, b: int) -> int:
        """Size of all weights between two cuts."""
        ...

    def activation_bytes(self, a: int, b: int) -> int:
        """Most bytes of tensors alive at once between two cuts."""
        ...


class Chained(Protocol):
    """What it needs of a variant."""

    @property
    def end(self) -> int:
        """Its last cut."""
        ...


class Graphs(Protocol):
    """What it needs of a bundle."""

    def graph_of(self, variant: str) -> Weighed:
        """The graph that a variant's segments are cut from."""
        ...

    def variant(self, name: str) -> Chained:
        """The variant of a name."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockMemory:
    """What the blocks of one way through a model hold.

    Attributes:
        weights_mb: Of each block as long as it is loaded, MB (1e6 bytes).
        peak_mb: Of each block while it runs.
    """

    weights_mb: tuple[float, ...]
    peak_mb: tuple[float, ...]

    def needed_mb(self, start: int, stop: int) -> float:
        """What a segment needs; 0 for an empty one."""
        if start >= stop:
            return 0.0
        return sum(self.weights_mb[start:stop]) + max(self.peak_mb[start:stop])


def held_bytes(weight_bytes: int, activation_bytes: int) -> int:
    """What a session holds, from its weights and the most that is alive at once while it runs."""
    return round(SLACK * (weight_bytes + activation_bytes)) + SESSION_BYTES


def graph_memory(bundle: Graphs, variant: str = FULL) -> BlockMemory:
    """The estimate for each block of a variant; weights that several blocks use count for each.

    Raises:
        BundleError: the graph is not the one that ``bundle.json`` describes.
        CutError: there is no such variant.
    """
    weights, activations = graph_bytes(bundle, variant)
    return BlockMemory(
        weights_mb=tuple(SLACK * each / 1e6 for each in weights),
        peak_mb=tuple((SLACK * each + SESSION_BYTES) / 1e6 for each in activations),
    )


def graph_bytes(bundle: Graphs, variant: str = FULL) -> tuple[Sequence[int], Sequence[int]]:
    """Bytes of each block's weights, and the most alive at once while it runs, as the graph has them."""
    graph, end = bundle.graph_of(variant), bundle.variant(variant).end
    ends = [*range(1, end), graph.end]  # the last block of an exit is all of its head
    return (
        [graph.weight_bytes(k, stop) for k, stop in enumerate(ends)],
        [graph.activation_bytes(k, stop) for k, stop in enumerate(ends)],
    )


def rounded(values: Iterable[float]) -> tuple[float, ...]:
    """Figures as a profile keeps them, to a kilobyte."""
    return tuple(round(each, 3) for each in values)
