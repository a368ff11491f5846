"""Codecs of other packages: objects behind an entry point of the group ``tiercut.codecs``, named as the codec."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Sequence
from typing import Any

from tiercut.codecs.base import Array, Bytes, Codec, check_fits, check_input, declared_bytes, refuse_tensor
from tiercut.errors import BadTensor, InputError
from tiercut.plugins import ANYTHING

log = logging.getLogger(__name__)

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
        self.package = package
        self._codec: Codec = codec
        self._warned = False

    def accepts(self, dtype: str, shape: Sequence[int]) -> bool:
        """What it says; nothing while it fails to say."""
        try:
            return bool(self._codec.accepts(dtype, tuple(shape)))
        except ANYTHING as error:
            self._warn(error)
            return False

    def encode(self, array: Array) -> bytes:
        """Its bytes; ``InputError`` where it fails, so that the tensor travels losslessly."""
        check_input(self, array)
        try:
            return bytes(self._codec.encode(array))
        except InputError:
            raise
        except ANYTHING as error:
            self._warn(error)
            raise InputError(
                f"codec '{self.name}' ({self.package}) failed",
                expected="the tensor in bytes",
                came=self._words(error),
                fix="correct the plugin",
            ) from error

    def decode(self, data: Bytes, *, dtype: str, shape: Sequence[int]) -> Array:
        """Its array; ``BadTensor`` where it fails, or gives an array of another type or shape."""
        declared_bytes(dtype, shape)
        check_fits(self, dtype, shape)
        try:
            array = self._codec.decode(data, dtype=dtype, shape=tuple(shape))
            form = array.dtype.name, array.shape
        except BadTensor:
            raise
        except ANYTHING as error:
            raise self._failed(f"an array of {dtype} {tuple(shape)}", self._words(error)) from error
        if form != (dtype, tuple(shape)):
            raise self._failed(f"an array of {dtype} {tuple(shape)}", f"{form[0]} {form[1]}")
        return array

    def estimate_bytes(self, dtype: str, shape: Sequence[int]) -> int:
        """Its estimate; the tensor's own size while it fails to say."""
        try:
            return max(0, int(self._codec.estimate_bytes(dtype, tuple(shape))))
        except ANYTHING as error:
            self._warn(error)
            return declared_bytes(dtype, shape)

    def error_bound(self, array: Array) -> float:
        """Its bound; infinite while it fails to say."""
        try:
            return float(self._codec.error_bound(array))
        except ANYTHING as error:
            self._warn(error)
            return math.inf

    def _warn(self, error: BaseException) -> None:
        """Say once that it fails: it may do so with every frame."""
        if not self._warned:
            self._warned = True
            log.warning(
                "a codec of another package fails",
                extra={"codec": self.name, "package": self.package, "reason": self._words(error)},
            )

    def _words(self, error: BaseException) -> str:
        return f"{type(error).__name__}: {error}"[:200]

    def _failed(self, expected: str, came: str) -> BadTensor:
        expected = f"{expected} from '{self.name}' ({self.package})"
        return refuse_tensor("codec_failed", expected=expected, came=came, fix="correct the plugin")
