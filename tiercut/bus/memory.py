"""A broker in one process, with MQTT's rules: wildcards, retained messages, wills, credit, redelivery.

Deterministic: a publish reaches its subscriptions before it returns, in the order of the calls. For a slow link put a
`tiercut.bus.emulated_link.EmulatedBus` in front.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from types import TracebackType
from typing import Self

from tiercut.bus.acks import STUCK_S, AckOrder
from tiercut.bus.base import Delivery, Handler, Message, Posted, Properties, Sent, Subscription, Taken, nothing
from tiercut.bus.error_mapping import closed_error, too_large_error
from tiercut.bus.inbox import Inbox
from tiercut.bus.memory_broker import Held, MemoryBroker, retained
from tiercut.bus.packets import check_filter, check_message, check_qos, check_topic
from tiercut.bus.posting import Pending, publish_by_post
from tiercut.bus.routes import Routes, topic_matches

__all__ = ["MemoryBroker", "MemoryBus"]

_URL = "memory:"


@dataclass(slots=True, eq=False)
class _Packet:
    """A message on its way to one client; ``inboxes`` are fixed when it comes from the retained ones."""

    held: Held
    qos: int
    retained: bool = False
    inboxes: list[Inbox] | None = None
    duplicate: bool = False


class MemoryBus:
    """A `tiercut.bus.Bus` on a `MemoryBroker`; arguments and attributes as of `tiercut.bus.mqtt.MqttBus`."""

    def __init__(
        self,
        broker: MemoryBroker,
        *,
        will: tuple[str, bytes] | None = None,
        receive_maximum: int = 32,
        qos0_queue: int = 1024,
        stuck_s: float = STUCK_S,
    ) -> None:
        self.counters: Counter[str] = Counter()
        self._broker = broker
        self._will = will
        self._receive_maximum = receive_maximum
        self._qos0_queue = qos0_queue
        self._connected = False
        self._closed = False
        self._routes = Routes()
        self._announced: dict[str, Held] = {}
        #: publishes made without a connection, in order
        self._unsent: deque[tuple[Held, Pending]] = deque()
        #: QoS 1 packets that wait for credit or for the connection
        self._queued: deque[_Packet] = deque()
        self._unacked: OrderedDict[int, _Packet] = OrderedDict()
        self._packet_ids = count(1)
        self._acks = AckOrder(
            self._acked,
            credit=receive_maximum,
            counters=self.counters,
            monotonic_s=broker.clock.monotonic_s,
            stuck_s=stuck_s,
        )

    @property
    def connected(self) -> bool:
        """Whether the broker is connected."""
        return self._connected

    @property
    def max_payload_bytes(self) -> int:
        """As the broker was made."""
        return self._broker.max_payload_bytes

    @property
    def emulated(self) -> str | None:
        """No link is emulated here."""
        return None

    @property
    def early_unfinished(self) -> int:
        """See `tiercut.bus.ManagedBus.early_unfinished`."""
        return self._acks.early_unfinished

    async def __aenter__(self) -> Self:
        self._broker.join(self)
        self._connected = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self, *, goodbye: tuple[str, bytes] | None = None) -> None:
        """See `tiercut.bus.ManagedBus.close`."""
        if self._closed:
            return
        self._closed = True
        last = goodbye or self._will
        if self._connected:
            if last is not None:
                self._broker.route(retained(*last))
            self._connected = False
        self._acks.forget()
        self._broker.leave(self)
        for _, posted in self._unsent:
            posted.end(closed_error(_URL))
        self._unsent.clear()
        for route in self._routes:
            for inbox in route.inboxes:
                inbox.end()

    def post(self, message: Message, taken: Taken) -> Posted:
        """See `tiercut.bus.Bus.post`; the answer comes with the loop's next turn, as a real broker's does later."""
        check_message(message)
        if self._closed:
            raise closed_error(_URL)
        size = len(message.payload)
        if size > self.max_payload_bytes:
            raise too_large_error(message.topic, size, self.max_payload_bytes)
        expiry_s = message.expiry_s
        held = Held(message, None if expiry_s is None else self._broker.clock.monotonic_s() + expiry_s)
        posted = Pending(message, taken)
        if self._connected:
            self._hand_over(held)
            self._answer(posted)
        else:
            self._unsent.append((held, posted))
        return posted

    def soon(self, call: Callable[[], None]) -> None:
        """See `tiercut.bus.Bus.soon`."""
        asyncio.get_running_loop().call_soon(call)

    async def publish(self, message: Message) -> Sent:
        """See `tiercut.bus.Bus.publish`."""
        return await publish_by_post(self, message)

    async def announce(self, topic: str, payload: bytes, *, properties: Properties = ()) -> None:
        """See `tiercut.bus.Bus.announce`."""
        check_topic(topic)
        if self._closed:
            raise closed_error(_URL)
        self._announced[topic] = retained(topic, payload, properties)
        if self._connected:
            self._hand_over(self._announced[topic])

    async def subscribe(self, topic_filter: str, *, qos: int = 1, handler: Handler | None = None) -> Subscription:
        """See `tiercut.bus.Bus.subscribe`."""
        check_filter(topic_filter)
        check_qos(qos)
        if self._closed:
            raise closed_error(_URL)
        inbox = Inbox(
            topic_filter,
            qos0_limit=self._qos0_queue,
            unsubscribe=self._unsubscribe,
            dropped=lambda: self.counters.update(dropped_qos0_queue_full=1),
            handler=handler,
        )
        self._routes.add(inbox, qos=qos)
        for held in self._broker.retained(topic_filter):
            self._deliver(_Packet(held, min(qos, held.message.qos), retained=True, inboxes=[inbox]))
        return inbox

    # --- The broker's side ------------------------------------------------------------------------------------------

    def offer(self, held: Held) -> None:
        """The broker has a message; it is this bus's if a filter matches."""
        granted = [route.qos for route in self._routes if topic_matches(route.topic_filter, held.topic)]
        if granted:
            self._deliver(_Packet(held, min(held.message.qos, max(granted))))

    def lose(self) -> tuple[str, bytes] | None:
        """The connection breaks; returns the will."""
        if not self._connected:
            return None
        self._connected = False
        self._acks.forget()
        for packet in self._unacked.values():
            packet.duplicate = True
        self._queued.extendleft(reversed(self._unacked.values()))
        self._unacked.clear()
        return self._will

    def reconnect(self) -> None:
        """The connection is there again, and with it the session."""
        if self._connected or self._closed:
            return
        self._connected = True
        self.counters["reconnects"] += 1
        for held in self._announced.values():
            self._hand_over(held)
        while self._unsent:
            held, posted = self._unsent.popleft()
            if not posted.done:
                self._hand_over(held)
                self._answer(posted)
        self._deliver_queued()

    def _answer(self, posted: Pending) -> None:
        answer = Sent(seconds=0.0, payload_bytes=len(posted.message.payload))
        asyncio.get_running_loop().call_soon(posted.end, answer)

    def _hand_over(self, held: Held) -> None:
        self.counters["messages_out"] += 1
        self.counters["bytes_out"] += len(held.message.payload)
        self._broker.route(held)

    def _deliver(self, packet: _Packet) -> None:
        if packet.qos:
            self._queued.append(packet)
            self._deliver_queued()
        elif self._connected:
            self._put(packet, self._receivers(packet), [])

    def _deliver_queued(self) -> None:
        while self._connected and self._queued and len(self._unacked) < self._receive_maximum:
            packet = self._queued.popleft()
            expires_s = packet.held.expires_s
            if expires_s is not None and expires_s <= self._broker.clock.monotonic_s():
                continue
            packet_id = next(self._packet_ids)
            self._unacked[packet_id] = packet
            inboxes = self._receivers(packet)
            self._put(packet, inboxes, self._acks.take(packet_id, len(inboxes)))

    def _receivers(self, packet: _Packet) -> list[Inbox]:
        return self._routes.inboxes(packet.held.topic) if packet.inboxes is None else packet.inboxes

    def _put(self, packet: _Packet, inboxes: list[Inbox], acks: Sequence[Callable[[], None]]) -> None:
        message = packet.held.message
        self.counters["messages_in"] += 1
        self.counters["bytes_in"] += len(message.payload)
        if not inboxes:
            self.counters["dropped_no_subscription"] += 1
        for index, inbox in enumerate(inboxes):
            delivery = Delivery(
                topic=message.topic,
                payload=message.payload,
                received_s=self._broker.clock.monotonic_s(),
                retain=packet.retained,
                duplicate=packet.duplicate,
                properties=message.properties,
                content_type=message.content_type,
                response_topic=message.response_topic,
                correlation=message.correlation,
                ack=acks[index] if acks else nothing,
            )
            inbox.put(delivery, qos0=not packet.qos)

    def _acked(self, packet_id: int) -> None:
        self._unacked.pop(packet_id, None)
        self._deliver_queued()

    async def _unsubscribe(self, inbox: Inbox) -> None:
        self._routes.remove(inbox)
