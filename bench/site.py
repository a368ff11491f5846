"""A site of real processes on Mosquitto, for measurements."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tiercut.bus.mqtt import MqttBus
from tiercut.bus.settings import MqttSettings
from tiercut.cli.demo import cache_folder, prepare_bundle
from tiercut.clock import SystemClock
from tiercut.launch.processes import CHILD, Processes, ProgramSettings, free_port
from tiercut.model.bundle import Bundle
from tiercut.protocol.topics import RESULT

START_S = 10.0
BROKER = """listener {port} 127.0.0.1
allow_anonymous true
set_tcp_nodelay true
max_inflight_messages 0
max_queued_messages 10000
"""


@dataclass(frozen=True)
class Arrived:
    """A result as a subscriber saw it: its JSON, and the seconds from capture to its arrival here."""

    result: dict[str, Any]
    end_to_end_s: float

    def stages_s(self, *kinds: str) -> float:
        """Seconds in stages of these kinds."""
        return sum(float(stage["ms"]) for stage in self.result["stages"] if stage["kind"] in kinds) / 1e3

    def node_s(self, node: str, *kinds: str) -> float:
        """Seconds in stages of these kinds at one node."""
        stages = self.result["stages"]
        return sum(float(s["ms"]) for s in stages if s["where"] == node and s["kind"] in kinds) / 1e3


@dataclass(frozen=True, slots=True)
class Broker:
    """A broker that runs: its port on the loopback, and its process."""

    port: int
    pid: int


@contextlib.contextmanager
def broker(folder: Path, *more: str) -> Iterator[Broker]:
    """Mosquitto on a free port, with ``more`` lines of configuration; what it prints is in ``mosquitto.log``."""
    port = free_port()
    config = folder / "mosquitto.conf"
    config.write_text(BROKER.format(port=port) + "".join(f"{line}\n" for line in more), encoding="utf-8")
    with (folder / "mosquitto.log").open("wb") as log:
        process = subprocess.Popen(["mosquitto", "-c", str(config)], stdout=log, stderr=subprocess.DEVNULL)
    try:
        _until_listening(port, process)
        yield Broker(port, process.pid)
    finally:
        process.terminate()
        process.wait()


def _until_listening(port: int, process: subprocess.Popen[bytes]) -> None:
    until_s = time.monotonic() + START_S
    while process.poll() is None and time.monotonic() < until_s:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.01)  # a port that begins to listen has no event
    raise RuntimeError(f"Mosquitto does not listen at port {port}; its exit status is {process.poll()}")


@contextlib.contextmanager
def mosquitto(folder: Path) -> Iterator[int]:
    """The port of one, for those who need no more."""
    with broker(folder) as running:
        yield running.port


def model() -> Bundle:
    """EfficientNet-Lite0, exported once."""
    return prepare_bundle(cache_folder())


@asynccontextmanager
async def site(
    folder: Path,
    bundle: Bundle,
    *,
    first: int,
    second: int,
    codec: str,
    stream: dict[str, Any],
    device: str = "iot_node",
) -> AsyncIterator[tuple[Processes, AsyncIterator[Arrived]]]:
    """One device, edge and cloud node on one broker; gives the processes and the results as they arrive.

    ``device`` is the module that is the device's program.
    """
    plan = {"edge": "e", "first_cut": str(first), "second_cut": str(second), "codecs": [codec, codec]}
    with mosquitto(folder) as port:
        async with site_on(port, folder, bundle, plan=plan, stream=stream, device=device) as running:
            yield running


@asynccontextmanager
async def site_on(
    port: int,
    folder: Path,
    bundle: Bundle,
    *,
    plan: dict[str, Any],
    stream: dict[str, Any],
    device: str = "iot_node",
    child: str = CHILD,
) -> AsyncIterator[tuple[Processes, AsyncIterator[Arrived]]]:
    """Hub, cloud node, device, and where the plan names one an edge, on the broker at ``port``."""
    common: dict[str, Any] = {
        "site": "bench",
        "broker_url": f"mqtt://127.0.0.1:{port}",
        "bundles": str(bundle.folder.parent),
    }
    plan = {"stream": "s", "model": bundle.name, "device": "d", "cloud": "c", **plan}
    source = {"name": "s", "model": bundle.name, "sensor": "noise", "delivery": "every", **stream}
    programs: dict[str, tuple[str, ProgramSettings]] = {
        "hub": ("broker", common | {"node": "hub", "plans": [plan]}),
        "c": ("cloud_node", common | {"node": "c"}),
        "e": ("edge_node", common | {"node": "e"}),
        "d": (device, common | {"node": "d", "streams": [source]}),
    }
    if "edge" not in plan:
        del programs["e"]
    bus = MqttBus(MqttSettings(url=str(common["broker_url"])), clock=SystemClock(), wait=True)
    async with Processes(folder, programs, child=child) as processes, bus:
        subscription = await bus.subscribe(RESULT.filter(site="bench"))
        for name in programs:
            await processes.start(name)
        yield processes, _arriving(aiter(subscription))


async def _arriving(deliveries: AsyncIterator[Any]) -> AsyncIterator[Arrived]:
    """One machine, so one clock: capture and arrival are both its wall clock's."""
    async for delivery in deliveries:
        now_s = time.time()
        delivery.ack()
        result = json.loads(delivery.payload)
        yield Arrived(result, now_s - _unix_s(result["captured_at"]))


def _unix_s(text: str) -> float:
    from datetime import datetime  # noqa: PLC0415 - the only place

    return datetime.fromisoformat(text).timestamp()


async def take(arriving: AsyncIterator[Arrived], count: int, *, timeout_s: float = 120) -> list[Arrived]:
    """The next ``count`` results."""
    async with asyncio.timeout(timeout_s):
        return [await anext(arriving) for _ in range(count)]
