"""The heads of exits: a few layers from a tensor to logits, made of what every ONNX runtime has."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import nn

from tiercut.model.cuts import TensorSpec

Kind = Literal["auto", "conv", "pooled", "fc"]
KINDS: tuple[Kind, ...] = get_args(Kind)

#: A convolutional head looks at no more than this many positions per side.
_LOOK = 14
#: Its result is averaged until the linear layer has no more weights than this.
_MAX_WEIGHTS = 50_000
#: Sides of at least this many positions are halved by its convolution.
_HALVED = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadPlan:
    """How heads are made.

    Attributes:
        kind: ``conv``: pooling, a 3x3 convolution with ReLU, a linear layer; ``pooled``: the mean over all positions
            and a linear layer; ``fc``: one linear layer on everything; ``auto``: ``conv`` where the tensor has
            height and width, else ``pooled`` over tokens or ``fc``.
        width: Channels of the convolution.
    """

    kind: Kind = "auto"
    width: int = 16


class Turned(nn.Module):
    """Tokens last, so that they can be pooled: ``(frames, tokens, size)`` → ``(frames, size, tokens)``."""

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Swap the two."""
        return tokens.transpose(1, 2)


class Float32(nn.Module):
    """Numbers of another precision as float32."""

    def forward(self, tensor: torch.Tensor) -> torch.Tensor:
        """Convert them."""
        return tensor.float()


def make_head(tensor: TensorSpec, classes: int, plan: HeadPlan, seed: int) -> nn.Sequential:
    """An untrained head for the one tensor alive at a cut.

    Args:
        tensor: ``(1, channels, height, width)``, ``(1, tokens, size)`` or ``(1, size)``.
        classes: How many logits it gives.
        plan: What it is made of.
        seed: Of its first weights.
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    if tensor.dtype != "float32":
        layers["single"] = Float32()
    shape = tensor.shape[1:]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if len(shape) == 3 and plan.kind in {"auto", "conv"}:  # noqa: PLR2004 - channels, height, width
            features = _add_convolution(layers, shape, classes, plan.width)
        elif len(shape) == 3 and plan.kind == "pooled":  # noqa: PLR2004
            layers["pool"] = nn.AdaptiveAvgPool2d(1)
            features = shape[0]
        elif len(shape) == 2 and plan.kind != "fc":  # noqa: PLR2004 - tokens, size
            layers["turn"], layers["pool"] = Turned(), nn.AdaptiveAvgPool1d(1)
            features = shape[1]
        else:
            features = int(torch.Size(shape).numel())
        layers["flat"], layers["fc"] = nn.Flatten(), nn.Linear(features, classes)
    return nn.Sequential(layers)


def _add_convolution(layers: OrderedDict[str, nn.Module], shape: tuple[int, ...], classes: int, width: int) -> int:
    """Add pooling, convolution and ReLU; returns how many numbers come out."""
    channels, *sides = shape
    shrink = -(-max(sides) // _LOOK)
    if shrink > 1:
        kernel = (min(shrink, sides[0]), min(shrink, sides[1]))
        layers["shrink"] = nn.MaxPool2d(kernel)
        sides = [side // k for side, k in zip(sides, kernel, strict=True)]
    stride = 2 if min(sides) >= _HALVED else 1
    conv = nn.Conv2d(channels, width, 3, stride, padding=1)
    nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
    layers["conv"], layers["relu"] = conv, nn.ReLU()
    sides = [-(-side // stride) for side in sides]
    pool = 1
    while width * classes * (sides[0] // pool) * (sides[1] // pool) > _MAX_WEIGHTS and pool < min(sides):
        pool += 1
    if pool > 1:
        layers["pool"] = nn.AvgPool2d(pool)
        sides = [side // pool for side in sides]
    return width * sides[0] * sides[1]
