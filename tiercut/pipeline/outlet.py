"""Where a node's frames go: on to the next node, or to their outcome."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping

from msgspec import structs

from tiercut.bus import Bus, Message
from tiercut.bus.node_buses import NodeBuses
from tiercut.clock import Clock
from tiercut.clocks.offsets import ClockOffsets
from tiercut.declared import encode_json
from tiercut.limits import MAX_SECONDS
from tiercut.pipeline.decide import Forward
from tiercut.pipeline.in_transit import InTransit
from tiercut.pipeline.peers import Peers
from tiercut.plan import Tier
from tiercut.protocol import events
from tiercut.protocol.chunks import split
from tiercut.protocol.envelope import encode_work
from tiercut.protocol.frames import ClockStamp, Dropped, Work
from tiercut.protocol.topics import DROPPED, RESULT, RETURN, WORK

#: A frame of a ``latest`` stream is useless after this long in a broker.
LATEST_EXPIRY_S = 10


class BusOutlet:
    """A node's `dispatch.Outlet`: publishes frames and outcomes on its buses.

    Args:
        names: The node's own, for its return topic: site, tier, node.
        buses: Its buses; open before the first frame comes.
        clock: The node's clock.
        offsets: What it knows of other clocks.
        peers: Who is there.

    Attributes:
        in_transit: Frames that are being sent.
    """

    def __init__(
        self, *, names: Mapping[str, str], buses: NodeBuses, clock: Clock, offsets: ClockOffsets, peers: Peers
    ) -> None:
        self._return_topic = RETURN.of(**names)
        self._buses = buses
        self._clock = clock
        self._offsets = offsets
        self._peers = peers
        self.in_transit = InTransit(clock)

    def reachable(self, tier: Tier, node: str) -> bool:
        """Its bus is connected and its last word was that it is online."""
        return self.bus_to(tier).connected and self._peers.online(tier, node)

    async def forward(self, work: Work, to: Forward) -> None:
        """Send a frame to the next node, in chunks where the broker's packets are smaller."""
        bus = self.bus_to(to.tier)
        now_s = self._clock.monotonic_s()
        work = structs.replace(
            work,
            captured=self._on_our_clock(work.captured, now_s),  # the next node asks only us
            sent=ClockStamp(self._clock.id, now_s),
            return_to=None if bus is self._buses.home else self._return_topic,
            emulated=bus.emulated is not None,
        )
        expiry_s = LATEST_EXPIRY_S if work.delivery == "latest" else None
        if work.deadline_s is not None and expiry_s is not None:
            expiry_s = min(expiry_s, math.ceil(work.deadline_s))
        topic = WORK.of(site=work.site, tier=to.tier, node=to.node, stream=work.stream)
        payload = encode_work(work)
        first, *others = split(payload, bus.max_payload_bytes)
        with self.in_transit.sending(id(bus), to.tier, to.node, len(payload)):
            if others:
                await asyncio.gather(
                    *(bus.publish(Message(topic, part, expiry_s=expiry_s)) for part in (first, *others))
                )
            else:
                await bus.publish(Message(topic, first, expiry_s=expiry_s))

    async def finish(self, work: Work, result: bytes) -> None:
        """Publish a result where it belongs: on the stream's topic, or back to the node that forwarded the frame."""
        topic = work.return_to or RESULT.of(site=work.site, stream=work.stream)
        await self._publish_outcome(topic, result, work, events.RESULT_TYPE)

    async def drop(self, work: Work, dropped: Dropped) -> None:
        """Publish that there is no result."""
        topic = work.return_to or DROPPED.of(site=work.site, stream=work.stream)
        await self._publish_outcome(topic, encode_json(dropped), work, events.DROPPED_TYPE)

    async def _publish_outcome(self, topic: str, payload: bytes, work: Work, kind: str) -> None:
        attributes = events.attributes(work, kind=kind, unix_s=self._clock.unix_s())
        await self._buses.home.publish(Message(topic, payload, properties=attributes, content_type=events.CONTENT_TYPE))

    def bus_to(self, tier: Tier) -> Bus:
        """The bus that nodes of a tier are on."""
        return self._buses.uplink if tier == "cloud" else self._buses.home

    def _on_our_clock(self, stamp: ClockStamp, now_s: float) -> ClockStamp:
        """A time on our clock; as it was where the other clock is unknown, or has lied."""
        offset = self._offsets.offset(stamp.clock_id, now_s)
        if offset is None or not abs(stamp.seconds + offset.seconds) <= MAX_SECONDS:
            return stamp
        return ClockStamp(self._clock.id, stamp.seconds + offset.seconds)
