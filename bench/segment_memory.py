"""What segments hold, as profiles say it and as a process of their own grows by.

    python -m bench segment_memory

Two models: EfficientNet-Lite0, and a chain of sixteen matrix products of 10 MB each. Of each, some segments [a, b) are
loaded and run once in a process that does nothing else; beside that what the profile of the whole model says of the
same segment, and what its graph alone would say.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn

import tiercut
from bench.machine import machine
from bench.site import model
from tiercut.model.bundle import Bundle
from tiercut.model.memory import BlockMemory, graph_memory
from tiercut.model.preprocess import FrameSpec
from tiercut.profiling.memory import grown_by, measure_memory

WIDTH, LAYERS = 1600, 16
PARTS = ((0.0, 1.0), (0.0, 0.33), (0.33, 1.0), (0.0, 0.66), (0.66, 1.0), (0.33, 0.66))


def chain(folder: Path) -> Bundle:
    """A model of 164 MB."""
    layers = [layer for _ in range(LAYERS) for layer in (nn.Linear(WIDTH, WIDTH), nn.ReLU())]
    module = nn.Sequential(nn.Flatten(), nn.Linear(300, WIDTH), *layers).eval()
    frame = FrameSpec(size=(10, 10), resize="stretch")
    return tiercut.export(module, (torch.randn(1, 3, 10, 10),), folder / "chain", preprocess=frame)


def rows(bundle: Bundle, memory: BlockMemory) -> Iterator[tuple[str, float, float, float]]:
    """Segment, what its process grew by, what the profile says, what the graph says; MB."""
    graph = graph_memory(bundle)
    for low, high in PARTS:
        a, b = round(low * bundle.end), round(high * bundle.end)
        grown = grown_by(bundle, a, b, 1)
        if grown is not None:
            yield f"[{a}, {b})", grown.load_mb + grown.run_mb, memory.needed_mb(a, b), graph.needed_mb(a, b)


def main() -> None:
    """Measure and print."""
    print(machine())
    with tempfile.TemporaryDirectory() as folder:
        for bundle in (model(), chain(Path(folder))):
            started_s = time.perf_counter()
            memory = measure_memory(bundle)["full"]
            print(f"\n{bundle.name}: measured in {time.perf_counter() - started_s:.1f} s")
            print(f"{'segment':<12}{'process':>10}{'profile':>10}{'graph':>10}   MB")
            ratios = []
            for name, grown_mb, profile_mb, graph_mb in rows(bundle, memory):
                ratios.append(profile_mb / grown_mb)
                print(f"{name:<12}{grown_mb:>10.1f}{profile_mb:>10.1f}{graph_mb:>10.1f}")
            spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
            print(f"profile / process: {spread}, median {statistics.median(ratios):.2f}")


if __name__ == "__main__":
    main()
