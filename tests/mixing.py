"""A site on a real broker with real nodes, whose streams follow several plans at once."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cloud_node.node import CloudNode
from cloud_node.settings import Settings as CloudSettings
from edge_node.node import EdgeNode
from edge_node.settings import Settings as EdgeSettings
from iot_node.node import IotNode
from iot_node.settings import Settings as IotSettings
from iot_node.stream import Stream
from tests.aio import until
from tiercut.bus import Delivery, Message
from tiercut.bus.mqtt import MqttBus
from tiercut.bus.settings import MqttSettings
from tiercut.clock import SystemClock
from tiercut.declared import encode_json
from tiercut.model.bundle import Bundle
from tiercut.node.node import Node
from tiercut.node.program import MqttOpener
from tiercut.plan import Plan
from tiercut.protocol.nodes import OtherPlan, StreamPlan
from tiercut.protocol.stream_settings import StreamSettings
from tiercut.protocol.topics import PLAN


def plans(bundle: Bundle, epoch: int = 1) -> dict[str, Plan]:
    """Ways through a model: on the device, the edges ``e`` and ``x``, the cloud, and over all tiers."""
    end, third = bundle.end, bundle.end // 3
    return {
        "device": Plan(epoch=epoch, first_cut=end, second_cut=end, device="d"),
        "edge": Plan(epoch=epoch, first_cut=0, second_cut=end, device="d", edge="e", codecs=("raw",)),
        "other edge": Plan(epoch=epoch, first_cut=0, second_cut=end, device="d", edge="x", codecs=("raw",)),
        "cloud": Plan(epoch=epoch, first_cut=third, second_cut=third, device="d", cloud="c", codecs=("raw",)),
        "all": Plan(
            epoch=epoch, first_cut=third, second_cut=2 * third, device="d", edge="e", cloud="c", codecs=("raw", "raw")
        ),
    }


def mix(bundle: Bundle, shares: dict[str, float], *, epoch: int = 1, fps: float | None = None) -> StreamPlan:
    """A message that has the frames follow plans of `plans`; the share of the first is what the others leave."""
    known = plans(bundle, epoch)
    first, *others = shares
    more: dict[str, Any] = {} if fps is None else {"frames_per_second": fps}
    if others:
        more["others"] = tuple(OtherPlan(plan=known[name], share=shares[name]) for name in others)
    return StreamPlan(stream="cam", model=bundle.model, model_name=bundle.name, plan=known[first], **more)


def way_of(result: dict[str, Any]) -> str:
    """Which of `plans` a result's frame has followed."""
    plan = result["plan"]
    edge, cloud = plan.get("edge"), plan.get("cloud")
    if edge and cloud:
        return "all"
    return "cloud" if cloud else {"e": "edge", "x": "other edge"}[edge] if edge else "device"


@dataclass
class Live:
    """What runs, and what was heard.

    Attributes:
        bus: For the test's own messages.
        device: The device ``d``.
        results: In the order in which they came.
        dropped: The same of drops.
        deliveries: All of both.
    """

    bus: MqttBus
    device: IotNode
    results: list[dict[str, Any]] = field(default_factory=list)
    dropped: list[dict[str, Any]] = field(default_factory=list)
    deliveries: list[Delivery] = field(default_factory=list)

    @property
    def stream(self) -> Stream:
        """The device's stream."""
        return self.device.streams["cam"]

    @property
    def seqs(self) -> list[int]:
        """Numbers of the results' frames."""
        return [each["seq"] for each in self.results]

    def ways(self, since: int = 0) -> Counter[str]:
        """How many results came by each plan, of frames from a number on."""
        return Counter(way_of(each) for each in self.results if each["seq"] >= since)

    async def follow(self, offered: StreamPlan) -> None:
        """Have the device follow plans."""
        topic = PLAN.of(site="home", stream="cam")
        await self.bus.publish(Message(topic, encode_json(offered), retain=True))

    async def until_results(self, count: int) -> None:
        """Wait until so many frames have a result."""
        await until(lambda: len({*self.seqs}) >= count)

    def heard(self, delivery: Delivery) -> None:
        """Take in an outcome."""
        delivery.ack()
        self.deliveries.append(delivery)
        is_result = delivery.topic.endswith("/result")
        (self.results if is_result else self.dropped).append(json.loads(delivery.payload))


@asynccontextmanager
async def live(
    url: str,
    bundles: Path,
    settings: StreamSettings,
    *nodes: str,
    cloud_url: str = "",
    others: Sequence[StreamSettings] = (),
    **more: Any,
) -> AsyncIterator[Live]:
    """Run the device ``d`` with its streams, and other nodes in this process: ``e``, ``x`` (edges) and ``c``."""
    urls = {"broker_url": url, "cloud_broker_url": cloud_url or url}
    common: dict[str, Any] = {"bundles": bundles, **urls, "status_every_s": 0.2}
    stop, clock = asyncio.Event(), SystemClock()
    async with AsyncExitStack() as stack:
        bus = await stack.enter_async_context(MqttBus(MqttSettings(url=url), clock=clock))
        made: list[Node] = [_node(name, common) for name in nodes]
        own = IotSettings(node="d", streams=(settings, *others), **(common | more))
        device = IotNode(own, open_bus=MqttOpener(own, "device"))
        site = Live(bus, device)
        for kind in ("result", "dropped"):
            await bus.subscribe(f"tiercut/v1/home/stream/cam/{kind}", handler=site.heard)
        tasks = [asyncio.create_task(node.run(stop)) for node in made]
        await _until_online(bus, nodes)
        tasks.append(asyncio.create_task(device.run(stop)))
        try:
            yield site
        finally:
            stop.set()
            await asyncio.gather(*tasks)


def _node(name: str, common: dict[str, Any]) -> Node:
    if name == "c":
        cloud = CloudSettings(node="c", site="cloud", **common)
        return CloudNode(cloud, open_bus=MqttOpener(cloud, "cloud"))
    edge = EdgeSettings(node=name, **common)
    return EdgeNode(edge, open_bus=MqttOpener(edge, "edge"))


async def _until_online(bus: MqttBus, nodes: Sequence[str]) -> None:
    wanted = {name for name in nodes if name != "c"}
    await until_online(bus, wanted)


async def until_online(bus: MqttBus, names: set[str]) -> None:
    """Wait for the statuses of edges."""
    online: set[str] = set()

    def hear(delivery: Delivery) -> None:
        delivery.ack()
        status = json.loads(delivery.payload)
        if status["state"] == "online":
            online.add(status["node"])

    subscription = await bus.subscribe("tiercut/v1/home/edge/+/status", handler=hear)
    await until(lambda: names <= online)
    await subscription.close()
