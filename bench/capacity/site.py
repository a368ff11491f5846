"""A full site as processes: cameras, edges and a cloud node in three namespaces, and a hub that is started anew."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.capacity.declared import UPLINK, Declared, profiles_of, settings_of
from bench.testbed.models import Prepared
from bench.testbed.net import CLOUD, EDGE_TO_DEVICE, Net
from bench.testbed.site import CLOUD_URL, SITE_URL, Programs, mosquitto
from tiercut.bus import Delivery, Message
from tiercut.bus.mqtt import MqttBus
from tiercut.bus.settings import MqttSettings
from tiercut.clock import SystemClock
from tiercut.declared import decode_json
from tiercut.errors import BusError
from tiercut.launch.processes import ProgramSettings
from tiercut.plan import Tier
from tiercut.protocol.capacity import SiteCapacity
from tiercut.protocol.nodes import NodeStatus
from tiercut.protocol.topics import CAPACITY, PLAN, RESULT, STATUS

SITE, HUB, CLOUD_NODE = "capacity", "hub", "c"
ONLINE_S = 90.0
#: By hand, or by the hub: one by one, or all together, where somebody has declared the uplink or nobody has.
BY_HUB = ("site", "one-by-one", "undeclared")
STRATEGIES = (*BY_HUB, "edge", "cloud", "device")
USUAL = [each for each in STRATEGIES if each != "undeclared"]
CODEC = "jpeg"


@dataclass(frozen=True, slots=True)
class Result:
    """A result as it came."""

    stream: str
    at_s: float
    latency_ms: float
    plan: dict[str, Any]


@dataclass(slots=True)
class Heard:
    """What was heard on the site's bus."""

    results: list[Result] = field(default_factory=list)
    online: set[str] = field(default_factory=set)
    #: when each plan was published
    plans: list[tuple[float, str]] = field(default_factory=list)
    capacity: SiteCapacity | None = None
    #: what was said of lines that nobody had declared, and when first
    found: list[tuple[float, str]] = field(default_factory=list)

    def result(self, delivery: Delivery) -> None:
        """A result."""
        delivery.ack()
        said = json.loads(delivery.payload)
        self.results.append(Result(said["stream"], time.monotonic(), said["latency_ms"] or 1e9, said["plan"]))

    def status(self, delivery: Delivery) -> None:
        """A node's status."""
        delivery.ack()
        status = decode_json(NodeStatus, delivery.payload)
        (self.online.add if status.state == "online" else self.online.discard)(status.node)

    def plan(self, delivery: Delivery) -> None:
        """A stream's plan."""
        delivery.ack()
        if delivery.payload:
            self.plans.append((time.monotonic(), delivery.topic))

    def site(self, delivery: Delivery) -> None:
        """What the hub says of the site."""
        delivery.ack()
        if delivery.payload:
            self.capacity = decode_json(SiteCapacity, delivery.payload)
            hops = [said.partition(" seem ")[0] for said in self.capacity.found_lines or []]
            new = [each for each in hops if each not in {said for _, said in self.found}]
            self.found += [(time.monotonic(), each) for each in new]


