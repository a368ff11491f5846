"""Noise in front of a codec: ``noise0.2+int8+zstd`` adds noise of 0.2 times the tensor's standard deviation.

The receiver sees only the codec behind it and needs nothing new. The noise is Gaussian and fresh for every tensor, from
a generator that the operating system seeds. It hides detail and costs accuracy; it promises nothing like differential
privacy: `tiercut privacy` measures what can be rebuilt in spite of it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from tiercut.codecs.base import Array, Bytes, Codec
from tiercut.errors import InputError, SettingsError

#: More noise than this leaves nothing of a tensor.
MAX_SCALE = 10.0
_PREFIX = "noise"
_NAME = re.compile(r"noise(\d{1,3}(?:\.\d{1,6})?)\+(.+)", re.ASCII)
_TYPES = frozenset({"float16", "float32", "float64", "uint8"})


class Noise:
    """A codec whose input gets noise first.

    Args:
        inner: The codec behind it.
        scale: Standard deviation of the noise, in parts of the tensor's.
    """

    lossless = False

    def __init__(self, inner: Codec, scale: float) -> None:
        self.inner = inner
        self.scale = scale
        self.name = f"{_PREFIX}{scale:g}+{inner.name}"

    def accepts(self, dtype: str, shape: Sequence[int]) -> bool:
        """What the codec behind it accepts, of floats and bytes."""
        return dtype in _TYPES and self.inner.accepts(dtype, shape)

    def encode(self, array: Array) -> bytes:
        """With fresh noise; ``InputError`` for an array that the codec behind it does not accept."""
        return self.inner.encode(add_noise(array, self.scale))

    def decode(self, data: Bytes, *, dtype: str, shape: Sequence[int]) -> Array:
        """What the codec behind it makes of it; the noise stays."""
        return self.inner.decode(data, dtype=dtype, shape=shape)

    def estimate_bytes(self, dtype: str, shape: Sequence[int]) -> int:
        """What the codec behind it estimates; noise compresses less well."""
        return self.inner.estimate_bytes(dtype, shape)

    def error_bound(self, array: Array) -> float:
        """None: noise has no bound."""
        del array
        return math.inf


def takes_noise(dtype: str) -> bool:
    """Whether noise can be added to elements of a type."""
    return dtype in _TYPES


def add_noise(array: Array, scale: float) -> Array:
    """The array with Gaussian noise; pixels stay whole numbers of 0 to 255, what is not finite stays what it is.

    Raises:
        InputError: integers that are no pixels, such as indices, which noise would turn into others.
    """
    if array.dtype.name not in _TYPES:
        raise InputError(
            "noise cannot be added to this tensor",
            expected="floats, or pixels of uint8",
            came=array.dtype.name,
            fix="choose a first cut behind the layers that take integers",
        )
    wide: Array = array.astype(np.float64 if array.dtype == np.float64 else np.float32)
    noise = np.random.default_rng().standard_normal(wide.shape, dtype=wide.dtype.type)
    noise *= wide.dtype.type(scale * _spread(wide))
    wide += noise
    return (np.clip(np.rint(wide), 0, 255) if array.dtype == np.uint8 else wide).astype(array.dtype)


def _spread(array: Array) -> float:
    """Standard deviation of the elements that are finite."""
    with np.errstate(over="ignore", invalid="ignore"):
        spread = float(array.std()) if array.size else 0.0
    if math.isfinite(spread):
        return spread
    finite = array[np.isfinite(array)]
    peak = float(np.abs(finite).max(initial=0.0))  # of large values in parts of the peak, as their squares overflow
    return float((finite / peak).std(dtype=np.float64)) * peak if peak > 0 else 0.0


@lru_cache(maxsize=256)
def split_name(name: str) -> tuple[float, str]:
    """Scale of a codec's noise, 0 for none, and the name of the codec behind it.

    Raises:
        SettingsError: a scale out of bounds, or noise twice.
    """
    if not name.startswith(_PREFIX):
        return 0.0, name
    found = _NAME.fullmatch(name)
    scale = float(found[1]) if found else 0.0
    if not found or not 0 < scale <= MAX_SCALE or found[2].startswith(_PREFIX):
        raise SettingsError(
            "there is no such codec",
            expected=f"noise<scale>+<codec> with a scale of more than 0 and at most {MAX_SCALE:g}",
            came=f"'{name[:80]}'",
            fix="write it as in 'noise0.2+int8+zstd'",
        )
    return scale, found[2]


def noise_of(name: str) -> float:
    """Scale of the noise that a codec of this name adds, 0 for none.

    Raises:
        SettingsError: as `split_name`.
    """
    return split_name(name)[0]


def without_noise(name: str) -> str:
    """Name of the codec behind the noise.

    Raises:
        SettingsError: as `split_name`.
    """
    return split_name(name)[1]


def with_noise(name: str, scale: float) -> str:
    """Name of a codec with noise of a scale in front."""
    return f"{_PREFIX}{scale:g}+{name}" if scale else name
