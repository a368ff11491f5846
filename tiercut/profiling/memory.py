"""Measuring what a model's segments hold: each piece of the model is loaded and run once in a process of its own.

The growth of that process's resident memory (``VmRSS``) while the session is made are the piece's weights, as they are
packed and mapped; the growth while it runs are its activations and the allocator's slack. Both are shared out over the
piece's blocks in the proportion of what the graph says of them; a session's own share, half a megabyte, is added, as a
segment may be smaller than the piece. Pieces, so that a node measures a model that it cannot
hold whole. Where a system does not tell a process's memory (it has no ``/proc``), the graph's estimate stays.
"""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tiercut.heap import resident_mb
from tiercut.model.bundle import Bundle
from tiercut.model.memory import SESSION_BYTES, BlockMemory, graph_bytes, graph_memory, rounded
from tiercut.plan import FULL

#: A piece has about so many bytes of weights; there are not more than so many of them, as each takes a process.
PIECE_BYTES, MAX_PIECES = 64_000_000, 8
#: A process that takes longer is given up.
PATIENCE_S = 120.0


@dataclass(frozen=True, slots=True)
class Grown:
    """By how much a process has grown.

    Attributes:
        load_mb: While a piece was loaded.
        run_mb: While it ran.
    """

    load_mb: float
    run_mb: float


def measure_memory(bundle: Bundle, threads: int = 1) -> dict[str, BlockMemory]:
    """What the blocks of each variant hold, measured; as the graph says where that is not possible.

    Variants beside the whole model have weights of the same kinds: they are scaled as the whole was.
    """
    if resident_mb() is None:
        return estimated_memory(bundle)
    weights, activations = graph_bytes(bundle)
    pieces = pieces_of(weights)
    grown = [grown_by(bundle, start, stop, threads) for start, stop in pieces]
    if any(each is None for each in grown):
        return estimated_memory(bundle)
    weights_mb: list[float] = []
    peak_mb: list[float] = []
    for (start, stop), each in zip(pieces, grown, strict=True):
        assert each is not None  # noqa: S101 - asked above
        weights_mb += _shared(each.load_mb, weights[start:stop])
        most = max(activations[start:stop]) or 1
        peak_mb += [SESSION_BYTES / 1e6 + each.run_mb * size / most for size in activations[start:stop]]
    load = sum(weights_mb) / max(1.0, sum(weights) / 1e6)
    run = max(peak_mb) / max(1.0, max(activations) / 1e6)
    found = {FULL: BlockMemory(weights_mb=rounded(weights_mb), peak_mb=rounded(peak_mb))}
    for variant in bundle.variants[1:]:
        sizes, alive = graph_bytes(bundle, variant.name)
        trunk = 0 if variant.exit is None else variant.exit.cut
        found[variant.name] = BlockMemory(
            weights_mb=rounded([*weights_mb[:trunk], *(load * each / 1e6 for each in sizes[trunk:])]),
            peak_mb=rounded([*peak_mb[:trunk], *(run * each / 1e6 for each in alive[trunk:])]),
        )
    return found


def estimated_memory(bundle: Bundle) -> dict[str, BlockMemory]:
    """The same from the graph alone."""
    found = {variant.name: graph_memory(bundle, variant.name) for variant in bundle.variants}
    return {
        name: BlockMemory(weights_mb=rounded(each.weights_mb), peak_mb=rounded(each.peak_mb))
        for name, each in found.items()
    }


def pieces_of(weights: Sequence[int]) -> list[tuple[int, int]]:
    """Segments, one after the other, of about equal weights."""
    count = min(MAX_PIECES, len(weights), max(1, round(sum(weights) / PIECE_BYTES)))
    ends: list[int] = []
    so_far = 0
    for k, size in enumerate(weights, start=1):
        so_far += size
        if so_far >= (len(ends) + 1) * sum(weights) / count and len(ends) < count - 1:
            ends.append(k)
    bounds = [0, *(end for end in ends if end < len(weights)), len(weights)]
    return list(itertools.pairwise(bounds))


def _shared(whole: float, sizes: Sequence[int]) -> list[float]:
    """A whole in the proportion of sizes; evenly where there are none."""
    total = sum(sizes)
    return [whole * size / total if total else whole / len(sizes) for size in sizes]


def grown_by(bundle: Bundle, start: int, stop: int, threads: int) -> Grown | None:
    """What a process that does nothing else grows by; ``None`` where it does not say."""
    command = [sys.executable, "-m", __name__, str(bundle.folder), str(start), str(stop), str(threads)]
    try:
        done = subprocess.run(command, capture_output=True, timeout=PATIENCE_S, check=True)  # noqa: S603 - our own module
        said = json.loads(done.stdout)
        return Grown(max(0.0, float(said["load_mb"])), max(0.0, float(said["run_mb"])))
    except (OSError, subprocess.SubprocessError, ValueError, KeyError, TypeError):
        return None


def _measure(folder: str, start: int, stop: int, threads: int) -> Mapping[str, float]:
    """In the process of its own: load and run a piece."""
    bundle = Bundle.load(folder)
    weights, _ = graph_bytes(bundle)
    small = min(range(len(weights)), key=weights.__getitem__)
    bundle.segment(small, small + 1, threads).warm_up()  # what the runtime takes once is none of the piece's
    before = resident_mb() or 0.0
    segment = bundle.segment(start, stop, threads)
    loaded = resident_mb() or 0.0
    segment.warm_up()
    return {"load_mb": loaded - before, "run_mb": (resident_mb() or 0.0) - loaded}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_measure(sys.argv[1], *map(int, sys.argv[2:5]))))
