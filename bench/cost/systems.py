"""The systems that are compared, as running processes from which frames are taken."""

from __future__ import annotations

import asyncio
import json
import queue
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from paho.mqtt.client import Client

from bench.bare import TOPICS, connect
from bench.cost.children import started
from bench.cost.counters import Pids
from bench.cost.metered import ledger_file
from bench.site import Arrived, Broker, site_on
from tiercut.launch.processes import Processes
from tiercut.model.bundle import Bundle

METERED = "bench.cost.metered"
#: No result for so long: something has ended or hangs.
SILENT_S = 60.0
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
    warm_up: int = 50

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
        stages: (node, kind, seconds) in order, where the system tells.
    """

    end_to_end_s: float
    work_s: float
    stages: tuple[tuple[str, str, float], ...] = ()

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
        ledgers: Of the processes that compute.
    """

    pids: Callable[[], Pids]
    take: Callable[[int], Awaitable[list[Frame]]]
    ledgers: Mapping[str, Path]


@asynccontextmanager
async def bare(job: Job, broker: Broker, folder: Path) -> AsyncIterator[Running]:
    """`bench.bare`: paho's own threads."""
    arrived: queue.Queue[Frame] = queue.Queue()

    def note(_client: Client, payload: bytes) -> None:
        now_s = time.time()
        _, work_s, captured_s = json.loads(payload)
        arrived.put(Frame(now_s - captured_s, work_s))

    cuts = (str(job.first), str(job.second))
    rest = (str(broker.port), str(job.bundle.folder), *cuts, job.codec, str(job.fps), str(folder))
    with ExitStack() as stack:
        subscriber = connect(broker.port, TOPICS["result"], note)
        stack.callback(subscriber.loop_stop)
        stack.callback(subscriber.disconnect)
        pids: dict[str, tuple[int, ...]] = {}
        for node in reversed(job.nodes):
            pids[node] = (stack.enter_context(started("bench.bare", node, *rest)).pid,)
        pids["mosquitto"] = (broker.pid,)
        yield Running(
            pids=lambda: pids,
            take=lambda count: asyncio.to_thread(_next_of, arrived, count),
            ledgers={node: folder / f"{node}.work" for node in job.nodes},
        )


def _next_of(arrived: queue.Queue[Frame], count: int) -> list[Frame]:
    try:
        return [arrived.get(timeout=SILENT_S) for _ in range(count)]
    except queue.Empty:
        # paho writes what its handlers publish only after it has read as many packets as are under way: once frames
        # come faster than a node computes, their number grows with each turn
        raise RuntimeError(
            f"the bare version has given no result for {SILENT_S:g} s: too much else runs here"
        ) from None


@dataclass(frozen=True)
class Tiercut(Running):
    """Tiercut's own programs, and what starts and stops them."""

    processes: Processes = field(kw_only=True)
    names: Mapping[str, str] = field(kw_only=True)


@asynccontextmanager
async def tiercut(
    job: Job, broker: Broker, folder: Path, *, child: str = METERED, **stream: Any
) -> AsyncIterator[Tiercut]:
    """Hub and nodes; settings of the stream go before those of the job."""
    height, width = job.bundle.inputs[0].shape[1:3]  # as the bare version draws them
    size = {"height": int(height), "width": int(width)}
    stream = {"fps": job.fps, "frames": job.frames + job.warm_up} | size | stream
    stream = {name: value for name, value in stream.items() if value is not None}
    cuts = {"first_cut": str(job.first), "second_cut": str(job.second), "codecs": [job.codec] * (len(job.nodes) - 1)}
    plan = cuts | ({"edge": "e"} if "edge" in job.nodes else {})
    names = {node: node[0] for node in job.nodes} | {"hub": "hub"}
    async with site_on(broker.port, folder, job.bundle, plan=plan, stream=stream, child=child) as (processes, arriving):
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

        ledgers = {title: ledger_file(folder / f"{name}.toml") for title, name in names.items() if title != "hub"}
        pumping = asyncio.create_task(pump(), name="results")
        try:
            yield Tiercut(pids, take, ledgers, processes=processes, names=names)
        finally:
            pumping.cancel()
            await asyncio.gather(pumping, return_exceptions=True)


def _frame(arrived: Arrived, titles: Mapping[str, str]) -> Frame:
    stages = tuple(
        (titles.get(stage["where"], stage["where"]), str(stage["kind"]), float(stage["ms"]) / 1e3)
        for stage in arrived.result["stages"]
    )
    end_to_end_s = arrived.end_to_end_s - arrived.stages_s("prepare")
    return Frame(end_to_end_s, arrived.stages_s(*WORK), stages=stages)
