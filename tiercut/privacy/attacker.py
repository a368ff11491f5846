"""The inversion network: what an attacker trains to rebuild a frame from the tensors that cross the wire.

After Dosovitskiy & Brox (CVPR 2016) and He et al. (ACSAC 2019): a decoder trained on pairs of tensors and frames. It
needs no weight of the model, only a way to run it, or a recording of both ends.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from tiercut.model.preprocess import FrameSpec
from tiercut.privacy.image_similarity import Pixels
from tiercut.privacy.wire import Arrays

#: Channels and residual blocks of the decoder, which works at half of the image's height and width; fewer where that
#: is over 16x16, so that an epoch costs about the same per image. Measured 2026-11-21 on Fashion-MNIST, cut with
#: 48x7x7: three blocks of 64 rebuild at 23.4 dB after 10 epochs; with batch normalisation 21.5 dB.
SMALL, LARGE = (64, 3), (48, 2)
SMALL_AREA = 16 * 16
#: Width of the layer between a vector and the first map.
HIDDEN = 1024
#: Numbers per frame that a sequence is reduced to before all of it is looked at.
MAX_SEQUENCE = 8192
#: A channel that varies less than this part of the one that varies most is all but dead, and not blown up to its size.
MIN_SPREAD = 0.01


class Attacker(nn.Module):
    """Rebuilds images from all tensors of a cut.

    Args:
        heard: Tensors of some frames, ``(frames, *rest)`` each, which tell shapes, means and spreads.
        frame: What frames the model takes.
        mean: The mean image, ``(channels, height, width)``, 0..1: the network learns what differs from it.
    """

    mean: torch.Tensor

    def __init__(self, heard: Arrays, frame: FrameSpec, mean: torch.Tensor) -> None:
        super().__init__()
        channels, height, width = mean.shape
        work = (-(-height // 2), -(-width // 2))
        wide, blocks = SMALL if math.prod(work) <= SMALL_AREA else LARGE
        self.register_buffer("mean", mean)
        self.stems = nn.ModuleList(
            _Stem(torch.from_numpy(array), _is_image(array.shape[1:], frame), wide, work) for array in heard
        )
        self.body = nn.Sequential(
            *(_Block(wide) for _ in range(blocks)), nn.Conv2d(wide, 4 * channels, 3, padding=1), nn.PixelShuffle(2)
        )

    def forward(self, heard: Arrays) -> torch.Tensor:
        """Images of 0 to 1, not clipped, ``(frames, channels, height, width)``."""
        mixed = torch.stack([stem(torch.from_numpy(array)) for stem, array in zip(self.stems, heard, strict=True)])
        height, width = self.mean.shape[1:]
        made: torch.Tensor = self.mean + self.body(mixed.sum(0))[..., :height, :width]
        return made

    @torch.no_grad()
    def rebuild(self, heard: Arrays) -> Pixels:
        """Images as pixels, ``(frames, height, width, channels)``."""
        pixels: Pixels = (self(heard).clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
        return pixels


class _Block(nn.Module):
    """Two convolutions beside which the input passes (He et al., CVPR 2016)."""

    def __init__(self, wide: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(wide, wide, 3, padding=1), nn.ReLU(), nn.Conv2d(wide, wide, 3, padding=1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.relu(x + self.body(x))


class _Stem(nn.Module):
    """From one tensor of the cut to a map of the decoder's width and size."""

    centre: torch.Tensor
    scale: torch.Tensor

    def __init__(self, example: torch.Tensor, image: bool, wide: int, work: tuple[int, int]) -> None:
        super().__init__()
        self.image = image
        self.work = work
        shape = tuple(self._arranged(example[:1]).shape[1:])
        per = (0, 2, 3) if len(shape) == 3 else (0,)  # noqa: PLR2004 - a map: one mean per channel
        values = self._arranged(example).double()
        self.register_buffer("centre", values.mean(per, keepdim=True).float())
        spread = values.std(per, keepdim=True, correction=0)
        least = max(MIN_SPREAD * float(spread.max()), MIN_SPREAD**4)
        self.register_buffer("scale", (1 / spread.clamp(min=least)).float())
        self.layers = _map_layers(shape, wide, work) if len(shape) == 3 else _flat_layers(shape, wide, work)  # noqa: PLR2004

    def forward(self, tensor: torch.Tensor) -> torch.Tensor:
        made: torch.Tensor = self.layers((self._arranged(tensor).float() - self.centre) * self.scale)
        if tuple(made.shape[2:]) != self.work:
            made = functional.interpolate(made, size=self.work, mode="bilinear", align_corners=False)
        return made

    def _arranged(self, tensor: torch.Tensor) -> torch.Tensor:
        """Maps channels first, sequences as they are, all else flat."""
        if self.image:
            return tensor.permute(0, 3, 1, 2)
        if tensor.dim() == 4 and min(tensor.shape[2:]) > 1:  # noqa: PLR2004 - frames, channels, height, width
            return tensor
        return tensor if tensor.dim() == 3 else tensor.flatten(1)  # noqa: PLR2004 - frames, steps, features


def _map_layers(shape: Sequence[int], wide: int, work: tuple[int, int]) -> nn.Sequential:
    """Larger maps are folded together, smaller ones unfolded, whole numbers of times; the rest is interpolated."""
    channels, height, width = shape
    fold = max(1, min(round(height / work[0]), round(width / work[1])))
    if fold > 1:
        return nn.Sequential(nn.Conv2d(channels, wide, 2 * fold - 1, stride=fold, padding=fold - 1), nn.ReLU())
    unfold = max(1, -(-work[0] // height), -(-work[1] // width))
    first = nn.Conv2d(channels, 2 * wide, 3, padding=1)
    return nn.Sequential(first, nn.ReLU(), nn.Conv2d(2 * wide, wide * unfold**2, 1), nn.PixelShuffle(unfold), nn.ReLU())


def _flat_layers(shape: Sequence[int], wide: int, work: tuple[int, int]) -> nn.Sequential:
    """A vector, or a sequence whose steps are reduced first, becomes a map of half the decoder's size."""
    first: list[nn.Module] = []
    count = math.prod(shape)
    if len(shape) == 2 and count > MAX_SEQUENCE:  # noqa: PLR2004 - steps, features
        kept = max(1, MAX_SEQUENCE // shape[0])
        first = [nn.Linear(shape[1], kept), nn.ReLU()]
        count = shape[0] * kept
    half = (-(-work[0] // 2), -(-work[1] // 2))
    return nn.Sequential(
        *first,
        nn.Flatten(),
        nn.Linear(count, HIDDEN),
        nn.ReLU(),
        nn.Linear(HIDDEN, wide * math.prod(half)),
        nn.Unflatten(1, (wide, *half)),
        nn.ReLU(),
        nn.Conv2d(wide, 4 * wide, 1),
        nn.PixelShuffle(2),
        nn.ReLU(),
    )


def _is_image(shape: Sequence[int], frame: FrameSpec) -> bool:
    """Whether a tensor is the frame itself, or what its first nodes make of it: channels last."""
    return tuple(shape) == (*frame.size, frame.channels)
