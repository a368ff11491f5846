"""What travels at a cut point: the tensors alive there, their size, and the work done before it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from msgspec import Meta

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: Bytes of one element, by numpy name: the types that a tensor between two nodes may have.
ITEM_BYTES: Mapping[str, int] = {
    "bool": 1,
    "int8": 1,
    "uint8": 1,
    "int16": 2,
    "uint16": 2,
    "float16": 2,
    "int32": 4,
    "uint32": 4,
    "float32": 4,
    "int64": 8,
    "uint64": 8,
    "float64": 8,
}


Count = Annotated[int, Meta(ge=0)]
Shape = tuple[Count, ...]
DType = Annotated[str, Meta(pattern=rf"^({'|'.join(ITEM_BYTES)})\Z")]


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """Name, shape and element type of a tensor; all dimensions are fixed.

    Attributes:
        name: Name in the model's graph.
        shape: Dimensions; ``()`` is a scalar.
        dtype: numpy name, a key of `ITEM_BYTES`.
    """

    name: str
    shape: Shape
    dtype: DType

    @property
    def elements(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        """Size without any codec."""
        return self.elements * ITEM_BYTES[self.dtype]

    def __str__(self) -> str:
        return f"{self.dtype}[{', '.join(map(str, self.shape))}]"


@dataclass(frozen=True, slots=True, kw_only=True)
class CutPoint:
    """A position between two nodes of the graph.

    Attributes:
        index: The cut's number k: as many nodes are before it.
        after: Name of the node before it, ``None`` at cut 0.
        tensors: The tensors alive here; at the end of the model its outputs, in their order.
        macs: Multiply-accumulates of all nodes before it.
        parameters: Weights and biases used by the nodes before it, shared ones counted once.
        dominated: Never worth choosing: by the rule of `dominated_cuts` neither for ``bytes``, nor for ``elements``,
            which is what remains to be sent when a codec makes one byte of each element.
    """

    index: int
    after: str | None
    tensors: tuple[TensorSpec, ...]
    macs: Count
    parameters: Count
    dominated: bool = False

    @property
    def bytes(self) -> int:
        """Size of all tensors without any codec."""
        return sum(tensor.bytes for tensor in self.tensors)

    @property
    def elements(self) -> int:
        """Number of elements of all tensors."""
        return sum(tensor.elements for tensor in self.tensors)


def dominated_cuts(sizes: Sequence[int], macs: Sequence[int], *, start: int = 0) -> tuple[bool, ...]:
    """Which cuts are never worth choosing, because another one costs neither more bytes nor more work.

    A cut is dominated by an earlier one that sends less, or as much after fewer MACs; and by a later one that
    sends no more after *equally* many MACs, since activations and pooling are all but free, run fused with the
    layer before them, and leave tensors that compress better. The two ends never are: they mean "all" and "nothing".

    Args:
        sizes: What is to be sent at each cut, in one unit for all.
        macs: MACs before each cut, never decreasing.
        start: First cut that may be chosen at all; later ones are compared with none before it. A planner that must
            not send raw frames starts after the nodes that only normalise them.
    """
    end = len(sizes) - 1
    marks = [False] * len(sizes)
    least = start
    for k in range(start + 1, end):
        tie = sizes[least] == sizes[k] and (macs[least] < macs[k] or least == start)
        marks[k] = sizes[least] < sizes[k] or tie
        if sizes[k] < sizes[least]:
            least = k
    smallest = sizes[end]
    for k in range(end - 1, start, -1):
        if macs[k] != macs[k + 1]:
            smallest = sizes[k]
            continue
        marks[k] = marks[k] or sizes[k] >= smallest
        smallest = min(smallest, sizes[k])
    return tuple(marks)
