"""What a node tells the hub between results: links that it was asked to probe, and what takes long here."""

from __future__ import annotations

import asyncio

from tiercut.bus import Delivery, Message
from tiercut.clocks.exchange import PROBE_TIMEOUT_S, ClockExchange
from tiercut.declared import decode_json, encode_json
from tiercut.errors import BadMessage
from tiercut.node.context import NodeContext
from tiercut.node.frame_pipeline import FramePipeline
from tiercut.node.part import Part, Tasks
from tiercut.node.refusals import REFUSED
from tiercut.protocol.nodes import Probe, Progress, Transfer
from tiercut.protocol.topics import PROBE, PROGRESS

#: Requests that may wait; the hub asks again for those that are not answered.
MAX_ASKED = 32


class LinkProbes(Part):
    """Probes links when asked, one at a time, and reports what is late.

    It counts ``probes``, ``probes_skipped`` and ``probes_lost``.

    Args:
        context: The node's.
        exchange: Sends the messages that probe.
        frames: The node's frames: a link with frames on it is not probed, they measure it themselves.
    """

    def __init__(self, context: NodeContext, *, exchange: ClockExchange, frames: FramePipeline) -> None:
        self._context = context
        self._topic = PROGRESS.of(**context.names)
        self._exchange = exchange
        self._frames = frames
        self._outlet = frames.outlet
        self._asked: asyncio.Queue[Probe] = asyncio.Queue(MAX_ASKED)

    async def subscribe(self) -> None:
        """Hear requests."""
        await self._context.buses.home.subscribe(PROBE.of(**self._context.names), qos=0, handler=self._hear)

    def tasks(self) -> Tasks:
        """Probing, and saying what is late."""
        return [("probes", self._answer_all), ("progress", self._report)]

    def _hear(self, delivery: Delivery) -> None:
        delivery.ack()
        try:
            self._asked.put_nowait(decode_json(Probe, delivery.payload))
        except BadMessage as error:
            self._context.set_aside(error)
        except asyncio.QueueFull:
            self._context.counters["probes_skipped"] += 1

    async def _answer_all(self) -> None:
        while True:
            probe = await self._asked.get()
            for size in probe.sizes:
                if not await self._send(probe, size):
                    break

    async def _send(self, probe: Probe, size: int) -> bool:
        """Send one message; false when the others of its probe need not be sent."""
        in_transit, bus = self._outlet.in_transit, self._outlet.bus_to(probe.tier)
        if in_transit.busy(id(bus)) or not self._outlet.reachable(probe.tier, probe.node):
            self._context.counters["probes_skipped"] += 1
            return False
        started = in_transit.started(id(bus))
        names = {"site": self._context.settings.site, "tier": probe.tier, "node": probe.node}
        try:
            took = await self._exchange.probe(bus, names, size)
        except TimeoutError:  # the hub must know that it takes this long, or it would ask for the same again
            self._context.counters["probes_lost"] += 1
            await self._say_transfer(probe, size, PROBE_TIMEOUT_S, arrived=False)
            return False
        except REFUSED as error:
            self._context.refusals.note("probe", error)
            return False
        if took is None:
            self._context.counters["probes_lost"] += 1
            return False
        if in_transit.started(id(bus)) != started:  # a frame was on the link as well
            self._context.counters["probes_skipped"] += 1
            return False
        self._context.counters["probes"] += 1
        await self._say_transfer(probe, *took, arrived=True)
        return True

    async def _say_transfer(self, probe: Probe, payload_bytes: int, seconds: float, *, arrived: bool) -> None:
        transfer = Transfer(
            tier=probe.tier, node=probe.node, payload_bytes=payload_bytes, seconds=seconds, arrived=arrived
        )
        await self._say(Progress(transfers=(transfer,)))

    async def _report(self) -> None:
        """Report, again and again, what has been in transit or on a thread for long."""
        while True:
            await self._frames.late.wait()
            self._frames.late.clear()
            progress = Progress(transfers=self._outlet.in_transit.late(), running=self._frames.segments.running())
            if progress.transfers or progress.running:
                await self._say(progress)

    async def _say(self, progress: Progress) -> None:
        home = self._context.buses.home
        if not home.connected:  # it is useless later
            return
        try:
            await home.publish(Message(self._topic, encode_json(progress), qos=0))
        except REFUSED as error:
            self._context.refusals.note("progress", error)
