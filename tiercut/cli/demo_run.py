"""A demo's course: starts a site's programs in order, and passes on what is heard of it until that is enough."""

from __future__ import annotations

import asyncio
import contextlib
import json

from tiercut.bus import Delivery
from tiercut.bus.mqtt import MqttBus
from tiercut.bus.settings import MqttSettings
from tiercut.cli.demo_site import CLOUD, EDGE, HUB, DemoSite
from tiercut.cli.demo_view import About, View
from tiercut.clock import SystemClock
from tiercut.declared import decode_json
from tiercut.errors import BusError
from tiercut.launch.processes import Processes
from tiercut.protocol.capacity import SiteCapacity
from tiercut.protocol.nodes import NodeStatus, StreamPlan
from tiercut.protocol.topics import CAPACITY, EXPLAIN, PLAN, RESULT, STATUS

RESULT_TIMEOUT_S = 60.0
ONLINE_TIMEOUT_S = 30.0
BROKER_POLL_S = 0.05
#: Nodes that must be online before the devices start, so that the first frame already passes through all tiers.
BEFORE_DEVICES = frozenset({HUB, CLOUD, EDGE})


async def show(site: DemoSite, processes: Processes, view: View, frames: int | None, *, about: About) -> None:
    """Show results until enough have come.

    Args:
        site: The site.
        processes: Its programs, not started.
        view: Where to.
        frames: How many results; ``None``: until cancelled.
        about: What runs.

    Raises:
        BusError: a program has ended by itself, or nothing comes.
    """
    await processes.start(HUB)
    results = asyncio.create_task(_results(site, processes, view, frames, about), name="results")
    watch = asyncio.create_task(processes.watch(), name="watch")
    try:
        done, _ = await asyncio.wait({results, watch}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (results, watch):
            task.cancel()
        await asyncio.gather(results, watch, return_exceptions=True)
    for task in done:
        task.result()


async def _answers(site: DemoSite) -> None:
    """Wait until the broker takes connections; a hub that ended is `Processes.watch`'s matter."""
    while True:
        with contextlib.suppress(ConnectionRefusedError):
            _, writer = await asyncio.open_connection("127.0.0.1", site.port)
            writer.close()
            return
        await asyncio.sleep(BROKER_POLL_S)


class _Heard:
    """What a site's hub and nodes say, but for results.

    Args:
        view: Where it is shown.
        wanted: Nodes to wait for.
    """

    def __init__(self, view: View, wanted: frozenset[str]) -> None:
        self._view = view
        self._missing = set(wanted)
        self._all = asyncio.Event()

    def status(self, delivery: Delivery) -> None:
        """A node's status."""
        delivery.ack()
        status = decode_json(NodeStatus, delivery.payload)
        if status.state == "online" and status.node in self._missing:
            self._missing.discard(status.node)
            if status.node == EDGE:
                self._view.began()
        if not self._missing:
            self._all.set()

    def plan(self, delivery: Delivery) -> None:
        """A stream's plans."""
        delivery.ack()
        if delivery.payload:
            self._view.plan(decode_json(StreamPlan, delivery.payload))

    def explained(self, delivery: Delivery) -> None:
        """Why a stream has them."""
        delivery.ack()
        explanation = json.loads(delivery.payload)
        if explanation["plan"] is not None:  # before the first one something is always still missing
            trouble = explanation["trouble"]
            self._view.trouble(explanation["stream"], [] if trouble is None else [trouble])

    def capacity(self, delivery: Delivery) -> None:
        """What the site gives."""
        delivery.ack()
        self._view.capacity(decode_json(SiteCapacity, delivery.payload))

    async def wait(self, processes: Processes) -> None:
        """Until all nodes are online."""
        try:
            async with asyncio.timeout(ONLINE_TIMEOUT_S):
                await self._all.wait()
        except TimeoutError as error:
            raise BusError(
                "the demo does not start",
                expected=f"hub, cloud and edge online within {ONLINE_TIMEOUT_S:.0f} s",
                came=f"nothing from {', '.join(sorted(self._missing))}",
                fix=f"see the nodes' logs:\n{processes.tails()}",
            ) from error


async def _results(site: DemoSite, processes: Processes, view: View, frames: int | None, about: About) -> None:
    """Subscribe first and start the nodes then, the devices last, so that the first frame is seen too."""
    await _answers(site)
    heard = _Heard(view, BEFORE_DEVICES)
    async with MqttBus(MqttSettings(url=site.url), clock=SystemClock()) as bus:
        arriving = aiter(await bus.subscribe(RESULT.filter(site=site.name)))
        await bus.subscribe(PLAN.filter(site=site.name), handler=heard.plan)
        await bus.subscribe(EXPLAIN.filter(site=site.name), handler=heard.explained)
        await bus.subscribe(CAPACITY.of(site=site.name), handler=heard.capacity)
        await bus.subscribe(STATUS.filter(site=site.name), handler=heard.status)
        for name in (CLOUD, EDGE):
            await processes.start(name)
        await heard.wait(processes)
        for name in site.devices:
            await processes.start(name)
        view.about(about)
        count = 0
        while count != frames:
            try:
                async with asyncio.timeout(RESULT_TIMEOUT_S):
                    delivery = await anext(arriving)
            except TimeoutError as error:
                raise BusError(
                    "the demo shows no results",
                    expected=f"a result within {RESULT_TIMEOUT_S:.0f} s",
                    came="none",
                    fix=f"see the nodes' logs:\n{processes.tails()}",
                ) from error
            delivery.ack()
            view.result(delivery.payload)
            count += 1
