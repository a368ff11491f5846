"""Four and two bits an element, by numpy alone; behind zstd they are ``int4+zstd`` and ``int2+zstd``.

Measured 2026-11-21 on EfficientNet-Lite0, ImageNet weights, crops of ten photographs, one core of an AMD EPYC (Zen 4).
What may stand behind the bits, in mean bytes of the elements alone, and ms to encode them:

| cut, tensor, bits | packed, zstd 1 | a byte each, zstd 1 | packed, zstd 19 | range coder | range coder per channel |
|---|---|---|---|---|---|
| 9, 16x112x112, 4 | 66,347 in 0.25 | 70,043 | 62,138 in 17 | 77,227 in 1.5 | 68,770 in 1.6 |
| 25, 40x28x28, 4 | 13,040 in 0.05 | 13,546 | 12,980 in 0.9 | 13,436 in 0.2 | 12,724 in 0.6 |
| 36, 80x14x14, 4 | 6,995 in 0.03 | 7,350 | 7,002 in 0.4 | 7,031 in 0.1 | 7,247 in 0.9 |
| 25, 40x28x28, 2 | 4,664 in 0.07 | 6,722 | 4,591 in 0.8 | 5,053 in 0.2 | 4,507 in 0.6 |

The range coder is that of constriction 0.5 with the histogram of all, or of each channel. It saves 3 % at best and
takes 4 to 30 times as long: no dependency for it. WebP and PNG of all channels side by side are no smaller. The
entropy with four neighbours as context would be 5 to 20 % lower, at some 20 calls of such a coder per tensor.

A range up to the outliers is right for 4 bits. For 2 bits they take the levels of all others: with ranges cut as
below, the logits of 80 crops are off by 0.26 instead of 0.37 at cut 48, for 16 % more bytes, and top-1 agrees for 88
instead of 78 %.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tiercut.codecs.base import DTYPES, Array, Bytes, refuse_tensor
from tiercut.codecs.plain import finite_peak, half_ulp
from tiercut.codecs.rows import RowCodec, max_rows, pack_bits, packed_length, shorten, unpack_bits, widen
from tiercut.errors import InputError

#: A byte of mode (0: one row, 1: rows) and a zero.
_HEAD = 2


class LowBits(RowCodec):
    """Few bits an element with a minimum and a step per row, ``value = low + step * q``, both as bfloat16.

    The minimum is rounded down and the step up, so that rounding them leaves no element outside of the range: a 0 that
    is a row's minimum stays exactly 0.

    Args:
        bits: 4 or 2.
        clipped: Whether a row's range is cut: to twice the standard deviation about its mean, or, where no element is
            negative, to three times the root mean square. What lies beyond becomes the range's end.
    """

    def __init__(self, bits: int, *, clipped: bool) -> None:
        self.name = f"int{bits}"
        self.bits = bits
        self.clipped = clipped

    def pack(self, array: Array) -> memoryview:
        """Mode, minima, steps, then the elements, in one buffer."""
        values = self.as_rows(array)
        low, step = self.scales(values)
        symbols = quantise(values, widen(low), widen(step), 2**self.bits)
        mode = np.array([len(values) > 1, 0], np.uint8)
        return np.concatenate([mode, low.view(np.uint8), step.view(np.uint8), pack_bits(symbols, self.bits)]).data

    def scales(self, values: Array) -> tuple[Array, Array]:
        """Minimum and step of each row, as bfloat16.

        Raises:
            InputError: a row holds what has no bounded error.
        """
        low, high = self.row_range(values)
        if self.clipped:
            low, high = clip_ranges(values, low, high)
        short = shorten(low, up=False)
        return short, shorten(min_step(widen(short), high, 2**self.bits - 1), up=True)

    def unpack(self, data: Bytes, dtype: str, shape: Sequence[int]) -> Array:
        """Widen, multiply, add."""
        raw = np.frombuffer(data, np.uint8)
        rows = read_mode(raw, shape)
        start = _HEAD + 4 * rows
        if raw.size != start + packed_length(math.prod(shape), self.bits):
            raise refuse_tensor("tensor_header", expected="a mode that fits the length", came=rows)
        low, step = read_scales(raw[_HEAD:start], rows, levels=2**self.bits)
        symbols = unpack_bits(raw[start:], math.prod(shape), self.bits).reshape(rows, -1)
        return scale_up(symbols, low, step).reshape(tuple(shape)).astype(DTYPES[dtype], copy=False)

    def packed_sizes(self, dtype: str, shape: Sequence[int]) -> tuple[int, ...]:
        """The bits, behind 6 bytes or 2 plus 4 a row."""
        del dtype
        length = packed_length(math.prod(shape), self.bits)
        return tuple(dict.fromkeys(_HEAD + 4 * rows + length for rows in (self.rows(shape), 1, max_rows(shape))))

    def error_bound(self, array: Array) -> float:
        """Half the largest step, or what is cut off; and the rounding. Infinite where `encode` refuses."""
        values = self.as_rows(array)
        try:
            low, step = map(widen, self.scales(values))
        except InputError:
            return math.inf
        wide = values.astype(np.float64)
        top = low.astype(np.float64) + step.astype(np.float64) * (2**self.bits - 1)
        beyond = float(max((wide.max(axis=1) - top).max(), (low - wide.min(axis=1)).max()))
        return max(float(step.max()) * 0.5001, beyond) + rounding(array)


def quantise(values: Array, low: Array, step: Array, levels: int) -> Array:
    """The nearest of ``low + step * q`` for q below ``levels``, per row."""
    # Truncating (x - (low - step/2)) / step rounds to the nearest q.
    start = (low.astype(np.float64) - step / 2.0).astype(np.float32)
    work = np.subtract(values, start[:, None])
    np.multiply(work, (1.0 / step.astype(np.float64)).astype(np.float32)[:, None], out=work)
    np.clip(work, 0, levels - 0.5, out=work)
    return work.astype(np.uint8)


def scale_up(symbols: Array, low: Array, step: Array) -> Array:
    """``low + step * q`` per row, in float32."""
    out = np.empty(symbols.shape, np.float32)
    np.copyto(out, symbols)
    np.multiply(out, step[:, None], out=out)
    np.add(out, low[:, None], out=out)
    return out


def clip_ranges(values: Array, low: Array, high: Array) -> tuple[Array, Array]:
    """The rows' ranges without their outliers, never wider than they were."""
    width = (high.astype(np.float64) - low).clip(2.0**-120)
    # In parts of the range, where squares neither overflow nor cancel.
    parts = (values - low[:, None]) * (1.0 / width).astype(np.float32)[:, None]
    mean = parts.mean(axis=1, dtype=np.float64)
    square = np.einsum("ij,ij->i", parts, parts).astype(np.float64) / parts.shape[1]
    spread = np.sqrt((square - mean**2).clip(0))
    start = np.where(low >= 0, 0.0, (mean - 2 * spread).clip(0))
    end = np.where(low >= 0, 3 * np.sqrt(square), mean + 2 * spread).clip(max=1)
    return (low + start * width).astype(np.float32), (low + end * width).astype(np.float32)


