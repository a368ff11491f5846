"""Labelled test frames as files for a device's sensor, and which of its results are right."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tiercut.datasets.folders import for_model, load, need
from tiercut.errors import DataError
from tiercut.model.bundle import Bundle
from tiercut.results.reading import class_in

#: Frames are drawn by it, so that every run has the same.
SEED = 4


@dataclass(frozen=True, slots=True)
class Frames:
    """What the camera sees, again and again in this order: frame ``seq`` is number ``seq % len``.

    Attributes:
        folder: A PNG per frame.
        labels: The class of each.
        pixels: The frames themselves.
    """

    folder: Path
    labels: tuple[int, ...]
    pixels: tuple[NDArray[np.generic], ...]

    def __len__(self) -> int:
        return len(self.labels)

    def place(self, seq: int) -> int:
        """Which frame a sequence number is."""
        return seq % len(self)

    def is_right(self, result: dict[str, Any]) -> bool:
        """Whether a result names the class of its frame."""
        return class_in(result) == self.labels[self.place(int(result["seq"]))]


def labelled_frames(bundle: Bundle, data: Path, folder: Path, count: int) -> Frames:
    """So many frames of the test part of a data set, written where a sensor reads them.

    Raises:
        DataError: there are too few, without labels or with others than the model's, or none that a camera could give.
    """
    outputs = bundle.outputs[0].shape[-1]
    samples = for_model(load(data, "test"), outputs, bundle.name, bundle.labels)
    need(samples, count, "the test set")
    chosen = samples.take(count, SEED)
    if chosen.labels is None:
        raise DataError(f"'{data}' has no labels", expected="labelled frames", came="none", fix="give another folder")
    folder.mkdir(parents=True, exist_ok=True)
    pixels = tuple(np.asarray(frame) for frame in chosen.frames)
    for index, frame in enumerate(pixels):
        if frame.dtype != np.uint8 or frame.ndim not in {2, 3}:
            came = f"{frame.dtype.name}{list(frame.shape)}"
            raise DataError(f"'{data}' holds no images", expected="uint8 pixels", came=came, fix="give another folder")
        Image.fromarray(frame).save(folder / f"{index:05d}.png")
    return Frames(folder, tuple(int(label) for label in chosen.labels), pixels)
