"""Writes the golden files beside it: `python tests/golden/make.py`. Only for a new version of the wire format.

`sample_work` and `sample_array` are what the files hold; tests use them as well.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tiercut.codecs.encode import encode_tensor
from tiercut.plan import Plan
from tiercut.protocol.chunks import split
from tiercut.protocol.envelope import encode_work
from tiercut.protocol.frames import ClockStamp, Stage, Work

HERE = Path(__file__).parent
#: One file each; the bytes of compressors and image formats may differ between library versions.
CODECS = (
    "raw", "fp16", "int8", "raw+zstd", "fp16+zstd", "int8+zstd", "jpeg", "png", "webp",
    "int4+zstd", "int2+zstd", "sparse8+zstd", "sparse4+zstd",
)  # fmt: skip
MESSAGE_ID = bytes(range(16))
CHUNK_BYTES = 500


def sample_array(codec: str) -> npt.NDArray[Any]:
    """A slope of float32 (1, 2, 8, 16), or a frame of (1, 8, 8, 3) for the image codecs."""
    if codec in {"jpeg", "png", "webp"}:
        return np.repeat(np.arange(64, dtype=np.uint8).reshape(1, 8, 8, 1) * 4, 3, axis=3)
    return (np.arange(256, dtype=np.float32) / 32 - 1).reshape(1, 2, 8, 16)


def sample_work(codec: str, array: npt.NDArray[Any] | None = None) -> Work:
    """A frame half-way from edge to cloud."""
    array = sample_array(codec) if array is None else array
    return Work(
        site="home",
        stream="porch",
        seq=7,
        model="5a" * 32,
        plan=Plan(
            epoch=3, first_cut=4, second_cut=9, device="cam", edge="nuc", cloud="dc", codecs=("int8+zstd", "raw")
        ),
        delivery="latest",
        cut=4,
        tensors=(encode_tensor("x", array, codec),),
        captured_unix_s=1764000000.25,
        captured=ClockStamp("cam-1", 12.5),
        sent=ClockStamp("cam-1", 12.75),
        stages=(Stage("cam", "compute", 0.125), Stage("nuc", "wire", 0.0625, emulated=True, payload_bytes=1234)),
        deadline_s=0.5,
        label="porch.jpg",
        return_to=None,
    )


def main() -> None:
    """Write every file."""
    for codec in CODECS:
        (HERE / f"work-{codec}.msgpack").write_bytes(encode_work(sample_work(codec)))
    for index, chunk in enumerate(split(encode_work(sample_work("int8")), CHUNK_BYTES, message_id=MESSAGE_ID)):
        (HERE / f"chunk-{index}.bin").write_bytes(chunk)


if __name__ == "__main__":
    main()
