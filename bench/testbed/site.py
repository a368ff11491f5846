"""A site on the testbed: a broker per site, and the four programs as users start them, each in its namespace."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.testbed.busy import busy_cores
from bench.testbed.models import Prepared
from bench.testbed.net import CLOUD, EDGE_TO_DEVICE, Net, find
from bench.testbed.watch import Watch
from tiercut.bus import Message
from tiercut.bus.mqtt import MqttBus
from tiercut.bus.settings import MqttSettings
from tiercut.clock import SystemClock
from tiercut.errors import BusError
from tiercut.launch.processes import CHILD, Processes, ProgramSettings, to_toml
from tiercut.plan import Tier
from tiercut.protocol.topics import PLAN

SITE, STREAM = "testbed", "camera"
#: Node ids; the edge's namespace has the site's broker and its hub too.
NODES: dict[Tier, str] = {"device": "d", "edge": "e", "cloud": "c"}
HUB = "hub"
PLACES: dict[str, Tier] = {"d": "device", "e": "edge", "c": "cloud", HUB: "edge"}
SITE_URL, CLOUD_URL = f"mqtt://{EDGE_TO_DEVICE}:1883", f"mqtt://{CLOUD}:1883"
ONLINE_S = 30.0
BROKER = """listener 1883
allow_anonymous true
set_tcp_nodelay true
max_inflight_messages 0
max_queued_messages 10000
user root
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What is declared of a site.

    Attributes:
        device_slowdown: How many times as long as this machine the device takes.
        edge_slowdown: The edge does.
        fps: Frames per second.
        in_flight: Frames that may be in flight.
        delay_ms: Added to the frames that device and edge send on, as a token bucket has none.
        codecs: What plans may use besides raw.
        edge_emulation: Changes of the edge, by time.
        busy: Other programs keep every core busy once the nodes are there.
    """

    device_slowdown: float
    edge_slowdown: float
    fps: float
    in_flight: int
    delay_ms: float = 0.0
    codecs: tuple[str, ...] = ("int8+zstd", "jpeg")
    edge_emulation: tuple[Mapping[str, float], ...] = ()
    busy: bool = False


class Programs(Processes):
    """Programs of tiercut, each in the namespace that its place says: name → tier."""

    def __init__(
        self,
        folder: Path,
        programs: Mapping[str, tuple[str, ProgramSettings]],
        net: Net,
        places: Mapping[str, Tier] = PLACES,
    ) -> None:
        super().__init__(folder, programs)
        self._net = net
        self._places = places

    async def start(self, name: str) -> None:
        """Start a program (again); it ends with this process, however that ends."""
        program, settings = self._programs[name]
        path = self._folder / f"{name}.toml"
        path.write_text(to_toml(settings), encoding="utf-8")
        command = [
            *self._net.command(self._places[name]),
            sys.executable,
            "-m",
            CHILD,
            program,
            "--settings",
            str(path),
        ]
        with (self._folder / f"{name}.log").open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *command, stdin=asyncio.subprocess.PIPE, stdout=log, stderr=log, start_new_session=True
            )
        self._running[name] = process
        self._watchers[name] = asyncio.create_task(self._notice_end(name, process), name=f"end of {name}")


@dataclass(slots=True)
class Bench:
    """A running site and its watcher."""

    net: Net
    prepared: Prepared
    setup: Setup
    programs: Programs
    watch: Watch
    home: MqttBus
    uplink: MqttBus

    async def start(self, name: str) -> None:
        """Start a program and wait until its node says that it is online.

        Raises:
            BusError: it does not.
        """
        self.watch.online.discard(name)
        await self.programs.start(name)
        if not await self.watch.until(lambda: name in self.watch.online, timeout_s=ONLINE_S):
            raise BusError(
                f"the testbed's '{name}' does not start",
                expected=f"online within {ONLINE_S:.0f} s",
                came="nothing",
                fix=f"see its log:\n{self.programs.tail(name)}",
            )

    async def forget_plan(self) -> None:
        """Clear the retained plan, so that a hub that starts knows of none (the device goes on with it)."""
        await self.home.publish(Message(PLAN.of(site=SITE, stream=STREAM), b"", retain=True))
        self.watch.forget_switches()


@asynccontextmanager
async def running(net: Net, prepared: Prepared, setup: Setup, folder: Path) -> AsyncIterator[Bench]:
    """The site with its nodes, and without its hub and a plan. The calling thread must be in the edge's namespace."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(mosquitto(net, "edge", folder, EDGE_TO_DEVICE))
        stack.enter_context(mosquitto(net, "cloud", folder, CLOUD))
        clock = SystemClock()
        watch = Watch()
        async with (
            Programs(folder, _programs(prepared, setup), net) as programs,
            MqttBus(MqttSettings(url=SITE_URL), clock=clock, wait=True) as home,
            MqttBus(MqttSettings(url=CLOUD_URL), clock=clock, wait=True) as uplink,
        ):
            await watch.listen(home, uplink, site=SITE, stream=STREAM)
            bench = Bench(net, prepared, setup, programs, watch, home, uplink)
            for name in ("c", "e", "d"):
                await bench.start(name)
            with busy_cores() if setup.busy else contextlib.nullcontext():
                yield bench


