"""How a frame of a sensor becomes the input of a model: cut and resized here, normalised inside the graph.

A window of a signal is laid out here; `tiercut.sensing` makes windows of what sensors give.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from tiercut.errors import InputError, SettingsError
from tiercut.model.cuts import ITEM_BYTES

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

FrameKind = Literal["image", "signal", "tensor"]
Resize = Literal["crop", "stretch"]
Layout = Literal["channels_first", "channels_last", "flat"]
FRAME_KINDS: tuple[FrameKind, ...] = get_args(FrameKind)
RESIZES: tuple[Resize, ...] = get_args(Resize)
LAYOUTS: tuple[Layout, ...] = get_args(Layout)

GREY, COLOUR = 1, 3
#: Files in a folder that are taken for pictures.
IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"})

#: Pictures above are handled one at a time in a process, each in some 7 bytes per pixel.
LARGE_PIXELS = 4 * 1024 * 1024
#: Pictures with a longer side are first averaged down: filters of that length would take hundreds of MB.
MAX_FILTERED_SIDE = 8192
#: What is copied at a time between numpy and pillow, in pixels.
STRIP_PIXELS = 512 * 1024

_large = threading.Lock()


@contextmanager
def large_picture(pixels: int) -> Iterator[None]:
    """Wait for the turn to handle a picture, if it is large; not to be nested."""
    if pixels <= LARGE_PIXELS:
        yield
        return
    with _large:
        yield


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameSpec:
    """What a model takes for a frame.

    The input of the graph for images is uint8 of shape ``(views, height, width, channels)``; mean and std are applied
    by the graph's first nodes, so that a frame sent on at cut 0 is as small as it can be. For signals it is float32, a
    window of samples laid out as ``layout`` says.

    Attributes:
        kind: ``image`` resizes photographs; ``signal`` takes windows of samples; ``tensor`` takes arrays of exactly
            ``shape`` and ``dtype``.
        size: Height and width of the image in pixels.
        views: Images: how many the model takes at once, one of each of as many cameras.
        channels: Images: 3 for red, green, blue; 1 for grey. Signals: how many values a sample has.
        resize: ``crop`` cuts out the centre and keeps proportions, ``stretch`` takes all of the frame.
        crop_ratio: Part of the largest centred rectangle of the right proportions that ``crop`` keeps.
        mean: Subtracted in the graph, on the scale 0 to 255; one value, or one per channel.
        std: Divided by afterwards, same form.
        samples: Signals: length of a window.
        rate_hz: Signals: samples per second.
        channel_names: Signals: names of the channels, in the model's order; empty where they have none.
        units: Signals: the channels' units, one for all or one each; empty where not given.
        layout: Signals: ``channels_first`` is ``(1, channels, samples)``, ``channels_last`` ``(1, samples, channels)``,
            ``flat`` ``(1, samples)`` of the one channel.
        shape: Shape of the array; for images and signals it follows from the others.
        dtype: Its element type; for images ``uint8``, for signals ``float32``.
    """

    kind: FrameKind = "image"
    size: tuple[int, int] = (224, 224)
    views: int = 1
    channels: int = COLOUR
    resize: Resize = "crop"
    crop_ratio: float = 1.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    samples: int = 0
    rate_hz: float = 0.0
    channel_names: tuple[str, ...] = ()
    units: tuple[str, ...] = ()
    layout: Layout = "channels_first"
    shape: tuple[int, ...] = ()
    dtype: str = "uint8"

    def __post_init__(self) -> None:
        if self.kind not in FRAME_KINDS:
            raise _wrong("kind", f"one of {FRAME_KINDS}", self.kind)
        if self.kind == "tensor":
            if self.dtype not in ITEM_BYTES or any(n < 0 for n in self.shape):
                raise _wrong("dtype and shape", "an element type and dimensions >= 0", f"{self.dtype}{self.shape}")
        elif self.kind == "signal":
            if self.channel_names:
                object.__setattr__(self, "channels", len(self.channel_names))
            self._check_signal()
            if len(self.units) == 1:
                object.__setattr__(self, "units", self.units * self.channels)
            object.__setattr__(self, "shape", self._signal_shape())
            object.__setattr__(self, "dtype", "float32")
        else:
            self._check_image()
            object.__setattr__(self, "shape", (self.views, *self.size, self.channels))
            object.__setattr__(self, "dtype", "uint8")

    def _signal_shape(self) -> tuple[int, ...]:
        shapes = {"channels_first": (1, self.channels, self.samples), "flat": (1, self.samples)}
        return shapes.get(self.layout, (1, self.samples, self.channels))

    def _check_signal(self) -> None:
        if self.samples < 1:
            raise _wrong("samples", "1 or more", self.samples)
        if not 0 < self.rate_hz < math.inf:
            raise _wrong("rate_hz", "samples per second, more than 0", self.rate_hz)
        if self.channels < 1:
            raise _wrong("channels", "1 or more", self.channels)
        if len(set(self.channel_names)) < len(self.channel_names) or "" in self.channel_names:
            raise _wrong("channel_names", "a name of its own for each channel", self.channel_names)
        if len(self.units) not in {0, 1, self.channels}:
            raise _wrong("units", f"none, one for all, or {self.channels}", self.units)
        if self.layout not in LAYOUTS:
            raise _wrong("layout", f"one of {LAYOUTS}", self.layout)
        if self.layout == "flat" and self.channels > 1:
            raise _wrong("layout", "channels_first or channels_last for several channels", self.layout)

    def _check_image(self) -> None:
        if len(self.size) != 2 or min(self.size) < 1:  # noqa: PLR2004 - height and width
            raise _wrong("size", "height and width >= 1", self.size)
        if self.views < 1:
            raise _wrong("views", "1 or more", self.views)
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
                fourth channel is dropped. With several ``views`` these stand one after the other in a further
                dimension before. For signals numbers of shape ``(samples, channels)`` in the model's rate, order and
                units; ``(samples,)`` does for one channel. Else an array of ``shape`` and ``dtype``.

        Returns:
            An array of ``shape`` and ``dtype``.

        Raises:
            InputError: the frame is no such array.
        """
        if self.kind == "image" and self.takes_as_is(frame):
            return np.ascontiguousarray(frame).reshape(self.shape)
        if self.kind == "tensor":
            if frame.shape != self.shape or frame.dtype.name != self.dtype:
                raise _unfit(f"{self.dtype}{list(self.shape)}", frame)
            return np.ascontiguousarray(frame)
        if self.kind == "signal":
            return self._signal_input(frame)
        if self.views == 1:
            return self._image_input(_as_pixels(frame))[None]
        if frame.ndim < 3 or len(frame) != self.views:  # noqa: PLR2004 - views, height, width
            raise _unfit(f"{self.views} images as uint8[{self.views}, height, width, 3]", frame)
        return np.stack([self._image_input(_as_pixels(view)) for view in frame])

    def takes_as_is(self, frame: NDArray[np.generic]) -> bool:
        """Whether a frame is the model's input but for its layout: making it that costs next to nothing."""
        if self.kind != "image":
            return True
        full = self.resize == "stretch" or self.crop_ratio == 1
        return full and frame.dtype == np.uint8 and frame.shape == (*self.size, self.channels) and self.views == 1

    def _signal_input(self, frame: NDArray[np.generic]) -> NDArray[np.float32]:
        if self.channels == 1 and frame.ndim == 1:
            frame = frame[:, None]
        if frame.shape != (self.samples, self.channels) or frame.dtype.kind not in "fiu":
            raise _unfit(f"float32[{self.samples}, {self.channels}] (samples, channels)", frame)
        window = frame.T if self.layout == "channels_first" else frame
        return np.ascontiguousarray(window, dtype=np.float32).reshape(self.shape)

    def _image_input(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Resize ``(height, width)`` or ``(height, width, 3)``, bicubic, as EfficientNet-Lite was evaluated."""
        height, width = self.size
        try:
            with large_picture(pixels.shape[0] * pixels.shape[1]):
                image = _image(pixels, "L" if self.channels == GREY else "RGB")
                box = self._box(image.width, image.height)
                if box != (0, 0, *image.size):
                    image = image.crop(box)  # not resize's own box, which lets pixels outside of it shine through
                if image.size != (width, height):
                    image = _resized(image, width, height)
                return np.asarray(image, dtype=np.uint8).reshape(*self.size, self.channels)
        except MemoryError as error:
            raise _unfit("a picture that the memory of this node can hold", pixels) from error

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
    return pixels


def _image(pixels: NDArray[np.uint8], mode: Literal["L", "RGB"]) -> Image.Image:
    """The frame as pillow has it, copied in strips: as a whole it would be in memory three times."""
    from PIL import Image  # noqa: PLC0415 - a stream of tensors needs no pillow

    height, width = pixels.shape[:2]
    rows = max(1, STRIP_PIXELS // width)
    if height <= rows:
        return Image.fromarray(np.ascontiguousarray(pixels)).convert(mode)
    image = Image.new(mode, (width, height))
    for top in range(0, height, rows):
        strip = Image.fromarray(np.ascontiguousarray(pixels[top : top + rows]))
        image.paste(strip.convert(mode), (0, top))
    return image


def _resized(image: Image.Image, width: int, height: int) -> Image.Image:
    """Bicubic; of a very long picture only after averaging, which leaves 3 to 6 pixels for each one."""
    from PIL import Image  # noqa: PLC0415

    gap = 3.0 if max(image.size) > MAX_FILTERED_SIDE else None
    return image.resize((width, height), Image.Resampling.BICUBIC, reducing_gap=gap)


def _wrong(field: str, expected: str, came: object) -> SettingsError:
    return SettingsError(
        f"a frame's '{field}' is not valid", expected=expected, came=str(came), fix="correct the preprocessing"
    )


def _unfit(expected: str, frame: NDArray[np.generic]) -> InputError:
    came = f"{frame.dtype.name}{list(frame.shape)}"
    return InputError("a frame does not fit the model", expected=expected, came=came, fix="correct the sensor")
