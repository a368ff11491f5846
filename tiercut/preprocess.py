"""How a frame of a sensor becomes the input of a model: cut and resized here, normalised inside the graph."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from tiercut.cuts import ITEM_BYTES
from tiercut.errors import InputError, SettingsError

if TYPE_CHECKING:
    from numpy.typing import NDArray

FrameKind = Literal["image", "tensor"]
Resize = Literal["crop", "stretch"]
FRAME_KINDS: tuple[FrameKind, ...] = get_args(FrameKind)
RESIZES: tuple[Resize, ...] = get_args(Resize)

GREY, COLOUR = 1, 3
#: Files in a folder that are taken for pictures.
IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"})


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameSpec:
    """What a model takes for a frame.

    The input of the graph for images is uint8 of shape ``(1, height, width, channels)``; mean and std are applied by
    the graph's first nodes, so that a frame sent on at cut 0 is as small as it can be.

    Attributes:
        kind: ``image`` resizes photographs; ``tensor`` takes arrays of exactly ``shape`` and ``dtype``.
        size: Height and width of the image in pixels.
        channels: 3 for red, green, blue; 1 for grey.
        resize: ``crop`` cuts out the centre and keeps proportions, ``stretch`` takes all of the frame.
        crop_ratio: Part of the largest centred rectangle of the right proportions that ``crop`` keeps.
        mean: Subtracted in the graph, on the scale 0 to 255; one value, or one per channel.
        std: Divided by afterwards, same form.
        shape: Shape of the array; for images it follows from ``size``.
        dtype: Its element type; for images ``uint8``.
    """

    kind: FrameKind = "image"
    size: tuple[int, int] = (224, 224)
    channels: int = COLOUR
    resize: Resize = "crop"
    crop_ratio: float = 1.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    shape: tuple[int, ...] = ()
    dtype: str = "uint8"

    def __post_init__(self) -> None:
        if self.kind not in FRAME_KINDS:
            raise _wrong("kind", f"one of {FRAME_KINDS}", self.kind)
        if self.kind == "tensor":
            if self.dtype not in ITEM_BYTES or any(n < 0 for n in self.shape):
                raise _wrong("dtype and shape", "an element type and dimensions >= 0", f"{self.dtype}{self.shape}")
            return
        self._check_image()
        object.__setattr__(self, "shape", (1, *self.size, self.channels))
        object.__setattr__(self, "dtype", "uint8")

    def _check_image(self) -> None:
        if len(self.size) != 2 or min(self.size) < 1:  # noqa: PLR2004 - height and width
            raise _wrong("size", "height and width >= 1", self.size)
        if self.channels not in (GREY, COLOUR):
            raise _wrong("channels", "1 or 3", self.channels)
        if self.resize not in RESIZES:
            raise _wrong("resize", f"one of {RESIZES}", self.resize)
        if not 0 < self.crop_ratio <= 1:
            raise _wrong("crop_ratio", "more than 0, at most 1", self.crop_ratio)
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) not in (1, self.channels) or not all(map(math.isfinite, values)):
                raise _wrong(name, f"one finite number, or {self.channels}", values)
        if min(self.std) <= 0:
            raise _wrong("std", "numbers > 0", self.std)

    def to_input(self, frame: NDArray[np.generic]) -> NDArray[np.generic]:
        """Turn a frame into the model's input.

        Args:
            frame: For images uint8 of shape ``(height, width)`` or ``(height, width, 1, 3 or 4)``, red first; a
                fourth channel is dropped. Else an array of ``shape`` and ``dtype``.

        Returns:
            An array of ``shape`` and ``dtype``.

        Raises:
            InputError: the frame is no such array.
        """
        if self.kind == "tensor":
            if frame.shape != self.shape or frame.dtype.name != self.dtype:
                raise _unfit(f"{self.dtype}{list(self.shape)}", frame)
            return np.ascontiguousarray(frame)
        return self._image_input(_as_pixels(frame))

    def _image_input(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Resize ``(height, width)`` or ``(height, width, 3)``, bicubic, as EfficientNet-Lite was evaluated."""
        from PIL import Image  # noqa: PLC0415 - a stream of tensors needs no pillow

        height, width = self.size
        image = Image.fromarray(pixels).convert("L" if self.channels == GREY else "RGB")
        box = self._box(image.width, image.height)
        if box != (0, 0, *image.size):
            image = image.crop(box)  # not resize's own box, which lets pixels outside of it shine through
        if image.size != (width, height):
            image = image.resize((width, height), Image.Resampling.BICUBIC)
        return np.asarray(image, dtype=np.uint8).reshape(self.shape)

    def _box(self, width: int, height: int) -> tuple[int, int, int, int]:
        """Left, top, right and bottom of the part of a frame that is used, in whole pixels."""
        if self.resize == "stretch":
            return (0, 0, width, height)
        scale = self.crop_ratio * min(width / self.size[1], height / self.size[0])
        used_width, used_height = (max(1, round(side * scale)) for side in reversed(self.size))
        left, top = (width - used_width + 1) // 2, (height - used_height + 1) // 2
        return (left, top, left + used_width, top + used_height)


def _as_pixels(frame: NDArray[np.generic]) -> NDArray[np.uint8]:
    """The frame as pillow takes it: without an axis of one channel, without transparency."""
    channels = frame.shape[2] if frame.ndim == 3 else 1  # noqa: PLR2004 - height, width, channels
    if frame.dtype != np.uint8 or frame.ndim not in (2, 3) or channels not in (1, 3, 4) or 0 in frame.shape:
        raise _unfit("uint8[height, width, 3] or uint8[height, width]", frame)
    pixels = frame.astype(np.uint8, copy=False)
    if pixels.ndim == 3:  # noqa: PLR2004
        pixels = pixels[:, :, 0] if channels == 1 else pixels[:, :, :3]
    return np.ascontiguousarray(pixels)


def _wrong(field: str, expected: str, came: object) -> SettingsError:
    return SettingsError(
        f"a frame's '{field}' is not valid", expected=expected, came=str(came), fix="correct the preprocessing"
    )


def _unfit(expected: str, frame: NDArray[np.generic]) -> InputError:
    came = f"{frame.dtype.name}{list(frame.shape)}"
    return InputError("a frame does not fit the model", expected=expected, came=came, fix="correct the sensor")
