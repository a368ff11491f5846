"""What a node tells the hub between results: links that it was asked to measure, and what takes long here."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping

from tiercut.bus import Bus, Delivery, Message
from tiercut.clocks.exchange import MEASURE_S, ClockService
from tiercut.declared import decode_json, encode_json
from tiercut.errors import BadMessage
from tiercut.node.refusals import REFUSED, Refusals
from tiercut.pipeline.in_transit import LATE_S
from tiercut.pipeline.outlet import Sending
from tiercut.pipeline.processor import Processor
from tiercut.protocol.nodes import Probe, Progress, Transfer
from tiercut.protocol.topics import PROGRESS

#: Requests that may wait; the hub asks again for those that are not answered.
MAX_ASKED = 32


class Measuring:
    """Measures links when asked, one after the other, and says what is late.

    Args:
        names: The node's own: site, tier, node.
        clocks: Sends the messages that measure.
        sending: Where frames leave: a link with frames on it is not measured, they do so themselves.
        processor: What runs segments.
        refusals: Counts what the broker does not take.
        counters: Counts ``probes``, ``probes_skipped``, ``probes_lost`` and ``bad.<reason>``.
    """

    def __init__(
        self,
        *,
        names: Mapping[str, str],
        clocks: ClockService,
        sending: Sending,
        processor: Processor,
        refusals: Refusals,
        counters: Counter[str],
    ) -> None:
        self._site = names["site"]
        self._topic = PROGRESS.of(**names)
        self._clocks = clocks
        self._sending = sending
        self._processor = processor
        self._refusals = refusals
        self._counters = counters
        self._asked: asyncio.Queue[Probe] = asyncio.Queue(MAX_ASKED)

    def asked(self, delivery: Delivery) -> None:
        """The hub wants a link measured: the handler of the probe topic."""
        delivery.ack()
        try:
            self._asked.put_nowait(decode_json(Probe, delivery.payload))
        except BadMessage as error:
            self._counters[f"bad.{error.reason}"] += 1
        except asyncio.QueueFull:
            self._counters["probes_skipped"] += 1

    async def answer(self) -> None:
        """Measure what was asked for, for ever."""
        while True:
            probe = await self._asked.get()
            for size in probe.sizes:
                if not await self._measure(probe, size):
                    break

    async def _measure(self, probe: Probe, size: int) -> bool:
        """Send one message; false when the others of its probe need not be sent."""
        under_way, bus = self._sending.under_way, self._sending.bus_to(probe.tier)
        if under_way.busy(id(bus)) or not self._sending.reachable(probe.tier, probe.node):
            self._counters["probes_skipped"] += 1
            return False
        started = under_way.started(id(bus))
        names = {"site": self._site, "tier": probe.tier, "node": probe.node}
        try:
            took = await self._clocks.measure(bus, names, size)
        except TimeoutError:  # the hub is to know that it takes so long, or it would ask for the same again
            self._counters["probes_lost"] += 1
            late = Transfer(tier=probe.tier, node=probe.node, payload_bytes=size, seconds=MEASURE_S, arrived=False)
            await self._say(Progress(transfers=(late,)))
            return False
        except REFUSED as error:
            self._refusals.note("probe", error)
            return False
        if took is None:
            self._counters["probes_lost"] += 1
            return False
        if under_way.started(id(bus)) != started:  # a frame was on the link as well
            self._counters["probes_skipped"] += 1
            return False
        self._counters["probes"] += 1
        payload_bytes, seconds = took
        transfer = Transfer(
            tier=probe.tier, node=probe.node, payload_bytes=payload_bytes, seconds=seconds, arrived=True
        )
        await self._say(Progress(transfers=(transfer,)))
        return True

    async def report(self) -> None:
        """Say what has been under way or on a thread for long, for ever."""
        while True:
            await asyncio.sleep(LATE_S)
            progress = Progress(transfers=self._sending.under_way.late(), running=self._processor.running())
            if progress.transfers or progress.running:
                await self._say(progress)

    async def _say(self, progress: Progress) -> None:
        home: Bus = self._sending.home
        if not home.connected:  # it is of no use later
            return
        try:
            await home.publish(Message(self._topic, encode_json(progress), qos=0))
        except REFUSED as error:
            self._refusals.note("progress", error)
