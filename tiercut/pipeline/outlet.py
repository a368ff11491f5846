"""Where a node's frames go: on to the next node, or to their outcome."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence

from msgspec import structs

from tiercut.bus import Bus, Message, Sent
from tiercut.bus.base import nothing
from tiercut.bus.node_buses import NodeBuses
from tiercut.clock import Clock
from tiercut.clocks.offsets import ClockOffsets
from tiercut.codecs.encoded import EncodedTensor
from tiercut.declared import encode_json
from tiercut.errors import PacketTooLarge, PublishRefused
from tiercut.limits import MAX_SECONDS
from tiercut.pipeline.cloud_outcomes import PATIENCE_S, CloudOutcomes, Outcome
from tiercut.pipeline.decide import Forward
from tiercut.pipeline.dispatch import Posted, Taken
from tiercut.pipeline.in_transit import InTransit
from tiercut.pipeline.jobs import Job
from tiercut.pipeline.peers import Peers
from tiercut.plan import Tier
from tiercut.protocol import events
from tiercut.protocol.chunks import split
from tiercut.protocol.envelope import encode_work
from tiercut.protocol.frames import ClockStamp, Dropped, Work
from tiercut.protocol.topics import DROPPED, RELAY, RESULT, RETURN, WORK, Topic

#: A frame of a ``latest`` stream is useless after this long in a broker.
LATEST_EXPIRY_S = 10

#: Takes an outcome, with the topic that it is for, and what to call once it is kept; ``None``: it has no use for it.
Keeps = Callable[[Work, Message, Taken], Posted | None]


class BusOutlet:
    """A node's `dispatch.Outlet`: publishes frames and outcomes on its buses.

    Args:
        names: The node's own, for its return topic: site, tier, node.
        buses: Its buses; open before the first frame comes.
        clock: The node's clock.
        offsets: What it knows of other clocks.
        peers: Who is there.
        cloud: Takes outcomes to the cloud's bus.
        publish: Puts an outcome on the home bus.
        sends_to_cloud: It may send to the cloud's bus itself, where that is another.

    Attributes:
        in_transit: Frames that are being sent.
        keeps: Takes the outcomes that this node puts in order itself, of frames that it finishes or drops;
            ``None`` where it takes none.
    """

    keeps: Keeps | None = None

    def __init__(
        self,
        *,
        names: Mapping[str, str],
        buses: NodeBuses,
        clock: Clock,
        offsets: ClockOffsets,
        peers: Peers,
        cloud: CloudOutcomes,
        publish: Callable[[Message, Callable[[], None]], None],
        sends_to_cloud: bool,
    ) -> None:
        self._tier = names["tier"]
        self._cloud = cloud
        self._publish = publish
        self._sends_to_cloud = sends_to_cloud
        self._return_topic = RETURN.of(**names)
        self._buses = buses
        self._clock = clock
        self._offsets = offsets
        self._peers = peers
        self.in_transit = InTransit(clock)

    def reachable(self, tier: Tier, node: str) -> bool:
        """Its bus is connected and its last word was that it is online."""
        return self.bus_to(tier).connected and self._peers.online(tier, node)

    def forward(self, job: Job, tensors: tuple[EncodedTensor, ...], to: Forward, taken: Taken) -> Posted:
        """Send a frame to the next node, in chunks where the broker's packets are smaller."""
        work, bus = job.work, self.bus_to(to.tier)
        now_s = self._clock.monotonic_s()
        sent = structs.replace(
            work,
            cut=job.cut,
            tensors=tensors,
            stages=tuple(job.stages),
            captured=self._on_our_clock(work.captured, now_s),  # the next node asks only us
            sent=ClockStamp(self._clock.id, now_s),
            return_to=None if bus is self._buses.home else self._return_topic,
            emulated=bus.emulated is not None,
        )
        payload, expiry_s = encode_work(sent), _expiry_s(work)
        topic = WORK.of(site=work.site, tier=to.tier, node=to.node, stream=work.stream)
        parts = [Message(topic, part, expiry_s=expiry_s) for part in split(payload, bus.max_payload_bytes)]
        number = self.in_transit.set_out(id(bus), to.tier, to.node, len(payload))
        return _Sending(bus, parts, taken, transit=(self.in_transit, number))

    def finish(self, work: Work, result: bytes, taken: Taken) -> Posted:
        """Publish a result where it belongs: on the stream's topic, or back to the node that forwarded the frame."""
        return self._post_outcome(RESULT, result, work, events.RESULT_TYPE, taken)

    def drop(self, work: Work, dropped: Dropped, taken: Taken) -> Posted:
        """Publish that there is no result."""
        return self._post_outcome(DROPPED, encode_json(dropped), work, events.DROPPED_TYPE, taken)

    def _post_outcome(self, topic: Topic, payload: bytes, work: Work, kind: str, taken: Taken) -> Posted:
        attributes = events.attributes(work, kind=kind, unix_s=self._clock.unix_s())
        to = work.return_to or topic.of(site=work.site, stream=work.stream)
        if work.outcomes == "device":
            if work.return_to is not None:
                attributes.append((events.FOR_DEVICE, work.plan.device))
            elif self.keeps is None and not self._peers.gone("device", work.plan.device):
                to = RETURN.of(site=work.site, tier="device", node=work.plan.device)
        message = Message(to, payload, properties=attributes, content_type=events.CONTENT_TYPE)
        if work.results_to == "cloud":
            if self._is_on_the_clouds_bus(work):
                outcome = self._outcome(work, message)
                self._cloud.send(outcome, lambda told: self._put_home(work, told))
                return asyncio.get_running_loop().call_soon(taken, None)
            if self._tier == "device" and self._peers.relays:
                return self._post_relay(work, message, taken)
        return self._post_home(work, message, taken)

    def _post_home(self, work: Work, message: Message, taken: Taken) -> Posted:
        if work.outcomes == "device" and self.keeps is not None and (kept := self.keeps(work, message, taken)):
            return kept
        return self._buses.home.post(message, lambda told: taken(told if isinstance(told, Exception) else None))

    def _put_home(self, work: Work, message: Message) -> None:
        """The cloud's bus has an outcome, or does not get it: tell the site."""
        if work.outcomes == "device" and self.keeps is not None and self.keeps(work, message, _nobody_waits):
            return
        self._publish(message, nothing)

    def _is_on_the_clouds_bus(self, work: Work) -> bool:
        """Whether this node publishes there itself, and that is another bus than the site's."""
        if self._tier == "cloud":
            return work.return_to is not None
        return self._buses.uplink is not self._buses.home and self._sends_to_cloud

    def _post_relay(self, work: Work, message: Message, taken: Taken) -> Posted:
        """Have an edge put an outcome of this device on the cloud's bus; it tells the site, too."""
        outcome, edge = self._outcome(work, message), self._relay(work)
        if edge is None:
            if not (outcome.waits and outcome.is_result):  # one that waits: the frame is sent again
                self._give_up(work, outcome, "cloud_away", "no edge that leads to the cloud's broker is online")
            return asyncio.get_running_loop().call_soon(taken, None)
        attributes = [*message.properties, (events.DELIVERY, work.delivery)]
        if work.outcomes == "device":
            attributes.append((events.FOR_DEVICE, work.plan.device))
        relayed = Message(
            RELAY.of(site=work.site, tier="edge", node=edge, stream=work.stream),
            message.payload,
            expiry_s=None if outcome.waits else math.ceil(PATIENCE_S),
            properties=attributes,
            content_type=events.CONTENT_TYPE,
        )

        def told(answer: Sent | Exception) -> None:
            if isinstance(answer, PublishRefused | PacketTooLarge):
                self._give_up(work, outcome, "refused", str(answer))
                taken(None)
            else:
                taken(answer if isinstance(answer, Exception) else None)

        return self._buses.home.post(relayed, told)

    def _relay(self, work: Work) -> str | None:
        """The edge that takes outcomes to the cloud's bus: the plan's own where that is there."""
        online = [name for name, is_online in self._peers.relays.items() if is_online]
        return work.plan.edge if work.plan.edge in online else min(online, default=None)

    def _give_up(self, work: Work, outcome: Outcome, reason: str, why: str) -> None:
        self._cloud.give_up(outcome, lambda told: self._put_home(work, told), reason, why)

    @staticmethod
    def _outcome(work: Work, message: Message) -> Outcome:
        waits = work.delivery == "every"
        return Outcome(site=work.site, stream=work.stream, seq=work.seq, home=message, waits=waits)

    def bus_to(self, tier: Tier) -> Bus:
        """The bus that nodes of a tier are on."""
        return self._buses.uplink if tier == "cloud" else self._buses.home

    def _on_our_clock(self, stamp: ClockStamp, now_s: float) -> ClockStamp:
        """A time on our clock; as it was where the other clock is unknown, or has lied."""
        if stamp.clock_id == self._clock.id:
            return stamp
        offset = self._offsets.offset(stamp.clock_id, now_s)
        if offset is None or not abs(stamp.seconds + offset.seconds) <= MAX_SECONDS:
            return stamp
        return ClockStamp(self._clock.id, stamp.seconds + offset.seconds)


