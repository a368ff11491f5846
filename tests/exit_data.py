"""Frames that a small network learns in seconds: one bright quarter, which is the class."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from tiercut.datasets.samples import Samples
from tiercut.exits.recipe import Progress, Recipe
from tiercut.exits.training import Trained, train_exits
from tiercut.model.bundle import Bundle

#: Enough to learn from in a second.
QUICK = Recipe(epochs=3, batch=8, learning_rate=1e-2)
FROZEN = replace(QUICK, mode="frozen")


def quarters(count: int, seed: int, *, labels: bool = True) -> Samples:
    """Noise of 16 by 16 pixels with a brighter quarter."""
    generator = np.random.default_rng(seed)
    right = generator.integers(0, 4, count)
    frames = generator.integers(0, 120, (count, 16, 16, 3), dtype=np.uint8)
    for frame, label in zip(frames, right, strict=True):
        row, column = divmod(int(label), 2)
        frame[8 * row : 8 * row + 8, 8 * column : 8 * column + 8] += 100
    return Samples(list(frames), right.astype(np.int64) if labels else None)


def write_quarters(folder: Path, count: int = 160) -> Path:
    """The same as files that `tiercut.datasets` reads."""
    for split, seed in (("train", 1), ("test", 2)):
        samples = quarters(count, seed)
        np.save(folder / f"{split}-frames.npy", np.stack(samples.frames))
        np.save(folder / f"{split}-labels.npy", np.asarray(samples.labels))
    return folder


@dataclass
class Heard:
    """What a training reports.

    It is interrupted, as by Ctrl-C, at the end of an epoch or ``within`` one, when so much of it is done.
    """

    progress: list[Progress] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    stop_at: float = 2.0
    within: bool = False

    def report(self, progress: Progress) -> None:
        """Keep it, and interrupt the training if it is time."""
        self.progress.append(progress)
        if progress.part >= self.stop_at and (progress.accuracy or self.within):
            raise KeyboardInterrupt


def train(bundle: Bundle, target: Path, heard: Any = None, **more: Any) -> Trained:
    """`train_exits` with what the tests do not care about."""
    heard = heard or Heard()
    given: dict[str, Any] = {
        "train": quarters(160, 1),
        "held_back": quarters(100, 2),
        "cuts": (7,),
        "recipe": QUICK,
        **more,
    }
    return train_exits(bundle, target=target, report=heard.report, note=heard.notes.append, **given)
