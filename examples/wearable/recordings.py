"""Recordings of a smart watch that PyPI's ``seglearn`` ships: ten people doing seven exercises for the shoulder.

D. Burns et al., "Shoulder physiotherapy exercise recognition: machine learning the inertial signals from a smartwatch",
Physiological Measurement 39 (2018), https://arxiv.org/abs/1802.01489. seglearn is by David Burns, BSD License,
https://github.com/dmbee/seglearn.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

RATE_HZ = 50.0
CHANNELS = ("acc_x", "acc_y", "acc_z", "gyro_x", "gyro_y", "gyro_z")
UNITS = ("g", "g", "g", "rad/s", "rad/s", "rad/s")
#: In the order of the recordings' numbers.
LABELS = (
    "pendulum",
    "abduction",
    "forward elevation",
    "internal rotation",
    "external rotation",
    "trapezius extension",
    "upright row",
)
#: People whose recordings no network here is trained with: every third, chosen before anything was measured.
HELD_OUT = (3, 6, 9)


@dataclass(frozen=True, slots=True)
class Recording:
    """One exercise of one person: about 20 repetitions.

    Attributes:
        samples: float32 ``(samples, 6)``, at 50 Hz, in `UNITS`.
        exercise: Number of its label.
        subject: Number of the person, 1 to 10.
    """

    samples: NDArray[np.float32]
    exercise: int
    subject: int


def load() -> list[Recording]:
    """All 140 recordings.

    Raises:
        SystemExit: seglearn is not installed.
    """
    found = importlib.util.find_spec("seglearn")  # not imported: only its data is wanted
    if found is None or found.origin is None:
        raise SystemExit("seglearn is not installed: pip install -c constraints.txt 'tiercut[examples]'")
    path = Path(found.origin).parent / "data" / "watch_dataset.npy"
    # A pickle, which may run code: this one was installed as a part of a package, as all of the package's code was.
    data = np.load(path, allow_pickle=True).item()
    return [
        Recording(samples.astype(np.float32), int(exercise), int(subject))
        for samples, exercise, subject in zip(data["X"], data["y"], data["subject"], strict=True)
    ]
