"""Bundles of the small networks of `models`, each exported once per test run."""

from __future__ import annotations

import atexit
import functools
import shutil
import tempfile
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

import tiercut
from tests.models import ARCHITECTURES, EarlyExits, arrays
from tiercut.model.preprocess import FrameSpec

Tensors = dict[str, NDArray[np.generic]]


@functools.cache
def folder() -> Path:
    """A folder for this run."""
    path = Path(tempfile.mkdtemp(prefix="tiercut-tests-"))
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path


@functools.cache
def bundle_of(architecture: str) -> tiercut.Bundle:
    """The bundle of one of `models.ARCHITECTURES`."""
    module, example = ARCHITECTURES[architecture]()
    return tiercut.export(module, example, folder() / architecture)


@functools.cache
def exits_bundle() -> tiercut.Bundle:
    """A model of 16x16 grey images with the exits ``early`` and ``late``, four classes, and a variant of 8x8."""
    torch.manual_seed(0)
    return tiercut.export(
        EarlyExits(),
        None,
        folder() / "exits",
        labels=["a", "b", "c", "d"],
        preprocess=FrameSpec(size=(16, 16), channels=1, mean=(128.0,), std=(64.0,)),
        exits=["early", "late"],
        sizes=[(8, 8)],
    )


def grey_frames(count: int, size: int = 16) -> list[NDArray[np.uint8]]:
    """Frames of noise with patches, each other than the next."""
    random = np.random.default_rng(0)
    patches = random.integers(0, 256, (count, size // 4, size // 4), dtype=np.uint8)
    return [np.kron(each, np.ones((4, 4), np.uint8)) for each in patches]


def inputs_of(architecture: str) -> Tensors:
    """The example that it was exported with, by name."""
    _, example = ARCHITECTURES[architecture]()
    return dict(zip((t.name for t in bundle_of(architecture).inputs), arrays(example), strict=True))
