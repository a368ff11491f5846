"""A sensor that gives more than the way takes: latency against the unloaded way, throughput against the most.

    python -m bench.overload

At the same cuts, in the same run, in turns: frames one at a time (*unloaded*); a window that is always full (*most*);
a sensor at ``--load`` times that rate with ``latest``; and one that gives as many as are taken with ``every``. Nodes,
broker and hub share the machine's cores, so a frame alone may take less time at each node than one among others.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.machine import machine
from bench.site import Arrived, model, site, take
from tiercut.model.bundle import Bundle
from tiercut.model.cut_names import resolve_cut

UNLOADED_FPS = 4.0


@dataclass(frozen=True)
class Run:
    """What came of one setting: latencies from capture to result, and results per second."""

    latency_s: list[float]
    rate: float

    @property
    def p50_s(self) -> float:
        """Median latency."""
        return statistics.median(self.latency_s)


async def run(bundle: Bundle, args: argparse.Namespace, *, device: str = "iot_node", count: int, **stream: Any) -> Run:
    """Results of a stream after a warm-up of a third of them."""
    first, second = resolve_cut(bundle, args.first), resolve_cut(bundle, args.second)
    with tempfile.TemporaryDirectory() as folder:
        async with site(
            Path(folder), bundle, first=first, second=second, codec=args.codec, stream=stream, device=device
        ) as (_, arriving):
            await take(arriving, count // 3)
            start_s = time.perf_counter()
            arrived: list[Arrived] = await take(arriving, count)
            return Run([each.end_to_end_s for each in arrived], count / (time.perf_counter() - start_s))


async def measure(bundle: Bundle, args: argparse.Namespace) -> None:
    """Print a line for each setting."""
    unloaded = await run(bundle, args, count=60, fps=UNLOADED_FPS, in_flight=args.in_flight)
    most = await run(bundle, args, device="bench.full_window", count=args.frames, in_flight=args.in_flight)
    latest = {"delivery": "latest", "fps": args.load * most.rate}
    runs = {
        "unloaded": unloaded,
        "always full": most,
        f"latest, {latest['fps']:.0f} frames/s": await run(
            bundle, args, count=args.frames, in_flight=args.in_flight, **latest
        ),
        "every, as many as taken": await run(bundle, args, count=args.frames, in_flight=args.in_flight),
    }
    for name, each in runs.items():
        mean_s = statistics.fmean(each.latency_s)
        print(
            f"{name:<26} {each.rate:6.1f} frames/s = {each.rate / most.rate:.2f} x the most; latency p50 "
            f"{each.p50_s * 1e3:6.1f} ms = {each.p50_s / unloaded.p50_s:.2f} x unloaded, mean {mean_s * 1e3:6.1f} ms"
        )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--frames", type=int, default=600)
    parser.add_argument("--first", default="20%")
    parser.add_argument("--second", default="60%")
    parser.add_argument("--codec", default="int8")
    parser.add_argument("--in-flight", type=int, default=6)
    parser.add_argument("--load", type=float, default=2.0)
    parser.add_argument("--repeat", type=int, default=3)
    args = parser.parse_args()
    bundle = model()
    print(machine())
    for _ in range(args.repeat):
        asyncio.run(measure(bundle, args))


if __name__ == "__main__":
    main()
