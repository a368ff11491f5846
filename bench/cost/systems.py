"""The systems that are compared, as running processes from which frames are taken."""

from __future__ import annotations

import asyncio
import json
import queue
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from paho.mqtt.client import Client

from bench.bare import TOPICS, connect, read_result
from bench.cost.counters import Pids
from bench.cost.rivals.table import RIVALS
from bench.site import Arrived, Broker, site_on
from tiercut.launch.processes import Processes, free_port
from tiercut.model.bundle import Bundle

#: No result for so long: something has ended or hangs.
SILENT_S = 60.0
LISTENS_S = 30.0
#: What is not overhead: the model, the codecs, and the frame's preparation before it is the model's input.
WORK = ("compute", "encode", "decode")


@dataclass(frozen=True, slots=True)
class Job:
    """What all do.

    Attributes:
        first: Cut at which the device's part ends.
        second: Cut at which the edge's part ends; the same one: there is no edge.
        frames: How many are measured at a time.
        warm_up: How many are taken before that.
    """

    bundle: Bundle
    first: int
    second: int
    codec: str
    frames: int
    fps: float
    warm_up: int = 30

    @property
    def nodes(self) -> tuple[str, ...]:
        """Those a frame visits, in order."""
        return ("device", "cloud") if self.first == self.second else ("device", "edge", "cloud")


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame at the end of its way.

    Attributes:
        end_to_end_s: From the model's input to its result here.
        work_s: Wall seconds of that in segments and codecs.
        cpu_s: CPU seconds of each node in sensor, segments and codecs, where the system counts them.
        stages: (node, kind, seconds) in order, where the system tells.
        arrived_s: On this process's wall clock, where it sees the result itself.
    """

    end_to_end_s: float
    work_s: float
    cpu_s: tuple[float, ...] = ()
    stages: tuple[tuple[str, str, float], ...] = ()
    arrived_s: float = 0.0

    @property
    def overhead_s(self) -> float:
        """What is neither segment nor codec."""
        return self.end_to_end_s - self.work_s


@dataclass(frozen=True)
class Running:
    """A system that runs.

    Attributes:
        pids: Its processes by name, now.
        take: Its next so many frames.
    """

    pids: Callable[[], Pids]
    take: Callable[[int], Awaitable[list[Frame]]]


@asynccontextmanager
async def whole(job: Job, _broker: Broker) -> AsyncIterator[Running]:
    """The whole model in one process."""
    async with _client("whole", job, job.bundle.end, 0) as running:
        yield running


@asynccontextmanager
async def rival(name: str, job: Job) -> AsyncIterator[Running]:
    """A rival's client, and its server if that is no child of the client's."""
    port = free_port()
    with ExitStack() as stack:
        server = None
        if RIVALS[name].server:
            server = stack.enter_context(_started("bench.cost.rivals", "serve", name, *_words(job, job.first, port)))
            await _listens(port, server)
        async with _client(name, job, job.first, port, server) as running:
            yield running


@asynccontextmanager
async def bare(job: Job, broker: Broker) -> AsyncIterator[Running]:
    """`bench.bare`: paho's own threads."""
    arrived: queue.Queue[Frame] = queue.Queue()

    def note(_client: Client, payload: bytes) -> None:
        now_s = time.time()
        carried = read_result(payload)
        arrived.put(Frame(now_s - carried.captured_s, carried.wall_s, carried.cpu_s))

    rest = (str(broker.port), str(job.bundle.folder), str(job.first), str(job.second), job.codec, str(job.fps))
    with ExitStack() as stack:
        subscriber = connect(broker.port, TOPICS["result"], note)
        stack.callback(subscriber.loop_stop)
        stack.callback(subscriber.disconnect)
        pids: dict[str, tuple[int, ...]] = {}
        for node in reversed(job.nodes):
            pids[node] = (stack.enter_context(_started("bench.bare", node, *rest)).pid,)
        pids["mosquitto"] = (broker.pid,)
        yield Running(
            pids=lambda: pids,
            take=lambda count: asyncio.to_thread(lambda: [arrived.get(timeout=SILENT_S) for _ in range(count)]),
        )


@dataclass(frozen=True)
class Tiercut(Running):
    """Tiercut's own programs, and what starts and stops them."""

    processes: Processes = field(kw_only=True)
    names: Mapping[str, str] = field(kw_only=True)


