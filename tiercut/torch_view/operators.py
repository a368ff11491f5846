"""The table of ONNX operators that torch can train, each on one sample whose first dimension is a batch of one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import reduce
from typing import Any

import numpy as np
import onnx
import torch
from torch.nn import functional

from tiercut.torch_view.call import Call
from tiercut.torch_view.layers import LAYERS

Result = torch.Tensor | tuple[torch.Tensor, ...]


def _gemm(call: Call) -> torch.Tensor:
    a = call.x.transpose(0, 1) if call.get("transA", 0) else call.x
    b = call.tensor(1) if call.get("transB", 0) else call.tensor(1).transpose(0, 1)
    alpha, beta, bias = call.get("alpha", 1.0), call.get("beta", 1.0), call.optional(2)
    if alpha == beta == 1 and (bias is None or bias.dim() == 1):
        return functional.linear(a, b, bias)
    product = torch.mul(functional.linear(a, b), alpha)
    return product if bias is None else torch.add(product, bias, alpha=beta)


def _divide(call: Call) -> torch.Tensor:
    whole = not call.x.is_floating_point()
    return torch.div(call.x, call.tensor(1), rounding_mode="trunc" if whole else None)


def _power(call: Call) -> torch.Tensor:
    exponent = call.fixed[1]
    if exponent is not None and exponent.size == 1:  # a number has a simpler gradient than a tensor
        return torch.pow(call.x, exponent.item())
    return torch.pow(call.x, call.tensor(1))


def _clip(call: Call) -> torch.Tensor:
    low, high = call.number("min", 1), call.number("max", 2)
    return call.x if low is None and high is None else torch.clamp(call.x, low, high)


def _hard_sigmoid(call: Call) -> torch.Tensor:
    return torch.clamp(call.get("alpha", 0.2) * call.x + call.get("beta", 0.5), 0, 1)


def _gelu(call: Call) -> torch.Tensor:
    return functional.gelu(call.x, approximate=call.get("approximate", "none"))


def _softmax(function: Callable[..., torch.Tensor]) -> Callable[[Call], torch.Tensor]:
    def apply(call: Call) -> torch.Tensor:
        if call.version >= 13:  # noqa: PLR2004 - before, all dimensions from the axis on were one
            return function(call.x, dim=call.get("axis", -1))
        axis = call.get("axis", 1) % call.x.dim()
        return function(call.x.flatten(axis), dim=-1).reshape(call.x.shape)

    return apply


def _reduction(function: Callable[..., torch.Tensor]) -> Callable[[Call], torch.Tensor]:
    def apply(call: Call) -> torch.Tensor:
        axes = call.ints("axes", 1)
        if not axes and call.get("noop_with_empty_axes", 0):
            return call.x
        return function(call.x, axes or tuple(range(call.x.dim())), keepdim=bool(call.get("keepdims", 1)))

    return apply


def _reshape(call: Call) -> torch.Tensor:
    shape = _needed(call, "shape", 1)
    if not call.get("allowzero", 0):
        shape = tuple(call.x.shape[i] if n == 0 else n for i, n in enumerate(shape))
    return call.x.reshape(shape)


def _flatten(call: Call) -> torch.Tensor:
    axis = int(call.get("axis", 1))
    axis += call.x.dim() if axis < 0 else 0
    rows = int(torch.Size(call.x.shape[:axis]).numel())
    return call.x.reshape(rows, -1)


def _squeeze(call: Call) -> torch.Tensor:
    axes = call.ints("axes", 1)
    return call.x.squeeze() if axes is None else call.x.squeeze(axes)


def _unsqueeze(call: Call) -> torch.Tensor:
    axes = _needed(call, "axes", 1)
    rank = call.x.dim() + len(axes)
    return reduce(torch.unsqueeze, sorted(axis % rank for axis in axes), call.x)


def _transpose(call: Call) -> torch.Tensor:
    return call.x.permute(call.get("perm", tuple(reversed(range(call.x.dim())))))


def _concat(call: Call) -> torch.Tensor:
    return torch.cat([call.tensor(i) for i in range(len(call.tensors))], dim=call.attributes["axis"])


def _split(call: Call) -> tuple[torch.Tensor, ...]:
    axis = call.get("axis", 0)
    sizes = call.ints("split", 1)
    if sizes is None:
        count = call.get("num_outputs", call.outputs)
        return torch.split(call.x, -(-call.x.shape[axis] // count), dim=axis)
    return torch.split(call.x, list(sizes), dim=axis)


def _slice(call: Call) -> torch.Tensor:
    starts, ends = _needed(call, "starts", 1), _needed(call, "ends", 2)
    axes = call.ints("axes", 3) or tuple(range(len(starts)))
    steps = call.ints("steps", 4) or (1,) * len(starts)
    x = call.x
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        places = range(*slice(start, end, step).indices(x.shape[axis]))
        if step == 1:
            x = x.narrow(axis, places.start, len(places))
        else:
            x = x.index_select(axis, torch.tensor(list(places), dtype=torch.int64))
    return x


def _pad(call: Call) -> torch.Tensor:
    pads = _needed(call, "pads", 1)
    axes = call.ints("axes", 3) or tuple(range(call.x.dim()))
    by_axis = {axis % call.x.dim(): (pads[i], pads[i + len(axes)]) for i, axis in enumerate(axes)}
    order = [pad for axis in reversed(range(call.x.dim())) for pad in by_axis.get(axis, (0, 0))]
    mode = {"constant": "constant", "reflect": "reflect", "edge": "replicate"}.get(call.get("mode", "constant"))
    if mode is None:
        raise call.unfit("mode constant, reflect or edge", call.get("mode", ""))
    if mode == "constant":
        return functional.pad(call.x, order, value=call.number("value", 2) or 0.0)
    if any(order[-4:]):  # torch pads only the sides so
        raise call.unfit("padding of the sides alone", str(pads))
    return functional.pad(call.x, order[:-4], mode=mode)


def _gather(call: Call) -> torch.Tensor:
    axis = int(call.get("axis", 0)) % call.x.dim()
    places = call.tensor(1)
    count = call.x.shape[axis]
    chosen = call.x.index_select(axis, torch.where(places < 0, places + count, places).reshape(-1))
    return chosen.reshape(*call.x.shape[:axis], *places.shape, *call.x.shape[axis + 1 :])


def _expand(call: Call) -> torch.Tensor:
    return call.x.expand(np.broadcast_shapes(call.x.shape, _needed(call, "shape", 1)))


def _cast(call: Call) -> torch.Tensor:
    dtype = onnx.helper.tensor_dtype_to_np_dtype(call.attributes["to"]).name
    kind = getattr(torch, dtype, None)
    if not isinstance(kind, torch.dtype):
        raise call.unfit("a type that torch has", dtype)
    return call.x.to(kind)


def _needed(call: Call, name: str, index: int) -> tuple[int, ...]:
    values = call.ints(name, index)
    if values is None:
        raise call.unfit(f"'{name}'", "none")
    return values


def _one(function: Callable[..., torch.Tensor], **attributes: float) -> Callable[[Call], torch.Tensor]:
    """A function of one tensor, with attributes that have these defaults and torch's order."""
    return lambda call: function(call.x, *(call.get(name, value) for name, value in attributes.items()))


