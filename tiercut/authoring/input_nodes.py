"""A frame's layout, type and normalisation as the first nodes of a graph, so that cut 0 carries the uint8 frame."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx

from tiercut.errors import ExportError
from tiercut.model.onnx_file import dtype_name
from tiercut.model.preprocess import FrameSpec


def prepend_frame(graph: onnx.GraphProto, frame: FrameSpec) -> None:
    """Put the frame's layout, type and normalisation before the model's input.

    Args:
        graph: The graph, its inputs of fixed shape; changed in place.
        frame: Images to take.

    Raises:
        ExportError: the model does not take one image of this size.
    """
    value = graph.input[0]
    shape = tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
    first, last = image_shapes(frame)
    if len(graph.input) > 1 or shape not in (*first, *last):
        raise ExportError(
            "the model does not take such images",
            expected=f"one input of shape {' or '.join(str(list(each)) for each in (*first, *last))}",
            came=f"{len(graph.input)} inputs, '{value.name}' of shape {list(shape)}",
            fix="correct the preprocessing's size, channels and views, or omit it",
        )
    dtype = onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
    nodes, weights = _frame_nodes(frame, dtype, channels_first=shape in first, shape=shape)
    taken = {name for node in graph.node for name in (*node.input, *node.output)}
    name = next(name for name in ("frame", "frame_in", "tiercut_frame") if name not in taken)
    nodes[0].input[0] = name
    nodes[-1].output[0] = value.name
    old = list(graph.node)
    del graph.node[:]
    graph.node.extend([*nodes, *old])
    graph.initializer.extend(weights)
    value.CopyFrom(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.UINT8, frame.shape))


def image_shapes(frame: FrameSpec) -> tuple[list[tuple[int, ...]], list[tuple[int, ...]]]:
    """Shapes that a model may take images in: with their channels first, and with their channels last.

    Several views stand in the place of a batch, or in a dimension of their own behind a batch of one.
    """
    height, width = frame.size
    first, last = (frame.views, frame.channels, height, width), (frame.views, height, width, frame.channels)
    return ([first, (1, *first)], [last, (1, *last)]) if frame.views > 1 else ([first], [last])


def check_signal(graph: onnx.GraphProto, frame: FrameSpec) -> None:
    """Check that a graph takes such windows of a signal.

    Raises:
        ExportError: it does not.
    """
    value = graph.input[0]
    shape = tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
    if len(graph.input) > 1 or shape != frame.shape or value.type.tensor_type.elem_type != onnx.TensorProto.FLOAT:
        kind = dtype_name(value.type.tensor_type.elem_type) or "?"
        raise ExportError(
            "the model does not take such a signal",
            expected=f"one input, float32{list(frame.shape)} for {frame.samples} samples of {frame.channels} channels"
            f" as {frame.layout}",
            came=f"{len(graph.input)} inputs, '{value.name}' {kind}{list(shape)}",
            fix="correct the signal's samples, channels and layout, or wrap the model so that it takes this",
        )


def _frame_nodes(
    frame: FrameSpec, dtype: np.dtype[np.generic], *, channels_first: bool, shape: tuple[int, ...]
) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """A chain of nodes whose first input and last output are still to be named."""
    layout = (1, frame.channels, 1, 1) if channels_first else (1, 1, 1, frame.channels)
    element_type = onnx.helper.np_dtype_to_tensor_dtype(dtype)
    steps: list[tuple[str, dict[str, Any], np.ndarray | None]] = []
    if channels_first:
        steps.append(("Transpose", {"perm": [0, 3, 1, 2]}, None))
    steps.append(("Cast", {"to": element_type}, None))
    for op, values, neutral in (("Sub", frame.mean, 0.0), ("Div", frame.std, 1.0)):
        if any(value != neutral for value in values):
            numbers = np.array(values, dtype=dtype)
            steps.append((op, {}, numbers.reshape(layout) if len(set(values)) > 1 else numbers[0]))
    if len(shape) > len(frame.shape):
        steps.append(("Reshape", {}, np.array(shape, np.int64)))
    nodes, weights = [], []
    for i, (op, attributes, constant) in enumerate(steps):
        inputs = [f"frame/{i - 1}"]
        if constant is not None:
            inputs.append(f"frame/{op}/constant")
            weights.append(onnx.numpy_helper.from_array(np.asarray(constant), inputs[1]))
        nodes.append(onnx.helper.make_node(op, inputs, [f"frame/{i}"], name=f"frame/{op}", **attributes))
    return nodes, weights
