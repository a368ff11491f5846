"""What an envelope costs: microseconds of CPU to encode and to decode one, for a small tensor and a typical one.

``python -m bench.envelope`` takes seconds. The frame is one that an edge sends on, with a deadline and eight stages.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial

import numpy as np

from bench.machine import machine
from tiercut.codecs.encode import encode_tensor
from tiercut.plan import Deadline, Plan
from tiercut.protocol.envelope import decode_work, encode_work
from tiercut.protocol.frames import ClockStamp, Stage, StageKind, Work

SIZES = (1_000, 150_000)
KINDS: tuple[StageKind, ...] = ("prepare", "queue", "compute", "encode")
ROUNDS = 7


def frame(tensor_bytes: int) -> Work:
    """A frame half-way from edge to cloud, with one tensor."""
    deadline = Deadline(seconds=0.5, rest_s=(0.1, 0.05, 0.02), in_flight=3)
    codecs = ("int8+zstd", "raw")
    return Work(
        site="home",
        stream="porch",
        seq=7,
        model="5a" * 32,
        plan=Plan(
            epoch=3,
            first_cut=4,
            second_cut=9,
            device="cam",
            edge="nuc",
            cloud="dc",
            codecs=codecs,
            deadline=deadline,
        ),
        delivery="latest",
        cut=4,
        tensors=(encode_tensor("x", np.zeros(tensor_bytes, np.uint8), "raw"),),
        captured_unix_s=1764000000.25,
        captured=ClockStamp("cam-1", 12.5),
        sent=ClockStamp("cam-1", 12.75),
        stages=tuple(Stage(where, kind, 0.0123) for where in ("cam", "nuc") for kind in KINDS),
        deadline_s=0.5,
        label="porch.jpg",
    )


def cpu_us(run: Callable[[], object], count: int) -> float:
    """Least CPU time of one call, over `ROUNDS` rounds of ``count`` calls."""
    rounds = []
    for _ in range(ROUNDS):
        start = time.process_time()
        for _ in range(count):
            run()
        rounds.append(time.process_time() - start)
    return min(rounds) / count * 1e6


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.envelope", description="What an envelope costs.")
    parser.add_argument("--count", type=int, default=2000, help="envelopes per round (default: 2000)")
    count: int = parser.parse_args().count
    print(f"{machine()}; least of {ROUNDS} rounds of {count}")
    print(f"{'tensor':>10} {'envelope':>10} {'encode':>10} {'decode':>10}")
    for size in SIZES:
        work = frame(size)
        data = encode_work(work)
        encode, decode = cpu_us(partial(encode_work, work), count), cpu_us(partial(decode_work, data), count)
        print(f"{size:>8} B {len(data):>8} B {encode:>7.2f} µs {decode:>7.2f} µs")


if __name__ == "__main__":
    main()
