"""How tensors become bytes: the table of codecs, and the two calls that use it.

| codec | takes | off by at most | estimate |
|---|---|---|---|
| `raw` | every type | 0 | exact |
| `fp16` | float32, float64 | half an ulp of float16; beyond ±65504 clamped | exact |
| `int8` | float32, float16 | half a step, (max - min) / 510 of a row | exact |
| `raw+zstd`, `fp16+zstd`, `int8+zstd` | the same | the same | typical, see `ESTIMATES` |
| `int4+zstd` | float32, float16 | half a step, (max - min) / 30 of a row | typical |
| `int2+zstd` | float32, float16 | a sixth of a row's range without outliers, or what an outlier stands out | typical |
| `sparse8+zstd`, `sparse4+zstd` | float32, float16 | half a step; 0 stays 0 | half of it zeros |
| `png` | uint8 frame | 0 | typical |
| `jpeg`, `jpeg-75`, `jpeg-50`, `jpeg-30`, `jpeg-15` | uint8 frame | no bound | typical |
| `webp`, `webp-50` | uint8 frame | no bound | typical |
| `noise0.2+int8+zstd` and so on | floats, uint8 frame | no bound | without the noise |

A bundle may have codecs of its own beside these; `learned` stands for them. What each costs in accuracy depends on the
model and the cut: `tiercut codecs measure` (docs/codecs.md).

Measured 2026-11-21, one core of an AMD EPYC (Zen 4): EfficientNet-Lite0's first bottleneck (16x112x112) and two ReLU6
outputs, 0.75 to 0.8 MB of float32 each: `int8+zstd` 0.30 to 0.71 ms to encode, 0.22 to 0.35 ms to decode. Nine
photographs of 224x224: `jpeg` (quality 90) 34.5 to 40.5 dB at 0.2 ms, `webp` (quality 85) 34.9 to 40.7 dB at 1.6 ms.

No codec keeps state between calls, so one object serves every thread.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from types import MappingProxyType

from tiercut.codecs.base import DTYPES, TENSOR_REASONS, Array, Codec, declared_bytes, refuse_tensor
from tiercut.codecs.encoded import EncodedTensor
from tiercut.codecs.headers import jpeg_size, png_size, webp_size
from tiercut.codecs.images import ImageCodec
from tiercut.codecs.int8 import Int8
from tiercut.codecs.lowbits import LowBits
from tiercut.codecs.noise import Noise, add_noise, noise_of, split_name, with_noise, without_noise
from tiercut.codecs.sparse import Sparse
from tiercut.codecs.tensors import Fp16, PackedCodec, Raw
from tiercut.codecs.zstd import Zstd
from tiercut.errors import InputError, SettingsError
from tiercut.limits import MAX_TENSOR_BYTES

__all__ = [
    "CODECS",
    "DTYPES",
    "EMPTY",
    "TENSOR_REASONS",
    "Codec",
    "codec",
    "declared_bytes",
    "decode_tensor",
    "encode_tensor",
    "is_codec",
    "noise_of",
    "with_noise",
    "without_noise",
]

#: What zstd leaves of a tensor's bytes, by element type. Measured on 132 activations of EfficientNet-Lite0 (chelsea,
#: 2026-11-21): linear outputs, where one cuts, came within 10 % of the estimate. After a ReLU there are zeros, and the
#: estimate is too high: the tensor takes 25 to 60 % less, a very sparse one 90 %. Hardly anything takes over 15 % more.
#: Photographs as raw pixels: 0.40 to 0.93. Integers other than pixels depend on what they count.
ESTIMATES = {
    "raw+zstd": {"float32": 0.92, "float64": 0.92, "float16": 0.92, "uint8": 0.85, "other": 0.6},
    "fp16+zstd": {"other": 0.91},
    "int8+zstd": {"other": 0.92},
    "int4+zstd": {"other": 0.85},
    "int2+zstd": {"other": 0.75},
    "sparse8+zstd": {"other": 0.9},
    "sparse4+zstd": {"other": 0.9},
}

_PLAIN: tuple[PackedCodec, ...] = (Raw(), Fp16(), Int8())
_PACKED: tuple[PackedCodec, ...] = (*_PLAIN, LowBits(4, clipped=False), LowBits(2, clipped=True), Sparse(8), Sparse(4))
_COMPRESSED: tuple[Codec, ...] = tuple(Zstd(inner, ESTIMATES[f"{inner.name}+zstd"]) for inner in _PACKED)


def _jpeg(name: str, quality: int, bytes_per_element: float, **settings: int | bool) -> Codec:
    settings["quality"] = quality
    return ImageCodec(name, jpeg_size, lossless=False, bytes_per_element=bytes_per_element, settings=settings)


def _webp(name: str, quality: int, bytes_per_element: float) -> Codec:
    settings = {"quality": quality, "method": 0}
    return ImageCodec(name, webp_size, lossless=False, bytes_per_element=bytes_per_element, settings=settings)


#: Typical bytes per element: nine photographs of 224x224 took 0.05 to 0.15, 0.31 to 0.72 and 0.04 to 0.12 as `jpeg`,
#: `png` and `webp`.
_IMAGES: tuple[Codec, ...] = (
    _jpeg("jpeg", 90, 0.10),
    ImageCodec("png", png_size, lossless=True, bytes_per_element=0.60, settings={"compress_level": 1}),
    _webp("webp", 85, 0.08),
    _jpeg("jpeg-75", 75, 0.05, optimize=True),
    _jpeg("jpeg-50", 50, 0.03, optimize=True),
    _jpeg("jpeg-30", 30, 0.02, optimize=True),
    _jpeg("jpeg-15", 15, 0.015, optimize=True),
    _webp("webp-50", 50, 0.03),
)

#: Every codec by its name.
CODECS: Mapping[str, Codec] = {each.name: each for each in (*_PLAIN, *_COMPRESSED, *_IMAGES)}


#: What stands for the codecs of a bundle that has none of its own.
EMPTY: Mapping[str, Codec] = MappingProxyType({})


def codec(name: str, learned: Mapping[str, Codec] = EMPTY) -> Codec:
    """A codec by its name, with noise in front where the name says so.

    Args:
        name: Its name.
        learned: A bundle's own codecs, looked up first.

    Raises:
        SettingsError: there is none of that name.
    """
    scale, inner = split_name(name)
    if inner in learned:
        return Noise(learned[inner], scale) if scale else learned[inner]
    if inner not in CODECS:
        raise SettingsError(
            "there is no such codec",
            expected=f"one of {', '.join((*learned, *CODECS))}",
            came=f"'{name[:80]}'",
            fix="correct the name",
        )
    return _noisy(inner, scale) if scale else CODECS[inner]


@lru_cache(maxsize=256)
def _noisy(inner: str, scale: float) -> Noise:
    return Noise(CODECS[inner], scale)


def is_codec(name: str, learned: Mapping[str, Codec] = EMPTY) -> bool:
    """Whether `codec` knows the name."""
    try:
        codec(name, learned)
    except SettingsError:
        return False
    return True


def fallback(name: str) -> str:
    """The lossless codec that stands in where a codec does not take a tensor: ``raw+zstd``, or ``raw``."""
    return "raw" if name in {"raw", "fp16", "int8"} else "raw+zstd"


def encode_tensor(name: str, array: Array, codec_name: str, learned: Mapping[str, Codec] = EMPTY) -> EncodedTensor:
    """A tensor in a codec, or losslessly where the codec does not take it; the codec really used is recorded.

    Not taken are types and shapes that `Codec.accepts` denies, and values that `int8` could not bound (NaN, infinity).
    Noise is added in any case, and not recorded: who receives the tensor need not know of it.

    Args:
        name: The tensor's name.
        array: The tensor.
        codec_name: As `codec` takes it.
        learned: The bundle's own codecs, looked up first.

    Raises:
        SettingsError: there is no codec of that name.
        InputError: the element type does not travel at all, the tensor is over the limit of bytes, or noise is asked
            for on integers.
    """
    chosen = codec(codec_name, learned)
    dtype, shape = array.dtype.name, array.shape
    if dtype not in DTYPES or array.nbytes > MAX_TENSOR_BYTES:
        raise InputError(
            f"tensor '{name}' cannot be sent",
            expected=f"a type of {', '.join(DTYPES)} and at most {MAX_TENSOR_BYTES} bytes",
            came=f"{dtype}, {array.nbytes} bytes",
            fix="cut the model elsewhere",
        )
    if isinstance(chosen, Noise):
        array, chosen = add_noise(array, chosen.scale), chosen.inner
    data = None
    if chosen.accepts(dtype, shape):
        with suppress(InputError):  # values out of bounds: the lossless codec carries them as they are
            data = chosen.encode(array)
    if data is None:
        chosen = CODECS[fallback(chosen.name)]
        data = chosen.encode(array)
    return EncodedTensor(name=name, dtype=dtype, shape=tuple(shape), codec=chosen.name, data=data)


def decode_tensor(tensor: EncodedTensor, learned: Mapping[str, Codec] = EMPTY) -> Array:
    """The array of an encoded tensor; read-only, and on the message's own bytes, where the codec is ``raw``.

    Allocates at most a few times the declared size, which `declared_bytes` limits. Whoever knows what should come
    (a node knows its segment's inputs) compares type and shape first.

    Args:
        tensor: As it came.
        learned: The bundle's own codecs, looked up first.

    Raises:
        BadTensor: unknown codec or type, or bytes that are not exactly one such tensor.
    """
    chosen = learned.get(tensor.codec) or CODECS.get(tensor.codec)
    if chosen is None:
        raise refuse_tensor("unknown_codec", expected=f"one of {', '.join((*learned, *CODECS))}", came=tensor.codec)
    return chosen.decode(tensor.data, dtype=tensor.dtype, shape=tensor.shape)
