"""Train a small network that tells exercises apart, on people other than those it is judged by, and write its bundle.

python -m examples.wearable.train --out bundles/exercise
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

import tiercut
from examples.wearable.recordings import CHANNELS, HELD_OUT, LABELS, RATE_HZ, UNITS, Recording, load
from tiercut.model.bundle import Bundle
from tiercut.model.preprocess import FrameSpec
from tiercut.torch_view.threads import torch_threads

#: Samples of a window, 2 s: about one repetition.
SAMPLES = 100
FRAME = FrameSpec(kind="signal", samples=SAMPLES, rate_hz=RATE_HZ, channel_names=CHANNELS, units=UNITS)
WIDTH, BATCH, EPOCHS, LEARNING_RATE = 32, 64, 15, 5e-3
#: Standard deviation of the factor that each channel of a window in training is multiplied by: people differ in force.
FORCE = 0.1


@dataclass(frozen=True, slots=True)
class Windows:
    """Windows with what they show: float32 ``(windows, channels, samples)`` and as many numbers of labels."""

    x: torch.Tensor
    y: torch.Tensor


def network() -> nn.Sequential:
    """Three convolutions over time; the first layer learns each channel's mean and deviation. 25,000 weights."""
    layers: list[nn.Module] = [nn.BatchNorm1d(len(CHANNELS))]
    sizes = [(len(CHANNELS), WIDTH, 7), (WIDTH, 2 * WIDTH, 5), (2 * WIDTH, 2 * WIDTH, 3)]
    for before, after, kernel in sizes:  # (windows, channels, 100) → 50 → 25 → 13
        convolution = nn.Conv1d(before, after, kernel, stride=2, padding=kernel // 2)
        layers += [convolution, nn.BatchNorm1d(after), nn.ReLU()]
    pool = nn.AdaptiveAvgPool1d(1)
    return nn.Sequential(*layers, pool, nn.Flatten(), nn.Dropout(0.3), nn.Linear(2 * WIDTH, len(LABELS)))


def windows(recordings: Collection[Recording]) -> Windows:
    """All windows that overlap by a half; none spans two recordings."""
    cut = [
        (each.samples[start : start + SAMPLES].T, each.exercise)
        for each in recordings
        for start in range(0, len(each.samples) - SAMPLES + 1, SAMPLES // 2)
    ]
    return Windows(torch.from_numpy(np.stack([x for x, _ in cut])), torch.tensor([y for _, y in cut]))


def train(data: Windows, *, epochs: int = EPOCHS, seed: int = 0) -> nn.Sequential:
    """A network trained on windows, the same for the same seed."""
    with torch_threads(1), torch.random.fork_rng(devices=[]):  # so small a network is slower on more threads
        torch.manual_seed(seed)
        return _trained(network(), data, epochs)


def _trained(model: nn.Sequential, data: Windows, epochs: int) -> nn.Sequential:
    steps = epochs * (len(data.x) // BATCH)
    optimiser = torch.optim.AdamW(model.parameters(), weight_decay=0.01)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, total_steps=steps)
    for _ in range(epochs):
        for chosen in torch.split(torch.randperm(len(data.x)), BATCH):
            if len(chosen) < BATCH:
                continue
            x = data.x[chosen]
            logits = model(x * (1 + FORCE * torch.randn(*x.shape[:2], 1)))
            loss = nn.functional.cross_entropy(logits, data.y[chosen], label_smoothing=0.05)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            rate.step()
    return model.eval()


def accuracy(model: nn.Module, data: Windows) -> float:
    """Part of the windows whose best label is right."""
    with torch.no_grad():
        right = model(data.x).argmax(1) == data.y
    return float(right.float().mean())


def split(recordings: Collection[Recording], held_out: Collection[int]) -> tuple[Windows, Windows]:
    """Windows to train with, and windows of the people held out."""
    seen = [each for each in recordings if each.subject not in held_out]
    return windows(seen), windows([each for each in recordings if each.subject in held_out])


def export(model: nn.Module, out: Path) -> Bundle:
    """Write it as a bundle."""
    return tiercut.export(model, None, out, name="exercise", labels=LABELS, preprocess=FRAME)


def cross_validate(recordings: Collection[Recording], epochs: int) -> None:
    """Print the accuracy on each two people by a network that was trained with the other eight."""
    right, judged = 0.0, 0
    for first in range(1, 11, 2):
        seen, unseen = split(recordings, (first, first + 1))
        part = accuracy(train(seen, epochs=epochs), unseen)
        right, judged = right + part * len(unseen.y), judged + len(unseen.y)
        print(f"people {first} and {first + 1}: {part:.1%} of {len(unseen.y)} windows")
    print(f"all 10 people, none judged by a network that has seen them: {right / judged:.1%} of {judged} windows")


def main() -> None:
    """Train, judge, write."""
    parser = argparse.ArgumentParser(description="train a network that tells exercises apart, and write its bundle")
    parser.add_argument("--out", type=Path, default=Path("bundles/exercise"), help="folder of the bundle")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="times that the network sees all windows")
    parser.add_argument("--cross-validate", action="store_true", help="judge on all ten people instead; writes nothing")
    args = parser.parse_args()
    recordings = load()
    if args.cross_validate:
        cross_validate(recordings, args.epochs)
        return
    seen, unseen = split(recordings, HELD_OUT)
    start_s = time.perf_counter()
    model = train(seen, epochs=args.epochs)
    print(f"trained on {len(seen.y)} windows of {10 - len(HELD_OUT)} people in {time.perf_counter() - start_s:.1f} s")
    print(f"accuracy: {accuracy(model, seen):.1%} on them", end=", ")
    print(f"{accuracy(model, unseen):.1%} on {len(unseen.y)} windows of {len(HELD_OUT)} people it has never seen")
    print(export(model, args.out).folder)


if __name__ == "__main__":
    main()
