"""Codecs of plain numbers, by numpy alone: ``raw``, ``fp16``, and what ``int8`` shares with them."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

from tiercut.codecs.base import DTYPES, Array, Bytes, check_fits, check_input, declared_bytes, refuse_tensor

#: Largest finite float16.
MAX_FP16 = 65504.0


def half_ulp(dtype: type[np.floating], magnitude: float) -> float:
    """Half the distance between the floats of a type around a magnitude: the most that rounding to it costs."""
    info = np.finfo(dtype)
    exponent = max(math.frexp(magnitude)[1] - 1, int(info.minexp))
    return math.ldexp(0.5, exponent - int(info.nmant))


def finite_peak(array: Array) -> float:
    """Largest absolute finite element as a float, 0 for none."""
    finite = array[np.isfinite(array)]
    return float(np.abs(finite).max()) if finite.size else 0.0


def in_words(sizes: Sequence[int]) -> str:
    """Lengths for a message: all of a few, else the first and the last."""
    return f"{sizes[0]} to {sizes[-1]}" if isinstance(sizes, range) else " or ".join(map(str, sizes))


class PackedCodec(ABC):
    """A codec in two halves, so that a compressor can stand behind it without a copy in between.

    Attributes:
        name: What plans and messages call it.
        lossless: Decoding gives the array back bit for bit.
    """

    name: str
    lossless = False

    def accepts(self, dtype: str, shape: Sequence[int]) -> bool:
        """Whether arrays of this type and shape can be encoded."""
        del shape
        return dtype in DTYPES

    @abstractmethod
    def pack(self, array: Array) -> memoryview:
        """The array's bytes, not yet copied out of their buffer; the array was checked."""

    def blocks(self, array: Array) -> tuple[memoryview, ...]:
        """The same bytes in parts that a compressor does well to treat apart."""
        return (self.pack(array),)

    @abstractmethod
    def unpack(self, data: Bytes, dtype: str, shape: Sequence[int]) -> Array:
        """The array of bytes whose length is one of `packed_sizes`."""

    @abstractmethod
    def packed_sizes(self, dtype: str, shape: Sequence[int]) -> Sequence[int]:
        """Every length that `pack` may give; the first of several is what it gives by itself."""

    @abstractmethod
    def error_bound(self, array: Array) -> float:
        """The most that any finite element of this array may be off after the way there and back."""

    def encode(self, array: Array) -> bytes:
        """The array as bytes; ``InputError`` for one that the codec does not accept."""
        check_input(self, array)
        return bytes(self.pack(array))

    def decode(self, data: Bytes, *, dtype: str, shape: Sequence[int]) -> Array:
        """The array back; ``BadTensor`` for bytes that are not exactly one such array."""
        declared_bytes(dtype, shape)
        check_fits(self, dtype, shape)
        if len(data) not in self.packed_sizes(dtype, shape):
            sizes = in_words(self.packed_sizes(dtype, shape))
            raise refuse_tensor("tensor_size", expected=f"{sizes} bytes of '{self.name}'", came=len(data))
        return self.unpack(data, dtype, shape)

    def estimate_bytes(self, dtype: str, shape: Sequence[int]) -> int:
        """Bytes that `encode` gives, exactly."""
        return self.packed_sizes(dtype, shape)[0]


def flat_bytes(array: Array) -> memoryview:
    """The bytes of a contiguous array, as they lie in memory."""
    return array.reshape(-1).view(np.uint8).data


class Raw(PackedCodec):
    """The elements as they are: C order, little-endian; a bool is one byte, 0 or 1.

    Decoding copies nothing: the array is read-only and lies in the message's own bytes.
    """

    name = "raw"
    lossless = True

    def pack(self, array: Array) -> memoryview:
        """The array's own memory, where it is contiguous and little-endian."""
        return flat_bytes(np.ascontiguousarray(array, dtype=DTYPES[array.dtype.name]))

    def unpack(self, data: Bytes, dtype: str, shape: Sequence[int]) -> Array:
        """A view on ``data``."""
        array: Array = np.ndarray(tuple(shape), dtype=DTYPES[dtype], buffer=data)
        if dtype == "bool" and array.size and array.view(np.uint8).max() > 1:
            raise refuse_tensor("tensor_value", expected="bytes 0 and 1 in a bool tensor", came="another byte")
        array.flags.writeable = False
        return array if array.flags.aligned else array.copy()

    def packed_sizes(self, dtype: str, shape: Sequence[int]) -> tuple[int, ...]:
        """Elements times their size."""
        return (math.prod(shape) * DTYPES[dtype].itemsize,)

    def error_bound(self, array: Array) -> float:
        """Nothing is lost."""
        del array
        return 0.0


class Fp16(PackedCodec):
    """IEEE half precision, rounded to nearest even, little-endian; takes float32 and float64.

    Finite values beyond ±65504 become ±65504, never infinite, and `error_bound` counts that in. NaN and ±inf stay
    what they are. Otherwise an element is off by at most half a unit of its last place: 2^-11 of its magnitude.
    """

    name = "fp16"

    def accepts(self, dtype: str, shape: Sequence[int]) -> bool:
        """Wider floats, of any shape."""
        del shape
        return dtype in {"float32", "float64"}

    def pack(self, array: Array) -> memoryview:
        """The cast. The range is looked up first, as it costs 4 % of the cast and spares a clip."""
        if array.size and not (array.min() >= -MAX_FP16 and array.max() <= MAX_FP16):
            array = np.where(np.isinf(array), array, np.clip(array, -MAX_FP16, MAX_FP16))
        return flat_bytes(np.ascontiguousarray(array).astype("<f2"))

    def unpack(self, data: Bytes, dtype: str, shape: Sequence[int]) -> Array:
        """The cast back."""
        halves: Array = np.ndarray(tuple(shape), dtype="<f2", buffer=data)
        return halves.astype(DTYPES[dtype])

    def packed_sizes(self, dtype: str, shape: Sequence[int]) -> tuple[int, ...]:
        """Two bytes an element."""
        del dtype
        return (2 * math.prod(shape),)

    def error_bound(self, array: Array) -> float:
        """Half a unit in the last place of the largest element, or what clamping cuts off if that is more."""
        peak = finite_peak(array)
        return max(half_ulp(np.float16, peak), peak - MAX_FP16)