class _Sending:
    """A frame on its way to a node, in one message or in chunks."""

    def __init__(self, bus: Bus, parts: Sequence[Message], taken: Taken, *, transit: tuple[InTransit, int]) -> None:
        self._taken = taken
        self._in_transit, self._number = transit
        self._open = len(parts)
        self._posted: list[Posted] = []
        try:
            for part in parts:
                self._posted.append(bus.post(part, self._part_taken))
        except BaseException:
            self.cancel()
            raise

    def cancel(self) -> None:
        """Take back what is not at the broker yet; what is there in part, its reader gives up."""
        if self._open:
            self._open = 0
            self._in_transit.arrived(self._number)
            for posted in self._posted:
                posted.cancel()
            self._posted.clear()  # they refer back: in a circle the frame would wait for the garbage collector

    def _part_taken(self, told: Sent | Exception) -> None:
        if isinstance(told, Exception):
            self.cancel()
            self._taken(told)
            return
        self._open -= 1
        if not self._open:
            self._posted.clear()  # as in `cancel`
            self._in_transit.arrived(self._number)
            self._taken(None)


def _nobody_waits(told: Exception | None) -> None:
    """A frame was acknowledged when its outcome went to the cloud."""


def _expiry_s(work: Work) -> int | None:
    """After how many seconds the broker forgets a frame; ``None``: never."""
    if work.delivery != "latest":
        return None
    return LATEST_EXPIRY_S if work.deadline_s is None else min(LATEST_EXPIRY_S, math.ceil(work.deadline_s))
