"""What every codec is, and the limits that all of them check before they make room for anything."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from tiercut.errors import BadTensor, InputError
from tiercut.limits import MAX_DIMENSIONS, MAX_TENSOR_BYTES

Array = npt.NDArray[Any]
Bytes = bytes | bytearray | memoryview

#: Element types on the wire: name -> little-endian numpy type. bfloat16, complex, text and objects do not travel.
DTYPES: dict[str, np.dtype[Any]] = {
    name: np.dtype(name).newbyteorder("<")
    for name in (
        "bool", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64",
        "float16", "float32", "float64",
    )
}  # fmt: skip
_NAMES = {dtype: name for name, dtype in DTYPES.items()}

#: Every ``reason`` of a `BadTensor` of this package.
TENSOR_REASONS = frozenset(
    {
        "unknown_codec",
        "unknown_dtype",
        "codec_does_not_fit",
        "tensor_shape",
        "tensor_too_big",
        "tensor_size",
        "tensor_header",
        "tensor_value",
        "zstd_damaged",
        "image_header",
        "image_damaged",
        "codec_failed",
    }
)


class Codec(Protocol):
    """How one tensor becomes bytes. Stateless, so one object serves every thread.

    Attributes:
        name: What plans and messages call it.
        lossless: Decoding gives the array back bit for bit.
    """

    @property
    def name(self) -> str: ...  # noqa: D102

    @property
    def lossless(self) -> bool: ...  # noqa: D102

    def accepts(self, dtype: str, shape: Sequence[int]) -> bool:
        """Whether arrays of this type and shape can be encoded."""
        ...

    def encode(self, array: Array) -> bytes:
        """The array as bytes.

        Raises:
            InputError: the codec does not accept the array, or it holds values that the codec cannot bound.
        """
        ...

    def decode(self, data: Bytes, *, dtype: str, shape: Sequence[int]) -> Array:
        """The array back; it may be read-only and may share memory with ``data``.

        Raises:
            BadTensor: ``data`` is not exactly one array of this type and shape.
        """
        ...

    def estimate_bytes(self, dtype: str, shape: Sequence[int]) -> int:
        """Bytes that `encode` would give, without encoding; exact unless a compressor takes part."""
        ...

    def error_bound(self, array: Array) -> float:
        """The most that any finite element of this array may be off after the way there and back.

        0 for lossless codecs, ``math.inf`` where no bound can be promised.
        """
        ...


def refuse_tensor(reason: str, *, expected: str, came: object, fix: str = "correct the sender") -> BadTensor:
    """The error for a tensor that does not fit; ``came`` is quoted shortened."""
    return BadTensor("a tensor is not valid", expected=expected, came=str(came)[:80], fix=fix, reason=reason)


def declared_bytes(dtype: str, shape: Sequence[int]) -> int:
    """Bytes of a decoded tensor, checked against `MAX_TENSOR_BYTES` before anything is allocated.

    Raises:
        BadTensor: an unknown type, a shape no array has, or more than the limit.
    """
    return _declared_bytes(dtype, tuple(shape))


@lru_cache(maxsize=1024)  # the frames of a stream have the same types and shapes, over and over
def _declared_bytes(dtype: str, shape: tuple[int, ...]) -> int:
    if dtype not in DTYPES:
        raise refuse_tensor("unknown_dtype", expected=f"a type of {', '.join(DTYPES)}", came=dtype)
    if len(shape) > MAX_DIMENSIONS or any(n < 0 for n in shape):
        raise refuse_tensor("tensor_shape", expected=f"at most {MAX_DIMENSIONS} dimensions >= 0", came=shape)
    # Zeros count as ones: numpy refuses (2**62, 0) too, as it strides over the others.
    if math.prod(max(n, 1) for n in shape) * DTYPES[dtype].itemsize > MAX_TENSOR_BYTES:
        raise refuse_tensor("tensor_too_big", expected=f"at most {MAX_TENSOR_BYTES} bytes", came=shape)
    return math.prod(shape) * DTYPES[dtype].itemsize


def dtype_name(array: Array) -> str:
    """The name of an array's element type as numpy has it, which puts it together anew each time."""
    return _NAMES.get(array.dtype) or array.dtype.name


def check_input(codec: Codec, array: Array) -> None:
    """Refuse an array that a codec does not accept: an error of ours, not of a sender."""
    if not codec.accepts(dtype_name(array), array.shape):
        raise InputError(
            f"codec '{codec.name}' does not take this tensor",
            expected="a type and shape that the codec's 'accepts' confirms",
            came=f"{array.dtype.name} {array.shape}",
            fix="encode it with 'raw', or by way of encode_tensor, which falls back by itself",
        )


def check_fits(codec: Codec, dtype: str, shape: Sequence[int]) -> None:
    """Refuse bytes that claim to be an array which the codec could not have encoded."""
    if not codec.accepts(dtype, shape):
        raise refuse_tensor("codec_does_not_fit", expected=f"a tensor that '{codec.name}' takes", came=(dtype, shape))
