"""Whether frames in flight overlap: results per second against the rate of the slowest node alone.

    python -m bench.throughput

A node's own rate is 1 / (its thread's time per frame), taken from the same run. Three nodes, a broker and a hub share
the machine's cores, so their sum bounds the rate too: it is printed beside the ratio.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import tempfile
import time
from pathlib import Path

from bench.machine import machine
from bench.site import Arrived, model, site, take
from tiercut.model.bundle import Bundle
from tiercut.model.cut_names import resolve_cut

WARM_UP = 100


async def measure(bundle: Bundle, args: argparse.Namespace) -> tuple[list[Arrived], float]:
    """Results after a warm-up, and the seconds they took."""
    first, second = resolve_cut(bundle, args.first), resolve_cut(bundle, args.second)
    print(f"cuts {first} and {second} of {bundle.end}, {args.codec}, {args.in_flight} frames in flight")
    stream = {"in_flight": args.in_flight, "frames": args.frames + WARM_UP + args.in_flight}
    with tempfile.TemporaryDirectory() as folder:
        async with site(Path(folder), bundle, first=first, second=second, codec=args.codec, stream=stream) as (
            _,
            arriving,
        ):
            await take(arriving, WARM_UP)
            start = time.perf_counter()
            arrived = await take(arriving, args.frames)
            return arrived, time.perf_counter() - start


def report(arrived: list[Arrived], seconds: float) -> None:
    """Rates, and whether order was kept."""
    rate = len(arrived) / seconds
    own = {node: statistics.mean(a.node_s(node, "decode", "compute", "encode") for a in arrived) for node in "dec"}
    slowest = max(own, key=lambda node: own[node])
    names = {"d": "device", "e": "edge", "c": "cloud"}
    for node, each in own.items():
        print(f"{names[node]:<7} {each * 1e3:6.2f} ms per frame: {1 / each:6.1f} frames/s alone")
    cores = len(os.sched_getaffinity(0))
    print(f"all nodes' thread time on {cores} cores: at most {cores / sum(own.values()):6.1f} frames/s")
    print(
        f"throughput {rate:.1f} frames/s = {rate * own[slowest]:.2f} x the {names[slowest]}'s own rate (to reach: 0.90)"
    )
    seqs = [a.result["seq"] for a in arrived]
    print(f"order kept: {seqs == sorted(seqs)}, frames missing: {seqs[-1] - seqs[0] + 1 - len(seqs)}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--frames", type=int, default=600)
    parser.add_argument("--first", default="20%")
    parser.add_argument("--second", default="60%")
    parser.add_argument("--codec", default="int8")
    parser.add_argument("--in-flight", type=int, default=6)
    args = parser.parse_args()
    bundle = model()
    print(machine())
    report(*asyncio.run(measure(bundle, args)))


if __name__ == "__main__":
    main()
