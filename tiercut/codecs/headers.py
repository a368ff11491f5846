"""What an image says about itself, read from its bytes alone, so that nothing is decoded that does not fit.

Pillow's own check against bombs is a warning at 89 megapixels and an error at twice that: far above a frame that a
model takes. It also follows containers (animation, profiles, compressed text) that a frame never needs. These readers
take the plain form of each format and refuse the rest, trailing bytes included.
"""

from __future__ import annotations

from dataclasses import dataclass

from tiercut.codecs.base import refuse_tensor
from tiercut.errors import BadTensor


@dataclass(frozen=True, slots=True)
class ImageSize:
    """Size of an image in pixels, and its channels: 1 grey, 3 colour."""

    height: int
    width: int
    channels: int


def _refuse(expected: str, came: object) -> BadTensor:
    return refuse_tensor("image_header", expected=expected, came=came)


def jpeg_size(data: bytes) -> ImageSize:
    """Size of a sequential 8-bit JPEG (ITU-T T.81), up to its one EOI marker at the end.

    Progressive files are refused: each of their many scans costs a pass over the whole image.
    """
    if data[:2] != b"\xff\xd8":
        raise _refuse("a JPEG's first marker", data[:2])
    at, size = 2, None
    while at + 4 <= len(data) and data[at] == 0xFF:  # noqa: PLR2004 - every marker starts so
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4])
        if marker == 0xDA:  # noqa: PLR2004 - SOS: entropy coded data follow, in which FF D9 cannot occur
            break
        if marker in {0xC0, 0xC1} and size is None and length >= 8:  # noqa: PLR2004 - SOF0, SOF1
            size = _jpeg_frame(data[at + 4 : at + 2 + length])
        elif not (0xE0 <= marker <= 0xEF or marker in {0xC4, 0xDB, 0xDD, 0xFE}):  # noqa: PLR2004 - APPn, DHT ... COM
            raise _refuse("a sequential JPEG with one frame", f"marker {marker:02x}")
        at += 2 + length
    if size is None or data.find(b"\xff\xd9", at) != len(data) - 2:
        raise _refuse("one frame, and one end marker at the end", f"{len(data)} bytes")
    return size


def _jpeg_frame(segment: bytes) -> ImageSize:
    precision, channels = segment[0], segment[5]
    if precision != 8 or channels not in {1, 3}:  # noqa: PLR2004 - bits
        raise _refuse("8 bits and 1 or 3 channels", f"{precision} bits, {channels} channels")
    return ImageSize(int.from_bytes(segment[1:3]), int.from_bytes(segment[3:5]), channels)


#: Chunks of a plain still image; those with compressed text or profiles inflate to whatever they like.
PNG_CHUNKS = frozenset({b"IHDR", b"IDAT", b"IEND", b"gAMA", b"cHRM", b"sRGB", b"pHYs", b"tEXt", b"tIME"})


def png_size(data: bytes) -> ImageSize:
    """Size of an 8-bit grey or RGB PNG (ISO/IEC 15948) without interlacing, its chunks walked to the last."""
    if data[:8] != b"\x89PNG\r\n\x1a\n":
        raise _refuse("a PNG's signature", data[:8])
    at, names = 8, []
    while at + 12 <= len(data):
        length, name = int.from_bytes(data[at : at + 4]), data[at + 4 : at + 8]
        if name not in PNG_CHUNKS:
            raise _refuse("a plain still PNG", name)
        names.append(name)
        at += 12 + length
    ends = names[:1] == [b"IHDR"] and names[-1:] == [b"IEND"] and b"IDAT" in names
    if not ends or at != len(data) or names.count(b"IHDR") != 1 or names.count(b"IEND") != 1:
        raise _refuse("IHDR, IDAT and IEND, then the end", names[:6])
    depth, colour, interlace = data[24], data[25], data[28]
    if int.from_bytes(data[8:12]) != 13 or depth != 8 or colour not in {0, 2} or interlace:  # noqa: PLR2004
        raise _refuse("8 bits, grey or RGB, not interlaced", data[8:29])
    return ImageSize(int.from_bytes(data[20:24]), int.from_bytes(data[16:20]), 3 if colour else 1)


def webp_size(data: bytes) -> ImageSize:
    """Size of a WebP with one lossy key frame (RFC 9649 section 2.5), nothing before or after it."""
    length = int.from_bytes(data[16:20], "little")
    if data[:4] != b"RIFF" or data[8:16] != b"WEBPVP8 " or data[23:26] != b"\x9d\x01\x2a":
        raise _refuse("a simple lossy WebP", data[:16])
    if int.from_bytes(data[4:8], "little") + 8 != len(data) or 20 + length + length % 2 != len(data):
        raise _refuse("a WebP of one chunk up to the end", f"{len(data)} bytes")
    # The upper two bits of each ask the reader to scale.
    width, height = int.from_bytes(data[26:28], "little"), int.from_bytes(data[28:30], "little")
    if (width | height) >> 14:
        raise _refuse("a WebP without scaling", (width, height))
    return ImageSize(height, width, 3)
