"""Cold start: from the start of a node's process to its first result, with broker, plan and bundle there.

    python -m bench.cold_start [STARTS]

EfficientNet-Lite0 on a device, an edge and a cloud node. Each is stopped and started again, while the others go on; its
first result is the first one with a stage of that node. Wall time is that of this machine as loaded as it is; CPU time
is the node's process's, all threads, when its first result is here.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

import psutil

from bench.machine import compile_programs, machine
from bench.site import Arrived, model, site, take
from tiercut.launch.processes import Processes
from tiercut.model.bundle import Bundle
from tiercut.model.cut_names import resolve_cut

NODES = {"d": "device", "e": "edge", "c": "cloud"}
STARTS = 5
LIMIT_S = 1.5
#: Frames of the time before the start may still be on their way for this long.
SETTLE_S = 1.0
FIRST_FRAMES = 10


async def measure(bundle: Bundle, cuts: tuple[int, int], starts: int) -> AsyncIterator[tuple[str, float, float]]:
    """Tier, wall and CPU seconds of each node in turn, as the median of some starts."""
    first, second = cuts
    stream = {"fps": 25, "delivery": "latest"}
    with tempfile.TemporaryDirectory() as folder:
        async with site(Path(folder), bundle, first=first, second=second, codec="int8", stream=stream) as (
            processes,
            arriving,
        ):
            await take(arriving, FIRST_FRAMES)
            for name, tier in NODES.items():
                times = [await _start(processes, arriving, name) for _ in range(starts)]
                wall_s, cpu_s = (statistics.median(each) for each in zip(*times, strict=True))
                yield tier, wall_s, cpu_s


async def report(bundle: Bundle, starts: int) -> None:
    """Measure and print."""
    cuts = resolve_cut(bundle, "20%"), resolve_cut(bundle, "60%")
    async for tier, wall_s, cpu_s in measure(bundle, cuts, starts):
        to_reach = f"   (to reach: {LIMIT_S} s)"
        print(f"{tier:<7} first result after {wall_s:5.2f} s, {cpu_s:5.2f} s of CPU{to_reach}", flush=True)


async def _start(processes: Processes, arriving: AsyncIterator[Arrived], name: str) -> tuple[float, float]:
    """Wall and CPU seconds from a node's start to its first result."""
    await processes.stop(name)
    settled_s = time.monotonic() + SETTLE_S
    results = asyncio.create_task(_first_of(arriving, name, settled_s))
    await asyncio.sleep(SETTLE_S)
    started_s = time.monotonic()
    await processes.start(name)
    async with asyncio.timeout(60):
        arrived_s = await results
    used = psutil.Process(processes.pid(name)).cpu_times()
    return arrived_s - started_s, used.user + used.system


async def _first_of(arriving: AsyncIterator[Arrived], name: str, after_s: float) -> float:
    """When the first result with a stage of a node arrives, after a time."""
    async for each in arriving:
        if time.monotonic() >= after_s and each.node_s(name, "compute"):
            return time.monotonic()
    raise RuntimeError("no more results")


def main() -> None:
    """The command."""
    starts = int(sys.argv[1]) if len(sys.argv) > 1 else STARTS
    compile_programs()
    bundle = model()
    print(machine())
    asyncio.run(report(bundle, starts))


if __name__ == "__main__":
    main()
