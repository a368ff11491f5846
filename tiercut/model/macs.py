"""How many multiply-accumulates one ONNX node costs; element-wise operators, pooling and copies count as nothing."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tiercut.model.onnx_file import OnnxNode

    #: Shape of a tensor by its name.
    ShapeOf = Callable[[str], tuple[int, ...]]


def node_macs(node: OnnxNode, shape_of: ShapeOf) -> int:
    """Multiply-accumulates of one node on tensors of the given shapes."""
    count = _COUNTERS.get(node.op_type)
    return count(node, shape_of) if count else 0


def _convolution(weight: int) -> Callable[[OnnxNode, ShapeOf], int]:
    def count(node: OnnxNode, shape_of: ShapeOf) -> int:
        # weight [out, in / groups, *kernel]: each output element is one dot product with weight[o]
        return math.prod(shape_of(node.output[0])) * math.prod(shape_of(node.input[weight])[1:])

    return count


def _transposed_convolution(node: OnnxNode, shape_of: ShapeOf) -> int:
    # weight [in, out / groups, *kernel]: each input element is multiplied with weight[i]
    return math.prod(shape_of(node.input[0])) * math.prod(shape_of(node.input[1])[1:])


def _gemm(node: OnnxNode, shape_of: ShapeOf) -> int:
    transposed = any(attribute.name == "transA" and attribute.i for attribute in node.attribute)
    inner = shape_of(node.input[0])[0 if transposed else 1]
    return math.prod(shape_of(node.output[0])) * inner


def _matmul(node: OnnxNode, shape_of: ShapeOf) -> int:
    return math.prod(shape_of(node.output[0])) * shape_of(node.input[0])[-1]


def _einsum(node: OnnxNode, shape_of: ShapeOf) -> int:
    """Every combination of all indices, as for a plain loop; with an ellipsis or over one tensor: not counted."""
    equation = next(a.s.decode() for a in node.attribute if a.name == "equation").replace(" ", "")
    terms = equation.split("->")[0].split(",")
    if "..." in equation or len(terms) == 1:
        return 0
    sizes: dict[str, int] = {}
    for term, name in zip(terms, node.input, strict=True):
        sizes.update(zip(term, shape_of(name), strict=True))
    return math.prod(sizes.values())


def _recurrent(node: OnnxNode, shape_of: ShapeOf) -> int:
    steps, batch = shape_of(node.input[0])[:2]  # the same product in both layouts
    weights = math.prod(shape_of(node.input[1])) + math.prod(shape_of(node.input[2]))
    return steps * batch * weights


def _attention(node: OnnxNode, shape_of: ShapeOf) -> int:
    """Queries times keys, and weights times values; tensors [batch, heads, length, size], or [batch, length, all]."""
    queries, keys, values = (shape_of(name) for name in node.input[:3])
    pairs = queries[0] * queries[-2] * keys[-2]
    if len(queries) == 4:  # noqa: PLR2004 - with an axis of heads
        return pairs * queries[1] * (queries[-1] + values[-1])
    heads = {attribute.name: int(attribute.i) for attribute in node.attribute}
    sharing = max(1, heads.get("q_num_heads", 1) // max(1, heads.get("kv_num_heads", 1)))
    return pairs * (queries[-1] + values[-1] * sharing)


_COUNTERS: Mapping[str, Callable[[OnnxNode, ShapeOf], int]] = {
    "Conv": _convolution(1),
    "ConvInteger": _convolution(1),
    "QLinearConv": _convolution(3),
    "ConvTranspose": _transposed_convolution,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "MatMulInteger": _matmul,
    "QLinearMatMul": _matmul,
    "Einsum": _einsum,
    "Attention": _attention,
    **dict.fromkeys(("LSTM", "GRU", "RNN"), _recurrent),
}
