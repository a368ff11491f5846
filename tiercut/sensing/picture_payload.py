"""Pictures in payloads: the file itself, a ``data:`` address or base64 text of it, or that within JSON."""

from __future__ import annotations

import binascii
import io
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tiercut.codecs.images import DAMAGED
from tiercut.model.preprocess import STRIP_PIXELS, large_picture
from tiercut.sensing.json_payload import PathReader
from tiercut.sensing.rejects import out_of_memory, rejected

if TYPE_CHECKING:
    from PIL import Image

#: Longest payload, in bytes. Frigate's snapshots have 20 to 300 kB.
MAX_IMAGE_BYTES = 16 * 1024 * 1024
#: Longest side, in pixels.
MAX_SIDE = 8192
#: Most memory that decoding one picture takes, in bytes: 4096x4096 pixels in 8 bytes each.
MAX_DECODING_BYTES = 128 * 1024 * 1024
FORMATS = ("JPEG", "PNG", "WEBP")

#: Bytes per pixel: what pillow decodes into, and the frame that is made of it.
_PICTURE, _FRAME = 4, 3
#: libwebp's two canvases, its own pixels, and what pillow makes of them.
_WEBP = 16
#: Chunks of PNG that pixels are made of. Texts and profiles, which can inflate to hundreds of MB, are omitted.
_PNG_CHUNKS = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})

#: How the three formats begin in base64.
_BASE64 = (b"/9j/", b"iVBORw0KGgo", b"UklGR")
_FIX = "let the sensor publish JPEG, PNG or WebP"


def picture_reader(paths: Sequence[str]) -> Callable[[bytes], NDArray[np.uint8]]:
    """What reads a picture; with a JSONPath, its text out of JSON.

    Raises:
        SettingsError: there are several paths, or one is none.
    """
    if not paths:
        return read_picture
    path = PathReader(paths, most=1)

    def within(payload: bytes) -> NDArray[np.uint8]:
        text = path.values(payload)[0]
        if not isinstance(text, str):
            raise rejected("bad_image", "a picture in base64", type(text).__name__, "correct json_path")
        return read_picture(text.encode("utf-8", "replace"))

    return within


def read_picture(payload: bytes) -> NDArray[np.uint8]:
    """``(height, width)`` or ``(height, width, 3)``, red first; ``BadMessage`` for what is no picture."""
    from PIL import Image  # noqa: PLC0415 - 3 MB that nodes without pictures spare

    if len(payload) > MAX_IMAGE_BYTES:
        raise rejected(
            "too_large", f"at most {MAX_IMAGE_BYTES} bytes", f"{len(payload)} bytes", "publish smaller pictures"
        )
    data = _plain(_file(payload))
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            _check_size(image)
            with large_picture(image.width * image.height):
                return _pixels(image)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_many("more than any sensor has", MAX_DECODING_BYTES // (_PICTURE + _FRAME + 1)) from error
    except MemoryError as error:
        raise out_of_memory(payload) from error
    except DAMAGED as error:
        came = f"{_beginning(data)}, {len(data)} bytes ({type(error).__name__})"
        raise rejected("bad_image", "a whole picture in JPEG, PNG or WebP", came, _FIX) from error


def _check_size(image: Image.Image) -> None:
    """Refuse what would take too much memory, before a pixel is decoded."""
    most = MAX_DECODING_BYTES // _pixel_bytes(image)
    if max(image.size) > MAX_SIDE or image.width * image.height > most:
        raise _too_many(f"{image.width}x{image.height} ({image.format})", most)


def _pixel_bytes(image: Image.Image) -> int:
    """Memory that decoding takes per pixel, at most."""
    from PIL.JpegImagePlugin import JpegImageFile  # noqa: PLC0415 - the same

    if image.format == "WEBP":
        return _WEBP
    coefficients = 0
    if isinstance(image, JpegImageFile):  # progressive ones have all of their coefficients in memory, 2 bytes each
        samples = [horizontal * vertical for _, horizontal, vertical, _ in image.layer]
        coefficients = -(-2 * sum(samples) // max(1, *samples))
    return _PICTURE + max(_FRAME + 1, coefficients)


def _pixels(image: Image.Image) -> NDArray[np.uint8]:
    """The frame, made in strips: as a whole, the picture would be in memory four times."""
    image.load()
    mode, channels = ("L", ()) if image.mode == "L" else ("RGB", (3,))
    made = np.empty((image.height, image.width, *channels), np.uint8)
    rows = max(1, STRIP_PIXELS // image.width)
    for top in range(0, image.height, rows):
        bottom = min(top + rows, image.height)
        made[top:bottom] = np.asarray(image.crop((0, top, image.width, bottom)).convert(mode))
    return made


def _plain(data: bytes) -> bytes:
    """The picture, of PNG only what pixels are made of."""
    if data[:8] != b"\x89PNG\r\n\x1a\n":
        return data
    kept, at = [data[:8]], 8
    while at < len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4])  # length, name, CRC
        if data[at + 4 : at + 8] in _PNG_CHUNKS:
            kept.append(data[at:end])
        at = end
    return b"".join(kept)


def _file(payload: bytes) -> bytes:
    """The picture's file out of text, where it is text."""
    text = payload
    if payload[:11].lower() == b"data:image/":
        _, comma, text = payload.partition(b",")
        if not comma or b";base64" not in payload[:64]:
            raise rejected("bad_image", "data:image/…;base64,…", "another data: address", _FIX)
    elif not payload.startswith(_BASE64):
        return payload
    try:
        return binascii.a2b_base64(text)
    except binascii.Error as error:
        raise rejected("bad_image", "a picture in base64", f"text that is none ({error})", _FIX) from error


def _too_many(came: str, most: int) -> Exception:
    expected = f"sides of at most {MAX_SIDE} pixels, and at most {most} pixels in all"
    return rejected("too_large", expected, came, "publish smaller pictures")


def _beginning(data: bytes) -> str:
    """What a person recognises a payload by."""
    if data[:2] == b"\xff\xd8":
        return "a damaged JPEG"
    if data[:4] == b"\x89PNG":
        return "a damaged PNG"
    return f"bytes that begin with {bytes(data[:12])!r}"
