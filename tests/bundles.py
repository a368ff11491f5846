"""Bundles of the small networks of `models`, each exported once per test run."""

from __future__ import annotations

import atexit
import functools
import shutil
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import tiercut
from tests.models import ARCHITECTURES, arrays

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


def inputs_of(architecture: str) -> Tensors:
    """The example that it was exported with, by name."""
    _, example = ARCHITECTURES[architecture]()
    return dict(zip((t.name for t in bundle_of(architecture).inputs), arrays(example), strict=True))
