"""Measuring a running system: CPU and switches per frame, messages and bytes, idle CPU."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.cost.broker_log import LOG_ALL, Messages, by_process
from bench.cost.calls import rival, whole
from bench.cost.counters import Spent, carried, look, resident_mb, sockets, spent
from bench.cost.systems import Frame, Job, Running, bare, tiercut
from bench.ledger import Worked, read
from bench.site import Broker, broker

#: After its last frame a site still sends statuses, and acknowledges; then it is idle.
SETTLE_S = 10.0
BUSY = "while True: sum(range(100_000))"


@dataclass(frozen=True)
class Measured:
    """A system in one round.

    Attributes:
        frames: Those measured.
        spent: By process, per frame that it has handled itself; where it computes none, per result.
        work_s: CPU seconds per frame of each node in sensor, segments and codecs.
        resident_mb: By process, where there is one, after the frames.
    """

    frames: list[Frame]
    spent: dict[str, Spent]
    work_s: dict[str, float]
    resident_mb: dict[str, float]


@dataclass(frozen=True)
class Traffic:
    """What a process sends and gets per frame: messages as counted by the broker, and bytes of its sockets."""

    messages: dict[str, Messages]
    bytes: dict[str, tuple[float, float]]
    frames: int


@contextmanager
def busy(count: int) -> Iterator[None]:
    """So many other processes that compute."""
    with ExitStack() as stack:
        for _ in range(count):
            other = stack.enter_context(subprocess.Popen([sys.executable, "-c", BUSY]))
            stack.callback(other.kill)
        yield


@asynccontextmanager
async def system(name: str, job: Job, *broker_lines: str) -> AsyncIterator[tuple[Running, Path]]:
    """One of the systems by its name, and the folder with its broker's log."""
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        with broker(folder, *broker_lines) as running_broker:
            async with _of(name, job, running_broker, folder) as running:
                yield running, folder


def _of(name: str, job: Job, at: Broker, folder: Path) -> AbstractAsyncContextManager[Running]:
    if name == "tiercut":
        return tiercut(job, at, folder)
    if name == "bare":
        return bare(job, at, folder)
    return whole(job, folder) if name == "whole" else rival(name, job, folder)


async def measure(running: Running, job: Job) -> Measured:
    """A warm-up, then the frames."""
    await running.take(job.warm_up)
    pids = running.pids()
    before, worked_before = look(pids), worked(running)
    frames = await running.take(job.frames)
    after, worked_after = look(pids), worked(running)
    own = {name: worked_after[name] - earlier for name, earlier in worked_before.items()}
    handled = {name: each.frames for name, each in own.items() if each.frames}
    return Measured(
        frames=frames,
        spent={n: total.per(handled.get(n, job.frames)) for n, total in spent(pids, before, after).items()},
        work_s={name: own[name].cpu_s / count for name, count in handled.items()},
        resident_mb={name: resident_mb(group[0]) for name, group in pids.items() if len(group) == 1},
    )


def worked(running: Running) -> dict[str, Worked]:
    """What each process that computes has worked so far."""
    return {name: read(path) for name, path in running.ledgers.items()}


async def traffic(name: str, job: Job) -> Traffic:
    """Messages and bytes, in a pass with the broker's log of all packets."""
    async with system(name, job, *LOG_ALL) as (running, folder):
        await running.take(job.warm_up)
        log = folder / "mosquitto.log"
        pids = running.pids()
        since, before = len(log.read_text(encoding="utf-8")), carried(pids, sockets())
        await running.take(job.frames)
        open_now, text = sockets(), log.read_text(encoding="utf-8")
        after = carried(pids, open_now)
    sent = {who: ((after[who][0] - before[who][0]) / job.frames, (after[who][1] - before[who][1]) / job.frames)
            for who in pids}  # fmt: skip
    return Traffic(by_process(pids, open_now, text, since), sent, job.frames)


async def idle(running: Running, seconds: float) -> dict[str, Spent]:
    """What each process spends per second while there is no frame."""
    await asyncio.sleep(SETTLE_S)
    pids = running.pids()
    before, start_s = look(pids), time.monotonic()
    await asyncio.sleep(seconds)
    after = look(pids)
    return {name: total.per(time.monotonic() - start_s) for name, total in spent(pids, before, after).items()}
