"""Layers of a bottleneck as an ONNX file with its weights inside.

Written by hand and not by torch's exporter: there are six kinds of layers, and every version of torch gives the same.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from torch import nn

from tiercut.authoring.verify import TOLERANCE, random_example
from tiercut.bottleneck.layers import Crop, Sum
from tiercut.errors import ExportError
from tiercut.model.cuts import TensorSpec
from tiercut.model.segments import Segment

OPSET, IR_VERSION = 18, 9


class _Writer:
    """Nodes and weights, one after the other."""

    def __init__(self, first: str) -> None:
        self.value = first
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def node(self, operator: str, *weights: str, **attributes: Any) -> None:
        """A node that takes the last one's result."""
        name = f"{len(self.nodes)}/{operator}"
        self.nodes.append(helper.make_node(operator, [self.value, *weights], [name], name=name, **attributes))
        self.value = name

    def weight(self, array: NDArray[Any]) -> str:
        """A weight; its name."""
        name = f"weight{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def layer(self, layer: nn.Module) -> None:
        """The nodes of a layer."""
        if isinstance(layer, nn.Conv2d):
            weight, bias = self.weight(_array(layer.weight)), self.weight(_array(layer.bias))
            kernel, pads = list(layer.kernel_size), [int(side) for side in layer.padding] * 2
            self.node("Conv", weight, bias, kernel_shape=kernel, strides=list(layer.stride), pads=pads)
        elif isinstance(layer, nn.Linear):
            self.node("MatMul", self.weight(_array(layer.weight).T))
            self.node("Add", self.weight(_array(layer.bias)))
        elif isinstance(layer, nn.ReLU):
            self.node("Relu")
        elif isinstance(layer, nn.PixelShuffle):
            self.node("DepthToSpace", blocksize=layer.upscale_factor, mode="CRD")
        elif isinstance(layer, Crop):
            bounds = ([0, 0], [layer.height, layer.width], [2, 3])
            self.node("Slice", *(self.weight(np.array(each, np.int64)) for each in bounds))
        elif isinstance(layer, Sum):
            self.branches(layer)
        else:
            raise TypeError(type(layer).__name__)

    def branches(self, branches: Sum) -> None:
        """Each from the same value on, and their sum."""
        start, ends = self.value, []
        for branch in branches:
            self.value = start
            self.layers(branch)
            ends.append(self.value)
        self.value = ends[0]
        for end in ends[1:]:
            self.node("Add", end)

    def layers(self, layers: nn.Module) -> None:
        """The nodes of a sequence of layers."""
        for layer in layers.children():
            self.layer(layer)


def to_onnx(layers: nn.Sequential, takes: TensorSpec, gives: TensorSpec) -> bytes:
    """The layers as a file, checked to compute the same.

    Raises:
        ExportError: ONNX Runtime computes something else.
    """
    writer = _Writer(takes.name)
    writer.layers(layers)
    writer.nodes[-1].output[0] = gives.name
    graph = helper.make_graph(
        writer.nodes, f"{takes.name} to {gives.name}", [_value(takes)], [_value(gives)], writer.weights
    )
    opset = helper.make_opsetid("", OPSET)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=IR_VERSION, producer_name="tiercut")
    onnx.checker.check_model(model, full_check=True)
    data: bytes = model.SerializeToString(deterministic=True)
    _verify(data, layers, takes, gives)
    return data


def _verify(data: bytes, layers: nn.Sequential, takes: TensorSpec, gives: TensorSpec) -> None:
    example = random_example(takes.shape, takes.dtype)
    segment = Segment(data, folder=Path(), takes=(takes,), gives=(gives,), title=gives.name)
    got = segment.run({takes.name: example})[gives.name]
    with torch.no_grad():
        wanted = layers(torch.from_numpy(example)).numpy()
    difference = float(np.max(np.abs(got.astype(np.float64) - wanted)))
    if not difference <= TOLERANCE * max(1.0, float(np.max(np.abs(wanted)))):
        raise ExportError(
            f"the network that makes the {gives.name} does not compute in ONNX what it does in torch",
            expected=f"values equal to {TOLERANCE:g}",
            came=f"{difference:.2g} away",
            fix="train it again, with a smaller learning rate",
        )


def _array(parameter: torch.Tensor | None) -> NDArray[Any]:
    assert parameter is not None  # noqa: S101 - for the type checker: all layers have a bias
    array: NDArray[Any] = parameter.detach().cpu().numpy()
    return array


def _value(spec: TensorSpec) -> onnx.ValueInfoProto:
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(spec.dtype))
    return helper.make_tensor_value_info(spec.name, kind, spec.shape)
