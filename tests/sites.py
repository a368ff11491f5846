"""A whole site in one process, on buses in memory: for tests of what the nodes do together."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from broker.node import Hub
from broker.settings import PlanSettings
from broker.settings import Settings as HubSettings
from cloud_node.node import CloudNode
from cloud_node.settings import Settings as CloudSettings
from edge_node.node import EdgeNode
from edge_node.settings import Settings as EdgeSettings
from iot_node.node import IotNode
from iot_node.settings import Settings as IotSettings
from tests.aio import until
from tiercut.bus import Delivery
from tiercut.bus.memory import MemoryBroker, MemoryBus
from tiercut.clock import SystemClock
from tiercut.model.bundle import Bundle
from tiercut.node.node import Node
from tiercut.protocol.stream_settings import StreamSettings
from tiercut.protocol.topics import STATUS

#: What a `Stream` is given beside the rest where it is on no bus.
ON_NO_BUS: dict[str, Any] = {"publish": lambda *_: None, "reachable": lambda _: True}

SITE_URL, CLOUD_URL = "mqtt://site", "mqtt://cloud"


@dataclass
class Outcomes:
    """What the site's bus said of its streams."""

    results: list[dict[str, Any]] = field(default_factory=list)
    dropped: list[dict[str, Any]] = field(default_factory=list)
    deliveries: list[Delivery] = field(default_factory=list)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def until(self, *, results: int = 0, dropped: int = 0) -> None:
        """Wait until so many have come."""
        async with self.changed:
            await self.changed.wait_for(lambda: len(self.results) >= results and len(self.dropped) >= dropped)

    def of_kind(self, kind: str) -> list[Delivery]:
        """What came on topics of a kind, such as ``result``."""
        return [each for each in self.deliveries if each.topic.endswith(f"/{kind}")]

    def seqs(self, stream: str = "cam") -> list[int]:
        """Numbers of the finished frames of a stream, in the order of their results."""
        return [result["seq"] for result in self.results if result["stream"] == stream]


@dataclass
class Site:
    """Brokers, nodes and what they need; change the settings before `running`."""

    bundles: Path
    brokers: dict[str, MemoryBroker]
    two_brokers: bool = False
    buses: dict[tuple[str, str], MemoryBus] = field(default_factory=dict)
    nodes: dict[str, Node] = field(default_factory=dict)

    def common(self, node: str, **more: Any) -> dict[str, Any]:
        """Settings that every node has."""
        cloud = CLOUD_URL if self.two_brokers else SITE_URL
        return {
            "node": node,
            "bundles": self.bundles,
            "broker_url": SITE_URL,
            "cloud_broker_url": cloud,
            "status_every_s": 0.2,
            **more,
        }

    def opener(self, node: str) -> Any:
        """How a node opens its buses; they are kept so that a test can cut them."""

        def open_bus(url: str, *, will: tuple[str, bytes]) -> MemoryBus:
            bus = MemoryBus(self.brokers[url], will=will, receive_maximum=64)
            self.buses[node, url] = bus
            return bus

        return open_bus

    def cloud(self, **more: Any) -> CloudNode:
        """The cloud node ``c``."""
        settings = CloudSettings(**self.common("c", site="cloud", **more))
        return CloudNode(settings, open_bus=self.opener("c"))

    def edge(self, **more: Any) -> EdgeNode:
        """The edge node ``e``."""
        return EdgeNode(EdgeSettings(**self.common("e", **more)), open_bus=self.opener("e"))

    def another_edge(self, name: str, **more: Any) -> EdgeNode:
        """An edge of another name."""
        return EdgeNode(EdgeSettings(**self.common(name, **more)), open_bus=self.opener(name))

    def device(self, *streams: StreamSettings, **more: Any) -> IotNode:
        """The device ``d``."""
        return IotNode(IotSettings(**self.common("d", streams=streams, **more)), open_bus=self.opener("d"))

    def hub(self, *plans: PlanSettings) -> Hub:
        """The hub."""
        return Hub(HubSettings(**self.common("hub", plans=plans)), open_bus=self.opener("hub"))

    def listener(self, url: str) -> Any:
        """A connection of the test's own to a broker."""
        return MemoryBus(self.brokers[url])

    @asynccontextmanager
    async def _online(self) -> AsyncIterator[set[str]]:
        """Topics of the statuses of those nodes that are online."""
        online: set[str] = set()

        def hear(delivery: Delivery) -> None:
            delivery.ack()
            is_online = json.loads(delivery.payload)["state"] == "online"
            (online.add if is_online else online.discard)(delivery.topic)

        async with self.listener(SITE_URL) as home, self.listener(CLOUD_URL) as cloud:
            for bus in (home, cloud):
                await bus.subscribe("tiercut/v1/+/+/+/status", handler=hear)
            yield online

    @asynccontextmanager
    async def running(self, *nodes: Node | Hub) -> AsyncIterator[Outcomes]:
        """Run nodes, started one after the other, and listen to the site's streams."""
        outcomes = Outcomes()
        stop = asyncio.Event()
        async with AsyncExitStack() as stack:
            bus = await stack.enter_async_context(self.listener(SITE_URL))
            subscription = await bus.subscribe("tiercut/v1/+/stream/#")
            listening = asyncio.create_task(_listen(aiter(subscription), outcomes))
            tasks: list[asyncio.Task[None]] = []
            try:
                async with self._online() as online:
                    for node in nodes:
                        task = asyncio.create_task(node.run(stop))
                        tasks.append(task)
                        # it subscribes; frames to a node that is not there yet would be lost
                        await until(partial(_is_up, task, STATUS.of(**node.context.names), online))
                yield outcomes
            finally:
                stop.set()
                try:
                    await asyncio.gather(*tasks)
                finally:
                    listening.cancel()
                    await asyncio.gather(listening, return_exceptions=True)


def _is_up(task: asyncio.Task[None], status: str, online: set[str]) -> bool:
    return task.done() or status in online


async def _listen(deliveries: AsyncIterator[Delivery], outcomes: Outcomes) -> None:
    async for delivery in deliveries:
        delivery.ack()
        async with outcomes.changed:
            outcomes.deliveries.append(delivery)
            kind = delivery.topic.rpartition("/")[2]
            if kind == "result":
                outcomes.results.append(json.loads(delivery.payload))
            elif kind == "dropped":
                outcomes.dropped.append(json.loads(delivery.payload))
            outcomes.changed.notify_all()


def new_site(bundles: Path, *, two_brokers: bool = False, max_payload_bytes: int = 10**8) -> Site:
    """A site without nodes yet."""
    brokers = {
        url: MemoryBroker(clock=SystemClock(), max_payload_bytes=max_payload_bytes) for url in (SITE_URL, CLOUD_URL)
    }
    return Site(bundles=bundles, brokers=brokers, two_brokers=two_brokers)


def noise(bundle: Bundle, name: str = "cam", **more: Any) -> StreamSettings:
    """A stream of synthetic noise of a model's size."""
    settings: dict[str, Any] = {"frames": 10, "delivery": "every", "seed": 1, **more}
    return StreamSettings(name=name, model=bundle.name, sensor="noise", **settings)


def by_hand(bundle: Bundle, stream: str = "cam", **more: Any) -> PlanSettings:
    """Three tiers, cut in the middle, without loss."""
    third = bundle.end // 3
    settings: dict[str, Any] = {
        "device": "d",
        "edge": "e",
        "cloud": "c",
        "first_cut": str(third),
        "second_cut": str(2 * third),
        "codecs": ("raw", "raw+zstd"),
        **more,
    }
    return PlanSettings(stream=stream, model=bundle.name, **settings)
