"""Codecs of other packages: objects behind an entry point of the group ``tiercut.codecs``, named as the codec."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from tiercut.codecs.base import Array, Bytes, Codec, check_fits, check_input, declared_bytes, refuse_tensor
from tiercut.errors import BadTensor, InputError
from tiercut.plugins import ANYTHING, Guard

GROUP = "tiercut.codecs"
#: As plans and messages take it; noise in front of a codec has this name.
_NAME = re.compile(r"(?!noise)[A-Za-z0-9+\-_.]{1,64}")
_PARTS = ("accepts", "encode", "decode", "estimate_bytes", "error_bound")


class PluginCodec:
    """Keeps what a codec of another package does within the `Codec` protocol: it can spoil its own tensors at most.

    Args:
        name: Name of its entry point.
        codec: What that gave.
        package: Whose it is, for messages.

    Raises:
        TypeError: it is no codec, or has another name.
    """

    def __init__(self, name: str, codec: Any, package: str) -> None:
        missing = [part for part in _PARTS if not callable(getattr(codec, part, None))]
        if isinstance(codec, type) or missing or getattr(codec, "name", None) != name or not _NAME.fullmatch(name):
            raise TypeError(
                f"expected a codec object whose name is that of its entry point, got {codec!r:.80}"
                + (f" without {', '.join(missing)}" if missing else "")
            )
        self.name = name
        self.lossless = bool(getattr(codec, "lossless", False))
        self._codec: Codec = codec
        self._guard = Guard(GROUP, name, package)

    def accepts(self, dtype: str, shape: Sequence[int]) -> bool:
        """What it says; nothing where it fails to."""
        return self._guard.ask(lambda: bool(self._codec.accepts(dtype, tuple(shape))), otherwise=False)

    def encode(self, array: Array) -> bytes:
        """Its bytes; ``InputError`` where it fails, so that the tensor travels losslessly."""
        check_input(self, array)
        try:
            data = self._codec.encode(array)
            if not isinstance(data, bytes | bytearray | memoryview):
                raise TypeError(f"it gave a {type(data).__name__}, no bytes")
            return bytes(data)
        except InputError:
            raise
        except ANYTHING as error:
            raise InputError(
                f"codec '{self.name}' ({self._guard.package}) failed",
                expected="the tensor in bytes",
                came=self._guard.note(error),
                fix="correct the plugin",
            ) from error

    def decode(self, data: Bytes, *, dtype: str, shape: Sequence[int]) -> Array:
        """Its array; ``BadTensor`` where it fails, or gives an array of another type or shape."""
        declared_bytes(dtype, shape)
        check_fits(self, dtype, shape)
        wanted = dtype, tuple(shape)
        try:
            array = self._codec.decode(data, dtype=dtype, shape=wanted[1])
            if not isinstance(array, np.ndarray) or not array.dtype.isnative:
                raise TypeError("it gave no array in this machine's byte order")
            came = array.dtype.name, array.shape
        except BadTensor:
            raise
        except ANYTHING as error:
            raise self._failed(wanted, self._guard.note(error)) from error
        if came != wanted:
            raise self._failed(wanted, came)
        return array

    def estimate_bytes(self, dtype: str, shape: Sequence[int]) -> int:
        """Its estimate; the tensor's own size where it fails to say."""
        own = declared_bytes(dtype, shape)
        return self._guard.ask(lambda: max(0, int(self._codec.estimate_bytes(dtype, tuple(shape)))), own)

    def error_bound(self, array: Array) -> float:
        """Its bound; infinite where it fails to say."""
        return self._guard.ask(lambda: float(self._codec.error_bound(array)), math.inf)

    def _failed(self, wanted: tuple[str, tuple[int, ...]], came: object) -> BadTensor:
        expected = f"an array of {wanted[0]} {wanted[1]} from '{self.name}' ({self._guard.package})"
        return refuse_tensor("codec_failed", expected=expected, came=came, fix="correct the plugin")
