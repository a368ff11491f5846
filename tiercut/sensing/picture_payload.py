"""Pictures in payloads: the file itself, a ``data:`` address or base64 text of it, or that within JSON."""

from __future__ import annotations

import binascii
import io
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tiercut.codecs.images import DAMAGED
from tiercut.sensing.json_payload import PathReader
from tiercut.sensing.spoiling import bad

#: Longest payload, in bytes. Frigate's snapshots have 20 to 300 kB.
MAX_IMAGE_BYTES = 16 * 1024 * 1024
#: Most pixels: 4096x4096, 50 MB of memory in colour.
MAX_PIXELS = 4096 * 4096
FORMATS = ("JPEG", "PNG", "WEBP")

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
            raise bad("bad_image", "a picture in base64", type(text).__name__, "correct json_path")
        return read_picture(text.encode("utf-8", "replace"))

    return within


def read_picture(payload: bytes) -> NDArray[np.uint8]:
    """``(height, width)`` or ``(height, width, 3)``, red first; ``BadMessage`` for what is no picture."""
    if len(payload) > MAX_IMAGE_BYTES:
        raise bad("too_large", f"at most {MAX_IMAGE_BYTES} bytes", f"{len(payload)} bytes", "publish smaller pictures")
    data = _file(payload)
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise _too_many(f"{image.width}x{image.height}")
            pixels: NDArray[Any] = np.asarray(image if image.mode == "L" else image.convert("RGB"))
    except Image.DecompressionBombError as error:
        raise _too_many("more than any sensor has") from error
    except (*DAMAGED, Image.DecompressionBombWarning) as error:
        came = f"{_beginning(data)}, {len(data)} bytes ({type(error).__name__})"
        raise bad("bad_image", "a whole picture in JPEG, PNG or WebP", came, _FIX) from error
    return pixels.astype(np.uint8, copy=False)


def _file(payload: bytes) -> bytes:
    """The picture's file out of text, where it is text."""
    text = payload
    if payload[:11].lower() == b"data:image/":
        _, comma, text = payload.partition(b",")
        if not comma or b";base64" not in payload[:64]:
            raise bad("bad_image", "data:image/…;base64,…", "another data: address", _FIX)
    elif not payload.startswith(_BASE64):
        return payload
    try:
        return binascii.a2b_base64(text)
    except binascii.Error as error:
        raise bad("bad_image", "a picture in base64", f"text that is none ({error})", _FIX) from error


def _too_many(came: str) -> Exception:
    return bad("too_large", f"at most {MAX_PIXELS} pixels", came, "publish smaller pictures")


def _beginning(data: bytes) -> str:
    """What a person recognises a payload by."""
    if data[:2] == b"\xff\xd8":
        return "a damaged JPEG"
    if data[:4] == b"\x89PNG":
        return "a damaged PNG"
    return f"bytes that begin with {bytes(data[:12])!r}"
