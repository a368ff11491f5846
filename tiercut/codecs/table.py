"""The table of codecs. A new one is a file and a row here, or an entry point of the group ``tiercut.codecs``.

| codec | takes | off by at most | estimate |
|---|---|---|---|
| `raw` | every type | 0 | exact |
| `fp16` | float32, float64 | half an ulp of float16; beyond ±65504 clamped | exact |
| `int8` | float32, float16 | half a step, (max - min) / 510 of a row | exact |
| `raw+zstd`, `fp16+zstd`, `int8+zstd` | the same | the same | typical |
| `int4+zstd` | float32, float16 | half a step, (max - min) / 30 of a row | typical |
| `int2+zstd` | float32, float16 | a sixth of a row's range without outliers, or the outlier's excess | typical |
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
from types import MappingProxyType

from tiercut.codecs.base import Codec
from tiercut.codecs.images import jpeg, png, webp
from tiercut.codecs.int8 import Int8
from tiercut.codecs.lowbits import LowBits
from tiercut.codecs.noise import Noise, split_name
from tiercut.codecs.plain import Fp16, Raw
from tiercut.codecs.plugin import GROUP, PluginCodec
from tiercut.codecs.sparse import Sparse
from tiercut.codecs.zstd import Zstd
from tiercut.errors import SettingsError
from tiercut.plugins import Table

# Beside each codec with a compressor stands what is typically left: see `Zstd` and `ImageCodec`.
_BUILT_IN: tuple[Codec, ...] = (
    Raw(),
    Fp16(),
    Int8(),
    Zstd(Raw(), {"float32": 0.92, "float64": 0.92, "float16": 0.92, "uint8": 0.85, "other": 0.6}),
    Zstd(Fp16(), {"other": 0.91}),
    Zstd(Int8(), {"other": 0.92}),
    Zstd(LowBits(4, clipped=False), {"other": 0.85}),
    Zstd(LowBits(2, clipped=True), {"other": 0.75}),
    Zstd(Sparse(8), {"other": 0.9}),
    Zstd(Sparse(4), {"other": 0.9}),
    jpeg("jpeg", 90, 0.10),
    png("png", 0.60),
    webp("webp", 85, 0.08),
    jpeg("jpeg-75", 75, 0.05, optimize=True),
    jpeg("jpeg-50", 50, 0.03, optimize=True),
    jpeg("jpeg-30", 30, 0.02, optimize=True),
    jpeg("jpeg-15", 15, 0.015, optimize=True),
    webp("webp-50", 50, 0.03),
)

#: Every codec by its name: ours, then those of other packages.
CODECS: Table[Codec] = Table(GROUP, {each.name: each for each in _BUILT_IN}, PluginCodec)

#: What stands for the codecs of a bundle that has none of its own.
EMPTY: Mapping[str, Codec] = MappingProxyType({})


def codec(name: str, learned: Mapping[str, Codec] = EMPTY) -> Codec:
    """A codec by its name, with noise in front where the name says so.

    Args:
        name: Its name.
        learned: A bundle's own codecs, looked up first.

    Raises:
        SettingsError: there is none of that name, or the package that it is from is broken.
    """
    scale, inner = split_name(name)
    found = learned.get(inner) or CODECS.get(inner)
    if found is None:
        raise SettingsError(
            "there is no such codec",
            expected=f"one of {', '.join((*learned, *CODECS))}",
            came=CODECS.broken(inner) or f"'{name[:80]}'",
            fix="correct the name, or install its package on every node",
        )
    return Noise(found, scale) if scale else found
