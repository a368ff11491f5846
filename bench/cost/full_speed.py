"""Frames per second with even parts, against what the cores can do.

What they can do is measured, not computed: one process per core takes frames through sensor, segments and codecs as
fast as it can, all at once, with no hop between them. Thread times of tiercut's own nodes would not do: they are wall
times, and on full cores a node also waits for a core in them, which makes the bound too low and the share too good.
"""

from __future__ import annotations

import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.bare import Head, Part
from bench.cost.children import ask, started
from bench.cost.systems import Job, tiercut
from bench.site import broker
from tiercut.model.bundle import Bundle

CHAIN_S = 5.0
WARM_UP = 30


async def rate(job: Job) -> float:
    """Tiercut's frames per second at full speed."""
    with TemporaryDirectory() as folder, broker(Path(folder)) as at:
        async with tiercut(job, at, Path(folder), fps=None, frames=None) as running:
            await running.take(4 * job.warm_up)
            start_s = time.perf_counter()
            await running.take(job.frames)
            return job.frames / (time.perf_counter() - start_s)


def cores_rate(job: Job) -> float:
    """Frames per second of all cores together without any hop."""
    cores = len(os.sched_getaffinity(0))
    words = [str(job.bundle.folder), str(job.first), str(job.second), job.codec]
    with ExitStack() as stack:
        chains = [stack.enter_context(started("bench.cost.full_speed", *words)) for _ in range(cores)]
        for each in chains:
            ask(each, "warm up")
        with ThreadPoolExecutor(cores) as together:
            return sum(map(float, together.map(ask, chains, ["go"] * cores)))


def chain(bundle: Bundle, first: int, second: int, codec: str) -> None:
    """All parts after each other, in this process."""
    head, parts = (
        Head(bundle, first, codec),
        [Part(bundle, first, second, codec), Part(bundle, second, bundle.end, codec)],
    )

    def frame() -> None:
        payload = head.next()
        for part in parts:
            payload = part.handle(payload)

    sys.stdin.readline()
    for _ in range(WARM_UP):
        frame()
    print("warm", flush=True)
    sys.stdin.readline()
    count, start_s = 0, time.perf_counter()
    while time.perf_counter() < start_s + CHAIN_S:
        frame()
        count += 1
    print(count / (time.perf_counter() - start_s), flush=True)


if __name__ == "__main__":
    folder_text, first_text, second_text, codec_text = sys.argv[1:]
    chain(Bundle.load(Path(folder_text)), int(first_text), int(second_text), codec_text)
