"""Trained heads as nodes of a bundle's graph: its trunk first, then one head after the other, each with an output."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

import onnx
from torch import nn

from tiercut.errors import ExportError
from tiercut.exits.heads import Float32, Turned

#: The first operator set whose forms of these operators are today's.
_MIN_OPSET = 11

_Form = tuple[str, dict[str, Any]]


def graft(model: onnx.ModelProto, heads: Mapping[str, tuple[str, nn.Sequential]]) -> dict[str, str]:
    """Add heads to a trunk.

    Args:
        model: Canonical graph of the trunk, changed in place; its external weights may be unloaded.
        heads: Name of the exit → the tensor that its head takes, and the head.

    Returns:
        Name of the exit → name of its output in the graph.

    Raises:
        ExportError: the graph is of an operator set from before 2019.
    """
    version = max((item.version for item in model.opset_import if item.domain in {"", "ai.onnx"}), default=0)
    if version < _MIN_OPSET:
        raise ExportError(
            "cannot attach heads to the graph",
            expected=f"operator set {_MIN_OPSET} or newer",
            came=str(version),
            fix="export the model again with a newer opset",
        )
    graph = model.graph
    taken = {name for node in graph.node for name in (node.name, *node.input, *node.output)}
    outputs = {name: _add_head(graph, name, tensor, head, taken) for name, (tensor, head) in heads.items()}
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    known = {value.name: value for value in (*inferred.graph.value_info, *inferred.graph.output)}
    new = [name for node in graph.node for name in node.output if name not in taken]
    graph.value_info.extend(known[name] for name in new if name not in outputs.values())
    for value in graph.output:
        value.CopyFrom(known[value.name])
    return outputs


def _add_head(graph: onnx.GraphProto, exit_name: str, tensor: str, head: nn.Sequential, taken: set[str]) -> str:
    prefix = exit_name
    while any(name.startswith(f"{prefix}.") for name in taken):
        prefix += "_"
    last = len(head) - 1
    for i, (name, layer) in enumerate(head.named_children()):
        op, attributes = _FORMS[type(layer)](layer)
        weights = [f"{prefix}.{name}.{key}" for key, _ in layer.named_parameters()]
        graph.initializer.extend(
            onnx.numpy_helper.from_array(value.detach().cpu().numpy(), weight)
            for weight, value in zip(weights, layer.parameters(), strict=True)
        )
        made = prefix if i == last and prefix not in taken else f"{prefix}.{name}"
        node = onnx.helper.make_node(op, [tensor, *weights], [made], name=f"{prefix}.{name}/{op}", **attributes)
        graph.node.append(node)
        tensor = made
    graph.output.append(onnx.helper.make_empty_tensor_value_info(tensor))
    return tensor


def _conv(layer: nn.Module) -> _Form:
    conv = cast("nn.Conv2d", layer)
    pads = [*cast("tuple[int, int]", conv.padding)] * 2
    return "Conv", {"kernel_shape": conv.kernel_size, "strides": conv.stride, "pads": pads}


def _pool(op: str) -> Callable[[nn.Module], _Form]:
    def form(layer: nn.Module) -> _Form:
        size = cast("nn.MaxPool2d", layer).kernel_size
        kernel = list(size) if isinstance(size, (tuple, list)) else [size, size]
        return op, {"kernel_shape": kernel, "strides": kernel}

    return form


_FORMS: Mapping[type[nn.Module], Callable[[nn.Module], _Form]] = {
    Float32: lambda _: ("Cast", {"to": onnx.TensorProto.FLOAT}),
    Turned: lambda _: ("Transpose", {"perm": [0, 2, 1]}),
    nn.Conv2d: _conv,
    nn.ReLU: lambda _: ("Relu", {}),
    nn.MaxPool2d: _pool("MaxPool"),
    nn.AvgPool2d: _pool("AveragePool"),
    nn.AdaptiveAvgPool1d: lambda _: ("GlobalAveragePool", {}),
    nn.AdaptiveAvgPool2d: lambda _: ("GlobalAveragePool", {}),
    nn.Flatten: lambda _: ("Flatten", {"axis": 1}),
    nn.Linear: lambda _: ("Gemm", {"transB": 1}),
}