def _two(function: Callable[..., torch.Tensor]) -> Callable[[Call], torch.Tensor]:
    return lambda call: function(call.x, call.tensor(1))


def _many(function: Callable[[Any, Any], torch.Tensor]) -> Callable[[Call], torch.Tensor]:
    return lambda call: reduce(function, [call.tensor(i) for i in range(len(call.tensors))])


OPERATORS: Mapping[str, Callable[[Call], Result]] = {
    **LAYERS,
    "Abs": _one(torch.abs),
    "Add": _two(torch.add),
    "Cast": _cast,
    "Clip": _clip,
    "Concat": _concat,
    "Div": _divide,
    "Dropout": lambda call: call.x,
    "Elu": _one(functional.elu, alpha=1.0),
    "Erf": _one(torch.erf),
    "Exp": _one(torch.exp),
    "Expand": _expand,
    "Flatten": _flatten,
    "Gather": _gather,
    "Gelu": _gelu,
    "Gemm": _gemm,
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _one(functional.hardswish),
    "Identity": lambda call: call.x,
    "LeakyRelu": _one(functional.leaky_relu, alpha=0.01),
    "Log": _one(torch.log),
    "LogSoftmax": _softmax(torch.log_softmax),
    "MatMul": _two(torch.matmul),
    "Max": _many(torch.maximum),
    "Min": _many(torch.minimum),
    "Mish": _one(functional.mish),
    "Mul": _two(torch.mul),
    "Neg": _one(torch.neg),
    "PRelu": lambda call: torch.where(call.x >= 0, call.x, call.x * call.tensor(1)),
    "Pad": _pad,
    "Pow": _power,
    "Reciprocal": _one(torch.reciprocal),
    "ReduceMax": _reduction(torch.amax),
    "ReduceMean": _reduction(torch.mean),
    "ReduceMin": _reduction(torch.amin),
    "ReduceSum": _reduction(torch.sum),
    "Relu": _one(torch.relu),
    "Reshape": _reshape,
    "Sigmoid": _one(torch.sigmoid),
    "Slice": _slice,
    "Softmax": _softmax(torch.softmax),
    "Softplus": _one(functional.softplus),
    "Split": _split,
    "Sqrt": _one(torch.sqrt),
    "Squeeze": _squeeze,
    "Sub": _two(torch.sub),
    "Sum": _many(torch.add),
    "Tanh": _one(torch.tanh),
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
    "Where": lambda call: torch.where(call.x, call.tensor(1), call.tensor(2)),
}