@asynccontextmanager
async def tiercut(job: Job, broker: Broker, folder: Path, **stream: Any) -> AsyncIterator[Tiercut]:
    """Hub and nodes; settings of the stream go before those of the job."""
    stream = {"fps": job.fps, "frames": job.frames + job.warm_up} | stream
    cuts = {"first_cut": str(job.first), "second_cut": str(job.second), "codecs": [job.codec] * (len(job.nodes) - 1)}
    plan = cuts | ({"edge": "e"} if "edge" in job.nodes else {})
    names = {node: node[0] for node in job.nodes} | {"hub": "hub"}
    async with site_on(broker.port, folder, job.bundle, plan=plan, stream=stream) as (processes, arriving):
        titles = {name: title for title, name in names.items()}
        arrived: asyncio.Queue[Frame] = asyncio.Queue()

        async def pump() -> None:  # each is noted when it comes, not when somebody asks for it
            async for each in arriving:
                arrived.put_nowait(_frame(each, titles))

        async def take(count: int) -> list[Frame]:
            taken = []
            for _ in range(count):
                async with asyncio.timeout(SILENT_S):
                    taken.append(await arrived.get())
            return taken

        def pids() -> Pids:
            return {title: (processes.pid(name),) for title, name in names.items()} | {"mosquitto": (broker.pid,)}

        pumping = asyncio.create_task(pump(), name="results")
        try:
            yield Tiercut(pids, take, processes=processes, names=names)
        finally:
            pumping.cancel()
            await asyncio.gather(pumping, return_exceptions=True)


def _frame(arrived: Arrived, titles: Mapping[str, str]) -> Frame:
    stages = tuple(
        (titles.get(stage["where"], stage["where"]), str(stage["kind"]), float(stage["ms"]) / 1e3)
        for stage in arrived.result["stages"]
    )
    end_to_end_s = arrived.end_to_end_s - arrived.stages_s("prepare")
    return Frame(end_to_end_s, arrived.stages_s(*WORK), stages=stages, arrived_s=time.time())


@asynccontextmanager
async def _client(
    name: str, job: Job, cut: int, port: int, server: subprocess.Popen[str] | None = None
) -> AsyncIterator[Running]:
    """A process that takes frames on request, and its children by what they are."""
    with _started("bench.cost.rivals", "call", name, *_words(job, cut, port)) as client:

        def pids() -> Pids:
            return {"client": (client.pid,)} | _servers(client.pid, server)

        def take(count: int) -> list[Frame]:
            assert client.stdin is not None
            assert client.stdout is not None
            client.stdin.write(f"{count}\n")
            client.stdin.flush()
            line = client.stdout.readline()
            if not line:
                raise RuntimeError(f"{name}'s client has ended: see above what it says")
            return [Frame(end_to_end_s, work_s, tuple(cpu_s)) for end_to_end_s, work_s, cpu_s in json.loads(line)]

        yield Running(pids, lambda count: asyncio.to_thread(take, count))


def _servers(client: int, server: subprocess.Popen[str] | None) -> Pids:
    """The process that computes, and all others that the client has brought along (Ray's)."""
    if server is not None:
        return {"server": (server.pid,)}
    children = psutil.Process(client).children(recursive=True)
    replicas = tuple(each.pid for each in children if any("ServeReplica" in word for word in each.cmdline()))
    others = tuple(each.pid for each in children if each.pid not in replicas)
    return ({"server": replicas} if replicas else {}) | ({"others": others} if others else {})


def _words(job: Job, cut: int, port: int) -> tuple[str, ...]:
    return (str(port), str(job.bundle.folder), str(cut), job.codec, str(job.fps))


class _started:  # noqa: N801 - reads as a function
    """A module as a process: ended by the end of its input and SIGTERM, after 5 s by SIGKILL."""

    def __init__(self, module: str, *words: str) -> None:
        self._command = [sys.executable, "-m", module, *words]

    def __enter__(self) -> subprocess.Popen[str]:
        self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        return self._process

    def __exit__(self, *_: object) -> None:
        children = psutil.Process(self._process.pid).children(recursive=True) if self._process.poll() is None else []
        self._process.terminate()
        try:
            self._process.wait(5.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for child in children:  # what it left behind
            if child.is_running():
                child.kill()


async def _listens(port: int, process: subprocess.Popen[str]) -> None:
    """Wait until a server answers."""
    async with asyncio.timeout(LISTENS_S):
        while process.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return
            await asyncio.sleep(0.05)
    raise RuntimeError(f"a rival's server has ended with status {process.returncode}: see above what it says")