def _programs(prepared: Prepared, setup: Setup) -> dict[str, tuple[str, ProgramSettings]]:
    """Settings of hub and nodes."""
    bundle = prepared.bundle
    common: dict[str, Any] = {
        "site": SITE,
        "broker_url": SITE_URL,
        "cloud_broker_url": CLOUD_URL,
        "bundles": str(bundle.folder.parent),
        "profiles": str(prepared.profiles),
        "threads": 1,
        "segment_cache_mb": 4096,
        "status_every_s": 1.0,
    }
    delay = {"emulated_delay_ms": setup.delay_ms}
    stream = {
        "name": STREAM,
        "model": bundle.name,
        "sensor": "images",
        "path": [str(path) for path in prepared.images],
        "fps": setup.fps,
        "delivery": "every",
        "in_flight": setup.in_flight,
        "timeout_s": 60.0,
    }
    edge: dict[str, Any] = {"emulated_slowdown": setup.edge_slowdown, **delay}
    if setup.edge_emulation:
        edge["emulation"] = [dict(step) for step in setup.edge_emulation]
    device: dict[str, Any] = {"emulated_slowdown": setup.device_slowdown, "streams": [stream], **delay}
    goal = {"name": STREAM, "model": bundle.name, "device": "d", "codecs": list(setup.codecs)}
    return {
        HUB: ("broker", common | {"node": HUB, "streams": [goal]}),
        "c": ("cloud_node", common | {"node": "c", "site": "cloud"}),
        "e": ("edge_node", common | {"node": "e"} | edge),
        "d": ("iot_node", common | {"node": "d"} | device),
    }


@contextlib.contextmanager
def mosquitto(net: Net, tier: Tier, folder: Path, address: str) -> Iterator[None]:
    """A broker in a tier's namespace."""
    config = folder / f"mosquitto-{tier}.conf"
    config.write_text(BROKER, encoding="utf-8")
    command = [*net.command(tier), find("mosquitto") or "mosquitto", "-c", str(config)]
    with (folder / f"mosquitto-{tier}.log").open("ab") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        until_s = time.monotonic() + ONLINE_S
        while not _listens(address):
            if process.poll() is not None or time.monotonic() > until_s:
                raise BusError(
                    "the testbed's broker does not start",
                    expected=f"a listener at {address}:1883",
                    came=f"exit status {process.poll()}",
                    fix=f"see {config.with_suffix('.log')}",
                )
            time.sleep(0.02)
        yield
    finally:
        process.terminate()
        process.wait()


def _listens(address: str) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex((address, 1883)) == 0
