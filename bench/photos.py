"""Frames like a camera's, from photographs: ``python -m bench photos DIR [--photographs FOLDER] [--frames 300]``.

Windows of each photograph at a random place, 75 to 100 % of its shorter side, so that what is on it stays on it, half
of them mirrored, 224x224. Without a folder: those that scikit-image ships. Frames of one photograph are alike, so a
standard error over all of them is too small. The 20 of ImageNet's validation set that the package foolbox 3.3.4 ships
do well: ``pip download --no-deps foolbox==3.3.4``, then unzip ``foolbox/data``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

#: Of `skimage.data`, photographs of animals, people and things that come with the package.
NAMES = ("astronaut", "chelsea", "coffee", "rocket", "camera")
MIN_SCALE, SIZE = 0.75, 224


def photographs(folder: Path | None) -> Iterator[NDArray[np.uint8]]:
    """``(height, width, 3)`` each."""
    if folder is not None:
        for path in sorted(folder.glob("imagenet_*.jpg")) or sorted(folder.glob("*.jpg")):
            with Image.open(path) as image:
                yield np.asarray(image.convert("RGB"))
        return
    from skimage import data  # noqa: PLC0415 - of the extra 'demo'

    for name in NAMES:
        picture: Any = getattr(data, name)()
        yield np.asarray(Image.fromarray(picture).convert("RGB"))


def frames(count: int, folder: Path | None = None, seed: int = 0) -> Iterator[NDArray[np.uint8]]:
    """``(224, 224, 3)`` each, the photographs in turns."""
    random = np.random.default_rng(seed)
    sources = list(photographs(folder))
    for i in range(count):
        picture = sources[i % len(sources)]
        height, width = picture.shape[:2]
        side = int(min(height, width) * random.uniform(MIN_SCALE, 1.0))
        top, left = random.integers(0, height - side + 1), random.integers(0, width - side + 1)
        window = Image.fromarray(picture[top : top + side, left : left + side])
        frame = np.asarray(window.resize((SIZE, SIZE), Image.Resampling.BICUBIC))
        yield np.ascontiguousarray(frame[:, ::-1]) if random.random() < 0.5 else frame


def main() -> int:
    """Write them as PNG."""
    parser = argparse.ArgumentParser(prog="python -m bench photos", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--photographs", type=Path, metavar="FOLDER")
    parser.add_argument("--frames", type=int, default=300)
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    for i, frame in enumerate(frames(args.frames, args.photographs)):
        Image.fromarray(frame).save(args.folder / f"{i:04}.png")
    print(f"{args.frames} frames in {args.folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
