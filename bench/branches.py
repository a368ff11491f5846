"""What early exits save on one machine, beside BranchyNet's table: ``python -m bench branches BUNDLE --data DIR``.

Every held-back frame goes through the network as a node runs it: the segment up to an exit, the exit's head, and on if
it is not sure enough. The same frames go through the whole model in one piece. Both in turns, one thread, batch 1; the
speed-up is the ratio of the two sums (BranchyNet, Teerapittayanon et al., ICPR 2016, table I, has it so).
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from bench.machine import machine
from tiercut.datasets.folders import load
from tiercut.model.bundle import Bundle
from tiercut.model.confidence import confidence
from tiercut.model.segments import Segment

Arrays = dict[str, NDArray[Any]]
THRESHOLDS = (0.8, 0.9, 0.95, 0.99)
#: BranchyNet's row for B-LeNet on MNIST: accuracy of LeNet, with branches, share at the first exit, speed-up on a CPU.
PUBLISHED = "BranchyNet, B-LeNet on MNIST: 99.20 % without, 99.25 % with branches, 94.3 % leave first, 5.4 x"


@dataclass(slots=True)
class Tally:
    """What came of one threshold.

    Attributes:
        right: Frames classified rightly.
        left: Frames by the exit they left at.
        seconds: Time of all of them.
    """

    right: int = 0
    left: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0


class Network:
    """A bundle in pieces, as nodes run it, and in one."""

    def __init__(self, bundle: Bundle) -> None:
        self.whole = bundle.segment(0, bundle.end)
        self.out = bundle.outputs[0].name
        stops = [0, *(each.cut for each in bundle.exits), bundle.end]
        self.parts = [bundle.segment(a, b) for a, b in itertools.pairwise(stops)]
        self.exits = bundle.exits
        self.heads: list[Segment] = [bundle.segment(e.cut, e.cut + 1, variant=e.name) for e in bundle.exits]
        for segment in (self.whole, *self.parts, *self.heads):
            segment.warm_up()

    def leave(self, inputs: Arrays, threshold: float) -> tuple[int, str]:
        """Class of a frame, and the exit that it leaves at."""
        arrays = inputs
        for part, head, spec in zip(self.parts, self.heads, self.exits, strict=False):
            arrays = part(arrays)
            logits = head(arrays)[spec.output.name]
            if confidence(logits, spec.temperature) >= threshold:
                return int(logits.argmax()), spec.name
        return int(self.parts[-1](arrays)[self.out].argmax()), "full"


def main() -> int:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m bench branches", description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR")
    parser.add_argument("--frames", type=int, default=10_000)
    args = parser.parse_args()
    bundle = Bundle.load(args.bundle)
    samples = load(args.data, "test")
    samples = samples.take(min(args.frames, len(samples)))
    if samples.labels is None:
        print(f"{args.data} has no labels", file=sys.stderr)
        return 4
    network = Network(bundle)
    whole, tallies = Tally(), {threshold: Tally() for threshold in THRESHOLDS}
    for i in range(len(samples)):
        inputs, label = bundle.to_inputs(samples.frames[i]), int(samples.labels[i])
        start_s = time.perf_counter()
        answer = int(network.whole(inputs)[network.out].argmax())
        whole.seconds += time.perf_counter() - start_s
        whole.right += answer == label
        for threshold, tally in tallies.items():
            start_s = time.perf_counter()
            answer, name = network.leave(inputs, threshold)
            tally.seconds += time.perf_counter() - start_s
            tally.right += answer == label
            tally.left[name] += 1
    count = len(samples)
    print(machine())
    print(f"{bundle.name}: {count} frames, whole model {whole.right / count:.2%}, {1e6 * whole.seconds / count:.0f} µs")
    for threshold, tally in tallies.items():
        shares = ", ".join(
            f"{name} {tally.left[name] / count:.1%}" for name in [*(e.name for e in bundle.exits), "full"]
        )
        times = f"{1e6 * tally.seconds / count:.0f} µs, {whole.seconds / tally.seconds:.2f} x"
        print(f"threshold {threshold}: {tally.right / count:.2%}, {times}; {shares}")
    print(PUBLISHED)
    return 0


if __name__ == "__main__":
    sys.exit(main())
