"""Frames to train on, and others to measure the result with."""

from __future__ import annotations

from pathlib import Path

from tiercut.datasets.folders import load, need, splits
from tiercut.datasets.samples import Samples
from tiercut.errors import SettingsError

#: What is trained on where a folder is not divided into train and test.
TRAIN_PART = 0.8
MIN_TRAIN, MIN_HELD_BACK = 64, 16


def train_and_held_back(folder: str | Path, frames: int, held_back: int, *, seed: int = 0) -> tuple[Samples, Samples]:
    """Some frames of a folder to train on, and some that training never sees; the same at every call.

    Args:
        folder: As `tiercut.datasets.load` takes it; held back is its test part, or a fifth of all.
        frames: At most this many to train on.
        held_back: At most this many to hold back.
        seed: Which ones are drawn.

    Raises:
        SettingsError: too few frames are asked for.
        DataError: the folder cannot be read, or holds too few.
    """
    if frames < MIN_TRAIN:
        fix = "ask for more frames"
        raise SettingsError("--frames is not valid", expected=f"{MIN_TRAIN} or more", came=str(frames), fix=fix)
    divided = splits(folder)
    if {"train", "test"} <= set(divided):
        train, test = load(folder, "train"), load(folder, "test")
    else:
        train, test = load(folder).split(TRAIN_PART, seed)
    need(train, MIN_TRAIN, "the calibration set")
    need(test, MIN_HELD_BACK, "the set of held-back frames")
    return train.take(frames, seed), test.take(held_back, seed)
