"""Features that predict a node's time: a family of operators, and four numbers that its time grows with."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tiercut.model.graph import Graph
from tiercut.model.macs import node_macs
from tiercut.model.onnx_file import OnnxNode

#: The columns of every family: a fixed cost, 10⁹ MACs, 10⁶ elements read and written, 10⁶ weights (not axes).
TERMS = ("fixed", "gmacs", "melements", "mweights")
#: Families in the order of the columns. ``stem`` is a convolution of few channels, which suits vector units less.
FAMILIES = ("stem", "conv", "pointwise", "depthwise", "dense", "pool", "elementwise", "copy", "other")

_STEM_CHANNELS = 4
_POOLS = {"MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "ReduceMean", "ReduceMax", "ReduceSum"}
_COPIES = {"Concat", "Transpose", "Slice", "Pad", "Split", "Gather", "Cast", "Resize", "Expand", "Tile"}
_FREE = {"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Dropout"}
_DENSE = {"Gemm", "MatMul", "Einsum", "Attention", "LSTM", "GRU", "RNN"}
_ELEMENTWISE = {
    "Add", "Sub", "Mul", "Div", "Relu", "Clip", "Sigmoid", "HardSigmoid", "HardSwish", "LeakyRelu", "Tanh", "Erf",
    "Exp", "Sqrt", "Pow", "Softmax", "Gelu", "PRelu", "BatchNormalization", "LayerNormalization",
}  # fmt: skip
#: What ONNX Runtime fuses into the convolution or matrix product before it, where no other node needs that.
_FUSED = {"Relu", "Clip", "Sigmoid", "HardSigmoid", "LeakyRelu", "Tanh"}


def node_features(graph: Graph) -> NDArray[np.float64]:
    """Features of each node.

    Returns:
        ``(nodes, families * terms)``; zero for nodes that cost nothing: views, and activations that are fused.
    """
    features = np.zeros((graph.end, len(FAMILIES), len(TERMS)))
    free = _fused(graph)
    for i, node in enumerate(graph.nodes):
        if node.op_type not in _FREE and i not in free:
            features[i, FAMILIES.index(family(node, graph))] = _terms(node, graph)
    return features.reshape(graph.end, -1)


def family(node: OnnxNode, graph: Graph) -> str:
    """Family of a node: nodes of one family take about as long for equal numbers."""
    kind = node.op_type
    if kind == "Conv":
        return _convolution(graph.spec(node.input[1]).shape)
    if kind in _DENSE:
        return "dense"
    if kind in _POOLS:
        return "pool"
    if kind in _ELEMENTWISE:
        return "elementwise"
    return "copy" if kind in _COPIES else "other"


def _convolution(weight: Sequence[int]) -> str:
    """By the weight's shape ``[out, in / groups, *kernel]``."""
    channels, kernel = weight[1], math.prod(weight[2:])
    if channels == 1:
        return "depthwise"
    if channels <= _STEM_CHANNELS:
        return "stem"
    return "pointwise" if kernel == 1 else "conv"


def _terms(node: OnnxNode, graph: Graph) -> tuple[float, float, float, float]:
    names = [name for name in node.input if name]
    macs = node_macs(node, lambda name: graph.spec(name).shape)
    weights = sum(graph.spec(name).elements for name in names if name in graph.weights) if macs else 0
    read = sum(graph.spec(name).elements for name in names if name not in graph.weights)
    written = sum(graph.spec(name).elements for name in node.output if name)
    return 1.0, macs / 1e9, (read + written) / 1e6, weights / 1e6


def _fused(graph: Graph) -> set[int]:
    """Positions of activations that run within the node before them."""
    users = Counter(name for node in graph.nodes for name in node.input)
    makers = {name: node.op_type for node in graph.nodes for name in node.output}
    outputs = set(graph.outputs)
    fused = set()
    for i, node in enumerate(graph.nodes):
        taken = node.input[0] if node.input else ""
        alone = users[taken] == 1 and taken not in outputs
        if node.op_type in _FUSED and alone and makers.get(taken) in {"Conv", "Gemm"}:
            fused.add(i)
    return fused


def describe(coefficients: NDArray[np.float64]) -> dict[str, dict[str, float]]:
    """Coefficients by family and term, those that are 0 omitted."""
    table: dict[str, dict[str, float]] = defaultdict(dict)
    for name, row in zip(FAMILIES, coefficients.reshape(len(FAMILIES), len(TERMS)), strict=True):
        for term, value in zip(TERMS, row, strict=True):
            if value:
                table[name][term] = float(f"{value:.6g}")
    return dict(table)
