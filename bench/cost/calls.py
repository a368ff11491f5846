"""Systems that need no broker: the whole model in one process, and the rivals' calls."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import psutil

from bench.cost.children import ask, listens, started
from bench.cost.counters import Pids
from bench.cost.rivals.table import RIVALS
from bench.cost.systems import Frame, Job, Running
from tiercut.launch.processes import free_port


@asynccontextmanager
async def whole(job: Job, folder: Path) -> AsyncIterator[Running]:
    """The whole model in one process."""
    with started("bench.cost.rivals", "call", "whole", *_words(job, job.bundle.end, 0, folder), reads=True) as client:
        yield _running(client, None, folder)


@asynccontextmanager
async def rival(name: str, job: Job, folder: Path) -> AsyncIterator[Running]:
    """A rival's client, and its server if that is no child of the client's."""
    words = _words(job, job.first, free_port(), folder)
    with ExitStack() as stack:
        server = None
        if RIVALS[name].server:
            server = stack.enter_context(started("bench.cost.rivals", "serve", name, *words))
            await listens(int(words[0]), server)
        client = stack.enter_context(started("bench.cost.rivals", "call", name, *words, reads=True))
        yield _running(client, server, folder)


def _running(client: subprocess.Popen[str], server: subprocess.Popen[str] | None, folder: Path) -> Running:
    """A client that takes frames on request."""

    def take(count: int) -> list[Frame]:
        return [Frame(end_to_end_s, work_s) for end_to_end_s, work_s in json.loads(ask(client, str(count)))]

    return Running(
        pids=lambda: {"client": (client.pid,), **_servers(client.pid, server)},
        take=lambda count: asyncio.to_thread(take, count),
        ledgers={end: folder / f"{end}.work" for end in ("client", "server")},
    )


def _servers(client: int, server: subprocess.Popen[str] | None) -> Pids:
    """The process that computes, and all others that the client has brought along (Ray's)."""
    if server is not None:
        return {"server": (server.pid,)}
    children = psutil.Process(client).children(recursive=True)
    replicas = tuple(each.pid for each in children if any("ServeReplica" in word for word in each.cmdline()))
    others = tuple(each.pid for each in children if each.pid not in replicas)
    return ({"server": replicas} if replicas else {}) | ({"others": others} if others else {})


def _words(job: Job, cut: int, port: int, folder: Path) -> tuple[str, ...]:
    return (str(port), str(job.bundle.folder), str(cut), job.codec, str(job.fps), str(folder))