def min_step(low: Array, high: Array, steps: int | Array) -> Array:
    """The step from low to high, in float32, not so small that float32 could not tell the levels apart."""
    peak = np.maximum(np.abs(low), np.abs(high))
    # Of a denormal step the inverse would overflow.
    floor = np.maximum(2.0 * np.spacing(peak), 2.0**-120)
    return np.maximum((high.astype(np.float64) - low) / steps, floor).astype(np.float32)


def rounding(array: Array) -> float:
    """What the arithmetic of float32 costs, and the way back to float16."""
    peak = finite_peak(array) * 2  # the range may end beyond the largest element, by less than that
    return 16 * half_ulp(np.float32, peak) + (half_ulp(np.float16, peak) if array.dtype == np.float16 else 0.0)


def read_mode(raw: Array, shape: Sequence[int]) -> int:
    """Rows that a header says."""
    rows = {0: 1, 1: max_rows(shape) if len(shape) > 2 else 0}.get(int(raw[0]), 0)  # noqa: PLR2004 - N and C
    if not rows or raw[1]:
        raise refuse_tensor("tensor_header", expected="a mode of 0 or 1 and a zero", came=raw[:_HEAD].tobytes())
    return rows


def read_scales(raw: Array, rows: int, *, levels: int) -> tuple[Array, Array]:
    """Minima and steps as float32, such that no element can overflow."""
    low, step = widen(raw.view("<u2").reshape(2, rows))
    # Written so that NaN fails.
    if not (np.all(np.abs(low) <= 1.01e38) and np.all((step >= 0) & (step <= 2.1e38 / (levels - 1)))):  # noqa: PLR2004
        raise refuse_tensor("tensor_value", expected="finite minima, steps >= 0", came="others")
    return low, step
