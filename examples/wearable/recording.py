"""Write a recording of a person whom the network has never seen: each exercise for some seconds, one after the other.

python -m examples.wearable.recording --out recordings/exercises.csv
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from examples.wearable.recordings import CHANNELS, HELD_OUT, LABELS, RATE_HZ, load

#: Each exercise is cut from here on: people take a moment to begin.
SKIP_S = 4.0


def make(subject: int, seconds: float) -> NDArray[np.float32]:
    """``(samples, 6)``: so many seconds of each exercise of a person, in the order of the labels."""
    samples, start = round(seconds * RATE_HZ), round(SKIP_S * RATE_HZ)
    longest: dict[int, NDArray[np.float32]] = {}
    for each in load():
        if each.subject == subject and len(each.samples) > len(longest.get(each.exercise, ())):
            longest[each.exercise] = each.samples
    return np.concatenate([longest[exercise][start : start + samples] for exercise in range(len(LABELS))])


def main() -> None:
    """Write the recording."""
    parser = argparse.ArgumentParser(description="write a recording of a smart watch as CSV")
    parser.add_argument("--out", type=Path, default=Path("recordings/exercises.csv"))
    parser.add_argument("--subject", type=int, default=HELD_OUT[0], help="number of the person, 1 to 10")
    parser.add_argument("--seconds", type=float, default=10.0, help="length of each exercise")
    args = parser.parse_args()
    write(args.out, make(args.subject, args.seconds))
    for number, label in enumerate(LABELS):
        print(f"{number * args.seconds:g} to {(number + 1) * args.seconds:g} s: {label}")


def write(path: Path, samples: NDArray[np.float32]) -> None:
    """Write samples as CSV, with the channels' names in the first line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savetxt(path, samples, fmt="%.5f", delimiter=",", header=",".join(CHANNELS), comments="")


if __name__ == "__main__":
    main()
