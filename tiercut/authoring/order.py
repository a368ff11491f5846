"""Graphs as ``onnx`` reads them: which tensors are fixed, and in which order nodes may run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tiercut.model.cuts import TensorSpec
from tiercut.model.onnx_file import dtype_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    import onnx


def fixed_spec(value: onnx.ValueInfoProto) -> TensorSpec | None:
    """The tensor that a value describes, ``None`` when its type or one of its dimensions is unknown."""
    kind = value.type.tensor_type
    dtype = dtype_name(kind.elem_type)
    if dtype is None or not kind.HasField("shape"):
        return None
    if not all(dim.HasField("dim_value") and dim.dim_value >= 0 for dim in kind.shape.dim):
        return None
    return TensorSpec(value.name, tuple(dim.dim_value for dim in kind.shape.dim), dtype)


def topological_order(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """The nodes that the outputs depend on, each right before the first that needs it.

    Depth first from the outputs, so that a branch is finished before the next begins and few tensors are alive at
    once. Nodes without effect on an output are omitted.
    """
    producer = {name: node for node in graph.node for name in node.output if name}
    order: list[onnx.NodeProto] = []
    seen: set[int] = set()
    for output in graph.output:
        stack = [(node, iter(node.input)) for node in _unseen(producer, [output.name], seen)]
        while stack:
            node, names = stack[-1]
            found = next(_unseen(producer, names, seen), None)
            if found is None:
                order.append(node)
                stack.pop()
            else:
                stack.append((found, iter(found.input)))
    return order


def _unseen(producer: Mapping[str, onnx.NodeProto], names: Iterable[str], seen: set[int]) -> Iterator[onnx.NodeProto]:
    """The producers of some tensors, each only once per ``seen``."""
    for name in names:
        node = producer.get(name)
        if node is not None and id(node) not in seen:
            seen.add(id(node))
            yield node