class FullSite:
    """A running site; `follow` starts a hub for one strategy."""

    def __init__(self, declared: Declared, prepared: Prepared, programs: Programs, bus: MqttBus, heard: Heard) -> None:
        self.declared = declared
        self.heard = heard
        self._prepared = prepared
        self._programs = programs
        self._bus = bus

    async def start(self, *names: str) -> None:
        """Start nodes and wait until they are online.

        Raises:
            BusError: one does not start.
        """
        for name in names:
            await self._programs.start(name)
        until_s = time.monotonic() + ONLINE_S
        while not self.heard.online.issuperset(names):
            if time.monotonic() > until_s:
                missing = sorted(set(names) - self.heard.online)
                raise BusError(
                    "the site does not start",
                    expected=f"all nodes online within {ONLINE_S:.0f} s",
                    came=f"nothing from {', '.join(missing)}",
                    fix=f"see the log:\n{self._programs.tail(missing[0])}",
                )
            await asyncio.sleep(0.1)

    @asynccontextmanager
    async def follow(self, strategy: str) -> AsyncIterator[None]:
        """Run a hub that plans in one way; what an earlier one has planned is forgotten first."""
        for index in range(self.declared.cameras):
            await self._bus.publish(Message(PLAN.of(site=SITE, stream=f"cam{index}"), b"", retain=True))
        await self._bus.publish(Message(CAPACITY.of(site=SITE), b"", retain=True))
        self.heard.capacity = None
        self.heard.found.clear()
        self._programs.set(HUB, ("broker", self._hub(strategy)))
        self.heard.online.discard(HUB)
        await self.start(HUB)
        try:
            yield
        finally:
            await self._programs.stop(HUB)

    def _hub(self, strategy: str) -> ProgramSettings:
        declared, bundle = self.declared, self._prepared.bundle
        hub = common(self._prepared) | {"node": HUB}
        if strategy in BY_HUB:
            hops = [f"{start} -> {end}" for start, end in UPLINK.hops]
            streams = [settings_of(declared, index, bundle) for index in range(declared.cameras)]
            lines = [] if strategy == "undeclared" else [{"name": UPLINK.name, "hops": hops}]
            return hub | {"streams": streams, "lines": lines, "as_one": strategy != "one-by-one"}
        return hub | {"plans": [self._plan(strategy, index) for index in range(declared.cameras)]}

    def _plan(self, strategy: str, index: int) -> dict[str, Any]:
        declared, bundle = self.declared, self._prepared.bundle
        end = str(bundle.end)
        plan: dict[str, Any] = {
            "stream": f"cam{index}",
            "model": bundle.name,
            "device": declared.devices[index],
        }
        if strategy == "edge":
            edge = declared.edge_names[index % declared.edges]
            return plan | {"edge": edge, "first_cut": "0", "second_cut": end, "codecs": [CODEC]}
        if strategy == "cloud":
            return plan | {"cloud": CLOUD_NODE, "first_cut": "0", "second_cut": "0", "codecs": [CODEC]}
        return plan | {"first_cut": end, "second_cut": end}


def common(prepared: Prepared) -> dict[str, Any]:
    """Settings of all programs."""
    return {
        "site": SITE,
        "broker_url": SITE_URL,
        "cloud_broker_url": CLOUD_URL,
        "bundles": str(prepared.bundle.folder.parent),
        "status_every_s": 1.0,
    }


@asynccontextmanager
async def running(net: Net, declared: Declared, prepared: Prepared, folder: Path) -> AsyncIterator[FullSite]:
    """The site without its hub. The calling thread must be in the edge's namespace."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(mosquitto(net, "edge", folder, EDGE_TO_DEVICE))
        stack.enter_context(mosquitto(net, "cloud", folder, CLOUD))
        programs, places = _programs(declared, prepared, folder)
        heard = Heard()
        async with (
            Programs(folder, programs, net, places) as processes,
            MqttBus(MqttSettings(url=SITE_URL), clock=SystemClock(), wait=True) as bus,
            MqttBus(MqttSettings(url=CLOUD_URL), clock=SystemClock(), wait=True) as uplink,
        ):
            await bus.subscribe(RESULT.filter(site=SITE), handler=heard.result)
            await bus.subscribe(STATUS.filter(site=SITE), handler=heard.status)
            await bus.subscribe(PLAN.filter(site=SITE), handler=heard.plan)
            await bus.subscribe(CAPACITY.of(site=SITE), handler=heard.site)
            await uplink.subscribe(STATUS.filter(tier="cloud"), handler=heard.status)
            site = FullSite(declared, prepared, processes, bus, heard)
            await site.start(*(name for name in programs if name != HUB))
            yield site


def _programs(
    declared: Declared, prepared: Prepared, folder: Path
) -> tuple[dict[str, tuple[str, ProgramSettings]], dict[str, Tier]]:
    stores = profiles_of(prepared, declared, folder)

    def slow(tier: Tier) -> dict[str, Any]:
        return common(prepared) | {
            "emulated_slowdown": declared.slowdown(tier, prepared.profile),
            "emulated_profile": True,
            "profiles": str(stores[tier]),
            "threads": 1,
        }

    programs: dict[str, tuple[str, ProgramSettings]] = {
        CLOUD_NODE: ("cloud_node", slow("cloud") | {"node": CLOUD_NODE, "site": "cloud"})
    }
    places: dict[str, Tier] = {HUB: "edge", CLOUD_NODE: "cloud"}
    for name in declared.edge_names:
        programs[name], places[name] = ("edge_node", slow("edge") | {"node": name}), "edge"
    for index, name in enumerate(declared.devices):
        stream = {
            "name": f"cam{index}",
            "model": prepared.bundle.name,
            "sensor": "images",
            "path": [str(path) for path in prepared.images],
            **({} if declared.fps is None else {"fps": declared.fps}),
        }
        programs[name], places[name] = ("iot_node", slow("device") | {"node": name, "streams": [stream]}), "device"
    return programs, places
