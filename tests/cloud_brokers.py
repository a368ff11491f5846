"""A site and its cloud with a broker each, of which that of the cloud may be away."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.aio import until
from tests.brokers import Mosquitto
from tests.mixing import Live, live
from tiercut.bus import Delivery
from tiercut.bus.mqtt import MqttBus
from tiercut.bus.settings import MqttSettings
from tiercut.clock import SystemClock
from tiercut.launch.processes import free_port
from tiercut.protocol.stream_settings import StreamSettings


@dataclass
class Heard:
    """What the cloud's bus said of the stream."""

    results: list[int] = field(default_factory=list)
    dropped: list[dict[str, Any]] = field(default_factory=list)
    names: Counter[tuple[str, str]] = field(default_factory=Counter)

    def hear(self, delivery: Delivery) -> None:
        delivery.ack()
        said, properties = json.loads(delivery.payload), dict(delivery.properties)
        self.names[properties["source"], properties["id"]] += 1
        if delivery.topic.endswith("/result"):
            self.results.append(said["seq"])
        else:
            self.dropped.append(said)


class Door:
    """The only way of nodes to the cloud's broker: closed while a reader, who is to miss nothing, comes back first."""

    def __init__(self, broker: Mosquitto) -> None:
        self._broker = broker
        self._server: asyncio.Server | None = None
        self._port = free_port()
        self.url = f"mqtt://127.0.0.1:{self._port}"

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._enter, "127.0.0.1", self._port)

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _enter(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            inside = await asyncio.open_connection("127.0.0.1", self._broker.port)
        except OSError:
            writer.close()
            return
        both = ((reader, inside[1]), (inside[0], writer))
        tasks = [asyncio.create_task(self._carry(*each)) for each in both]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for _, end in both:
            end.close()
        await asyncio.wait(tasks)

    @staticmethod
    async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()


@dataclass
class Cloud:
    """The cloud's broker, and who reads there."""

    broker: Mosquitto
    door: Door
    bus: MqttBus

    async def away(self, seconds: float) -> None:
        """Kill the broker and start it again; the reader is there first."""
        self.broker.kill()
        await self.door.close()
        await asyncio.sleep(seconds)
        self.broker.start()
        await until(lambda: self.bus.connected)
        await self.bus.subscribe(f"back/{seconds}")
        await self.door.open()


@asynccontextmanager
async def two_brokers(
    folder: Path, bundles: Path, settings: StreamSettings, *nodes: str, direct: bool = False
) -> AsyncIterator[tuple[Live, Heard, Cloud]]:
    """A site whose cloud has a broker of its own; a device that is not ``direct`` is on the site's alone."""
    heard = Heard()
    more: dict[str, Any] = {} if direct else {"cloud_broker_url": None}
    with Mosquitto(folder) as at_site, Mosquitto(folder) as at_cloud:
        door = Door(at_cloud)
        await door.open()
        reader = MqttSettings(url=at_cloud.url, backoff_min_s=0.02, backoff_max_s=0.1)
        async with (
            MqttBus(reader, clock=SystemClock()) as bus,
            live(at_site.url, bundles, settings, *nodes, cloud_url=door.url, **more) as site,
        ):
            for kind in ("result", "dropped"):
                await bus.subscribe(f"tiercut/v1/home/stream/cam/{kind}", handler=heard.hear)
            yield site, heard, Cloud(at_cloud, door, bus)
        await door.close()
        await asyncio.sleep(0.1)  # its connections end
