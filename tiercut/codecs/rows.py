"""What codecs of few bits an element share: a scale per row, scales of 16 bits, several elements in a byte."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tiercut.codecs.base import Array, refuse_tensor
from tiercut.codecs.plain import PackedCodec
from tiercut.errors import InputError


class RowCodec(PackedCodec):
    """A codec of floats up to 32 bits that quantises rows of the first two axes, each in its own range.

    A row is a channel of NCHW or a token of NTC. Where rows have fewer than `min_row` elements, the whole tensor is
    one row.
    """

    #: Elements that one pair of scales must serve at least.
    min_row = 128
    #: Below this the scales are not worth it.
    min_elements = 64
    peak_limit = 1e38

    def accepts(self, dtype: str, shape: Sequence[int]) -> bool:
        """Floats up to 32 bits, of at least `min_elements`."""
        return dtype in {"float32", "float16"} and math.prod(shape) >= self.min_elements

    def rows(self, shape: Sequence[int]) -> int:
        """Pairs of scales that `pack` writes for a shape."""
        rows = max_rows(shape)
        return rows if math.prod(shape) >= rows * self.min_row else 1

    def as_rows(self, array: Array) -> Array:
        """The elements as float32 ``(rows, elements)``."""
        return np.ascontiguousarray(array, dtype="<f4").reshape(self.rows(array.shape), -1)

    def row_range(self, values: Array) -> tuple[Array, Array]:
        """Minimum and maximum of each row.

        Raises:
            InputError: a row holds NaN, an infinity or a magnitude above 1e38.
        """
        low, high = values.min(axis=1), values.max(axis=1)
        if not np.all(np.maximum(np.abs(low), np.abs(high)) <= self.peak_limit):  # NaN compares false
            raise InputError(
                f"codec '{self.name}' does not take this tensor",
                expected=f"finite elements of at most {self.peak_limit:g}",
                came=f"{float(low.min())} to {float(high.max())}",
                fix="look for the layer that overflows, or send it with 'raw'",
            )
        return low, high


def max_rows(shape: Sequence[int]) -> int:
    """Rows of the first two axes; 1 where there is nothing behind them."""
    return math.prod(shape[:2]) if len(shape) > 2 else 1  # noqa: PLR2004 - N and C


def shorten(values: Array, *, up: bool) -> Array:
    """Float32 as the upper half of its bits (bfloat16) in uint16, rounded up, or down.

    The range stays that of float32, which float16 does not have, at a precision of 2^-7.
    """
    bits = values.astype("<f4").view("<u4")
    inexact = (bits & 0xFFFF) != 0
    away_from_zero = inexact & ((bits >> 31 == 0) == up)
    halves: Array = ((bits >> 16) + away_from_zero).astype("<u2")
    return halves


def widen(halves: Array) -> Array:
    """The float32 of such halves."""
    return (halves.astype("<u4") << 16).view("<f4")


def packed_length(count: int, bits: int) -> int:
    """Bytes that pack a number of elements."""
    return -(-count * bits // 8)


def pack_bits(symbols: Array, bits: int) -> Array:
    """Elements below ``2 ** bits`` side by side in bytes, the first in the lowest bits; 2, 4 or 8 bits each.

    Neighbours share a byte, as neighbours are alike and zstd then finds the same bytes again.
    """
    flat = symbols.reshape(-1)
    if bits == 8:  # noqa: PLR2004 - a byte
        return flat
    group = 8 // bits
    if flat.size % group:
        flat = np.concatenate([flat, np.zeros(-flat.size % group, np.uint8)])
    words = np.ascontiguousarray(flat).view(f"<u{group}")
    packed = words.copy()
    for place in range(1, group):
        packed |= words >> (place * (8 - bits))
    lowest: Array = packed.astype(np.uint8)
    return lowest


def unpack_bits(packed: Array, count: int, bits: int) -> Array:
    """The elements again; ``BadTensor`` where bits behind the last one are set."""
    if bits == 8:  # noqa: PLR2004 - a byte
        return packed
    group = 8 // bits
    words = packed.astype(f"<u{group}")
    spread = words.copy()
    for place in range(1, group):
        spread |= words << (place * (8 - bits))
    symbols = spread.view(np.uint8) & np.uint8(2**bits - 1)
    if symbols[count:].any():
        raise refuse_tensor("tensor_value", expected="zeros behind the last element", came="others")
    return symbols[:count]
