"""The outgoing half of the MQTT bus: publishes and announcements, as far as the broker and the budget allow."""

from __future__ import annotations

import asyncio
from collections import Counter

from tiercut.bus.base import Message, Properties, Sent, Taken
from tiercut.bus.connection import Connection
from tiercut.bus.error_mapping import publish_error, too_large_error
from tiercut.bus.handshake import Accepted
from tiercut.bus.outbox import Outbox, Queued
from tiercut.bus.packet_ids import PacketIds
from tiercut.bus.packets import check_message
from tiercut.bus.posting import Answer
from tiercut.bus.settings import PACKET_OVERHEAD_BYTES, MqttSettings
from tiercut.clock import Clock
from tiercut.errors import BusError, PacketTooLarge

#: QoS 1 messages in flight at most, so that packet identifiers are left for subscriptions.
_MOST_IN_FLIGHT = 60_000
#: Reason codes from here on are failures (MQTT 5 §2.4).
_FAILURE = 0x80


class Outgoing:
    """Sends in the order of the calls, and again after a loss what was not acknowledged.

    Attributes:
        max_packet_bytes: The broker's Maximum Packet Size (MQTT 5 §3.2.2.3.6), or the settings' cap below it.
    """

    def __init__(self, settings: MqttSettings, *, clock: Clock, counters: Counter[str], packet_ids: PacketIds) -> None:
        self._settings = settings
        self._monotonic_s = clock.monotonic_s
        self._counters = counters
        self._broker = Accepted()
        self._outbox = Outbox(budget_bytes=settings.outgoing_budget_bytes, packet_ids=packet_ids)
        #: topic → payload, properties: what every connection begins with
        self._announced: dict[str, tuple[bytes, Properties]] = {}
        #: the connection while it can be written to
        self._connection: Connection | None = None
        self.max_packet_bytes = min(settings.max_packet_bytes, self._broker.max_packet_bytes)

    @property
    def in_flight_bytes(self) -> int:
        """Payload bytes sent and not yet acknowledged."""
        return self._outbox.in_flight_bytes

    def post(self, message: Message, taken: Taken) -> Queued:
        """Queue up, and send what there is room for."""
        overhead_bytes = check_message(message)
        queued = Queued(message, taken, overhead_bytes=overhead_bytes)
        if queued.packet_bytes > self.max_packet_bytes:
            raise self._too_large(queued)
        self._outbox.waiting.append(queued)
        if self._connection is not None:
            self.pump()
        return queued

    async def announce(self, topic: str, payload: bytes, properties: Properties) -> None:
        """Publish with this connection and all later ones; without a connection, do not wait for one."""
        answer = Answer()
        queued = _announcement(topic, payload, properties, answer)
        if queued.packet_bytes > self.max_packet_bytes:
            raise self._too_large(queued)
        self._announced[topic] = (payload, properties)
        if self._connection is not None:
            self._outbox.waiting.append(queued)
            self.pump()
            await answer.future

    async def say_last(self, topic: str, payload: bytes, *, timeout_s: float) -> None:
        """Publish before all that waits; nothing is announced after it.

        Raises:
            TimeoutError: no answer.
            BusError: the broker refuses, or it is too large.
        """
        self._announced.clear()
        answer = Answer()
        self._outbox.add_first([_announcement(topic, payload, (), answer)])
        self.pump()
        async with asyncio.timeout(timeout_s):
            await answer.future

    def accepted(self, accepted: Accepted) -> None:
        """Take the broker's limits; what is in flight waits for `begin`."""
        self._broker = accepted
        self._outbox.credit = min(accepted.receive_maximum, _MOST_IN_FLIGHT)
        self.max_packet_bytes = min(self._settings.max_packet_bytes, accepted.max_packet_bytes)
        self._outbox.renew(resumed=accepted.session_present)

    def begin(self, connection: Connection) -> None:
        """The connection can be written to: what was in flight goes first, then announcements."""
        self._connection = connection
        self._outbox.add_first(_announcement(topic, *what, _unheard) for topic, what in self._announced.items())
        self.pump()

    def lost(self) -> None:
        """The connection is gone; what is in flight waits for the next one."""
        self._connection = None

    def pump(self) -> None:
        """Hand over what credit and budget allow."""
        connection, broker = self._connection, self._broker
        if connection is None:
            return
        sent = False
        box = self._outbox
        while (box.waiting or box.again) and (queued := box.next(broker.max_qos)) is not None:
            sent = self._send(connection, queued) or sent
        if sent:
            connection.flush()

    def acked(self, packet_id: int, code: int) -> None:
        """PUBACK came: the broker took a message, or refused it."""
        queued = self._outbox.acked(packet_id)
        if queued is None:
            return
        if code >= _FAILURE:
            self._counters["publish_refused"] += 1
            queued.end(publish_error(queued.message.topic, code))
        else:
            self._finish(queued)
        if self._outbox.waiting or self._outbox.again:
            self.pump()

    def written(self, queued: Queued) -> None:
        """A QoS 0 message is on the socket, which is all one can know of it."""
        if self._outbox.written(queued):
            self._finish(queued)
            self.pump()

    def end(self, error: BusError) -> None:
        """The bus is closing."""
        self._outbox.fail_all(error)

    def _send(self, connection: Connection, queued: Queued) -> bool:
        """Whether it can be sent; if not, it ends here."""
        message = queued.message
        queued.sent_s = self._monotonic_s()
        try:
            if queued.packet_bytes > self.max_packet_bytes:  # the broker may be another one than at the call
                raise self._too_large(queued)
            connection.publish(
                message,
                qos=queued.qos,
                retain=message.retain and self._broker.retain_available,
                packet_id=queued.packet_id if queued.qos else 0,
                duplicate=queued.duplicate,
            )
        except (PacketTooLarge, ValueError) as error:  # ValueError: a text that is too long for MQTT
            self._outbox.drop(queued)
            queued.end(error)
            return False
        if not queued.qos:
            connection.mark(queued)
        return True

    def _finish(self, queued: Queued) -> None:
        self._counters["messages_out"] += 1
        self._counters["bytes_out"] += queued.payload_bytes
        queued.end(Sent(self._monotonic_s() - queued.sent_s, queued.payload_bytes))

    def _too_large(self, queued: Queued) -> PacketTooLarge:
        limit = self.max_packet_bytes - PACKET_OVERHEAD_BYTES
        return too_large_error(queued.message.topic, queued.payload_bytes, limit)


def _announcement(topic: str, payload: bytes, properties: Properties, taken: Taken) -> Queued:
    message = Message(topic, payload, retain=True, properties=properties)
    return Queued(message, taken, overhead_bytes=check_message(message), announcement=True)


def _unheard(_: Sent | Exception) -> None:
    """Nobody waits for an announcement that a reconnect has repeated."""
