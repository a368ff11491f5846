"""Convolutions, pooling and normalisation of ONNX in torch; shapes are ``(1, channels, *sides)``."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.nn import functional

from tiercut.torch_view.call import Call


def conv(call: Call) -> torch.Tensor:
    """Conv."""
    weight = call.tensor(1)
    sides = weight.dim() - 2
    strides, dilations = _per_side(call, "strides", sides), _per_side(call, "dilations", sides)
    begin, end = _padding(call, weight.shape[2:], strides, dilations)
    x = call.x
    if begin != end:
        x, begin = _pad(x, begin, end, 0.0), [0] * sides
    apply = (functional.conv1d, functional.conv2d, functional.conv3d)[_rank(call, sides) - 1]
    return apply(x, weight, call.optional(2), strides, begin, dilations, int(call.get("group", 1)))


def conv_transpose(call: Call) -> torch.Tensor:
    """ConvTranspose with equal padding on both sides."""
    weight = call.tensor(1)
    sides = weight.dim() - 2
    pads = list(call.get("pads", [0] * 2 * sides))
    if pads[:sides] != pads[sides:] or "output_shape" in call.attributes or call.get("auto_pad", "NOTSET") != "NOTSET":
        raise call.unfit("equal padding on both sides", str(pads))
    apply = (functional.conv_transpose1d, functional.conv_transpose2d, functional.conv_transpose3d)
    return apply[_rank(call, sides) - 1](
        call.x,
        weight,
        call.optional(2),
        _per_side(call, "strides", sides),
        pads[:sides],
        list(call.get("output_padding", [0] * sides)),
        int(call.get("group", 1)),
        _per_side(call, "dilations", sides),
    )


def max_pool(call: Call) -> torch.Tensor:
    """MaxPool without indices."""
    if call.outputs > 1:
        raise call.unfit("pooling without indices", "one with them")
    kernel, strides, dilations, begin, end = _window(call)
    x, ceil = call.x, bool(call.get("ceil_mode", 0))
    if begin != end or any(2 * pad > size for pad, size in zip(begin, kernel, strict=True)):
        x, begin = _pad(x, begin, end, -math.inf), [0] * len(kernel)
    apply: Any = (functional.max_pool1d, functional.max_pool2d, functional.max_pool3d)[len(kernel) - 1]
    result: torch.Tensor = apply(x, kernel, strides, begin, dilations, ceil)
    return result


def average_pool(call: Call) -> torch.Tensor:
    """AveragePool; padded borders count where ``count_include_pad`` says so."""
    kernel, strides, dilations, begin, end = _window(call)
    if any(n != 1 for n in dilations):
        raise call.unfit("dilations of 1", str(dilations))
    apply: Any = (functional.avg_pool1d, functional.avg_pool2d, functional.avg_pool3d)[len(kernel) - 1]
    ceil, counted = bool(call.get("ceil_mode", 0)), bool(call.get("count_include_pad", 0))
    if begin == end and all(2 * pad <= size for pad, size in zip(begin, kernel, strict=True)):
        result: torch.Tensor = apply(call.x, kernel, strides, begin, ceil, counted)
        return result
    if ceil:
        raise call.unfit("equal padding on both sides with ceil_mode", f"{begin} and {end}")
    mean: torch.Tensor = apply(_pad(call.x, begin, end, 0.0), kernel, strides)
    if counted:
        return mean
    part: torch.Tensor = apply(_pad(torch.ones_like(call.x), begin, end, 0.0), kernel, strides)
    return mean / part


def global_pool(reduce: Callable[..., torch.Tensor]) -> Callable[[Call], torch.Tensor]:
    """GlobalAveragePool, GlobalMaxPool."""
    return lambda call: reduce(call.x, tuple(range(2, call.x.dim())), keepdim=True)


def batch_norm(call: Call) -> torch.Tensor:
    """BatchNormalization with the statistics that it came with."""
    if call.outputs > 1 or call.get("training_mode", 0):
        raise call.unfit("fixed statistics", "training mode")
    scale, bias, mean, variance = (call.tensor(i) for i in range(1, 5))
    return functional.batch_norm(call.x, mean, variance, scale, bias, eps=call.get("epsilon", 1e-5))


def instance_norm(call: Call) -> torch.Tensor:
    """InstanceNormalization."""
    axes = tuple(range(2, call.x.dim()))
    variance, mean = torch.var_mean(call.x, axes, correction=0, keepdim=True)
    scale, bias = (call.tensor(i).reshape(1, -1, *[1] * len(axes)) for i in (1, 2))
    return (call.x - mean) * torch.rsqrt(variance + call.get("epsilon", 1e-5)) * scale + bias


def layer_norm(call: Call) -> torch.Tensor:
    """LayerNormalization without its statistics."""
    if call.outputs > 1:
        raise call.unfit("one output", f"{call.outputs}")
    shape = call.x.shape[call.get("axis", -1) :]
    return functional.layer_norm(call.x, list(shape), call.tensor(1), call.optional(2), call.get("epsilon", 1e-5))


def local_response_norm(call: Call) -> torch.Tensor:
    """LRN (AlexNet); of odd size, as ONNX Runtime has it."""
    size, bias = int(call.attributes["size"]), call.get("bias", 1.0)
    return functional.local_response_norm(call.x, size, call.get("alpha", 1e-4), call.get("beta", 0.75), bias)


def _rank(call: Call, sides: int) -> int:
    if not 1 <= sides <= 3:  # noqa: PLR2004 - what torch has
        raise call.unfit("1 to 3 sides", str(sides))
    return sides


def _per_side(call: Call, name: str, sides: int) -> list[int]:
    return list(call.get(name, [1] * sides))


def _window(call: Call) -> tuple[list[int], list[int], list[int], list[int], list[int]]:
    """Kernel, strides, dilations, padding before and after of a pooling."""
    kernel = list(call.attributes["kernel_shape"])
    strides, dilations = (_per_side(call, name, _rank(call, len(kernel))) for name in ("strides", "dilations"))
    return kernel, strides, dilations, *_padding(call, kernel, strides, dilations)


def _padding(
    call: Call, kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]
) -> tuple[list[int], list[int]]:
    """Padding before and after each side."""
    sides, kind = len(kernel), call.get("auto_pad", "NOTSET")
    if kind == "NOTSET":
        pads = list(call.get("pads", [0] * 2 * sides))
        return pads[:sides], pads[sides:]
    if kind == "VALID":
        return [0] * sides, [0] * sides
    begin, end = [], []
    for size, k, stride, dilation in zip(call.x.shape[2:], kernel, strides, dilations, strict=True):
        total = max(0, (math.ceil(size / stride) - 1) * stride + (k - 1) * dilation + 1 - size)
        less, more = total // 2, total - total // 2
        begin.append(less if kind == "SAME_UPPER" else more)
        end.append(more if kind == "SAME_UPPER" else less)
    return begin, end


def _pad(x: torch.Tensor, begin: Sequence[int], end: Sequence[int], value: float) -> torch.Tensor:
    pairs = [pad for both in zip(reversed(begin), reversed(end), strict=True) for pad in both]
    return functional.pad(x, pairs, value=value)


LAYERS: Mapping[str, Callable[[Call], torch.Tensor]] = {
    "Conv": conv,
    "ConvTranspose": conv_transpose,
    "MaxPool": max_pool,
    "AveragePool": average_pool,
    "GlobalAveragePool": global_pool(torch.mean),
    "GlobalMaxPool": global_pool(torch.amax),
    "BatchNormalization": batch_norm,
    "InstanceNormalization": instance_norm,
    "LayerNormalization": layer_norm,
    "LRN": local_response_norm,
}
