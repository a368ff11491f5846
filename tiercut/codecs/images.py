"""Codecs of camera frames at cut 0, by Pillow: ``png``, ``jpeg`` and ``webp`` in several qualities."""

from __future__ import annotations

import io
import math
import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tiercut.codecs.base import Array, Bytes, check_fits, check_input, declared_bytes, refuse_tensor
from tiercut.codecs.headers import ImageSize, jpeg_size, png_size, webp_size

#: Longest side, in pixels, that all three formats can carry.
MAX_SIDE = 16383

#: What Pillow is known to raise on damaged files.
DAMAGED = (OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, RuntimeError, struct.error, zlib.error)


class ImageCodec:
    """uint8 frames, ``(height, width, channels)`` or ``(views, height, width, channels)`` with 1 or 3 channels, RGB.

    Several views stand below each other in one picture.

    Attributes:
        name: What plans and messages call it: Pillow's name of the format, and a quality where there are several.
        form: Pillow's name of the format.
        lossless: Decoding gives the frame back bit for bit.
        bytes_per_element: What `estimate_bytes` multiplies by. Nine photographs of 224x224 took 0.05 to 0.15, 0.31 to
            0.72 and 0.04 to 0.12 as `jpeg`, `png` and `webp`.
    """

    def __init__(
        self,
        name: str,
        size_of: Callable[[bytes], ImageSize],
        *,
        lossless: bool,
        bytes_per_element: float,
        settings: Mapping[str, Any],
    ) -> None:
        self.name = name
        self.form = name.partition("-")[0]
        self.lossless = lossless
        self.bytes_per_element = bytes_per_element
        self._size_of = size_of
        self._settings = settings

    def accepts(self, dtype: str, shape: Sequence[int]) -> bool:
        """One uint8 frame, or several views, channels last."""
        return (
            dtype == "uint8"
            and len(shape) in {3, 4}
            and shape[-1] in {1, 3}
            and all(1 <= side <= MAX_SIDE for side in _picture(shape)[:2])
        )

    def encode(self, array: Array) -> bytes:
        """The frame as a file; ``InputError`` for an array that is no frame."""
        from PIL import Image  # noqa: PLC0415 - 3 MB that nodes without pictures spare

        check_input(self, array)
        height, width, channels = _picture(array.shape)
        pixels = np.ascontiguousarray(array).reshape((height, width) if channels == 1 else (height, width, 3))
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, self.form, **self._settings)
        return file.getvalue()

    def decode(self, data: Bytes, *, dtype: str, shape: Sequence[int]) -> Array:
        """The frame; ``BadTensor`` for a file of another format or size, found before a pixel is decoded."""
        from PIL import Image  # noqa: PLC0415 - 3 MB that nodes without pictures spare

        declared_bytes(dtype, shape)
        check_fits(self, dtype, shape)
        data = bytes(data)
        height, width, channels = _picture(shape)
        size = self._size_of(data)
        # WebP has no grey: three equal channels stand for it.
        if (size.height, size.width) != (height, width) or size.channels != (3 if self.form == "webp" else channels):
            raise refuse_tensor("image_header", expected=f"{height}x{width}x{channels} in the file", came=size)
        try:
            with Image.open(io.BytesIO(data), formats=[self.form]) as image:
                if image.size != (width, height):
                    raise refuse_tensor("image_header", expected=f"{(width, height)}", came=image.size)
                pixels = np.asarray(image.convert("L" if channels == 1 else "RGB"))
        except (*DAMAGED, Image.DecompressionBombError) as error:
            raise refuse_tensor("image_damaged", expected=f"a whole {self.form} file", came=error) from error
        return pixels.reshape(tuple(shape))

    def estimate_bytes(self, dtype: str, shape: Sequence[int]) -> int:
        """Typical bytes of a photograph; half to twice as many are common."""
        return round(declared_bytes(dtype, shape) * self.bytes_per_element) + 600

    def error_bound(self, array: Array) -> float:
        """0 for PNG; the others promise nothing for a single pixel, so infinite."""
        del array
        return 0.0 if self.lossless else math.inf


def jpeg(name: str, quality: int, bytes_per_element: float, *, optimize: bool = False) -> ImageCodec:
    """JPEG of a quality."""
    settings: dict[str, Any] = {"quality": quality} | ({"optimize": True} if optimize else {})
    return ImageCodec(name, jpeg_size, lossless=False, bytes_per_element=bytes_per_element, settings=settings)


def png(name: str, bytes_per_element: float) -> ImageCodec:
    """PNG, packed quickly."""
    settings = {"compress_level": 1}
    return ImageCodec(name, png_size, lossless=True, bytes_per_element=bytes_per_element, settings=settings)


def webp(name: str, quality: int, bytes_per_element: float) -> ImageCodec:
    """Lossy WebP of a quality, packed quickly."""
    settings = {"quality": quality, "method": 0}
    return ImageCodec(name, webp_size, lossless=False, bytes_per_element=bytes_per_element, settings=settings)


def _picture(shape: Sequence[int]) -> tuple[int, int, int]:
    """Height, width and channels of the one picture that carries a tensor."""
    views = shape[0] if len(shape) > 3 else 1  # noqa: PLR2004 - height, width, channels
    return views * shape[-3], shape[-2], shape[-1]
