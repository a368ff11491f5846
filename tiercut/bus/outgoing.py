"""The outgoing half of the MQTT bus: publishes and announcements, as far as the broker and the budget allow."""

from __future__ import annotations

import asyncio
from collections import Counter

from paho.mqtt.reasoncodes import ReasonCode

from tiercut.bus.base import Message, Properties, Sent, Taken
from tiercut.bus.connection import Connection
from tiercut.bus.error_mapping import publish_error, too_large_error
from tiercut.bus.handshake import Accepted
from tiercut.bus.outbox import Outbox, Queued
from tiercut.bus.packets import overhead_bytes, pack
from tiercut.bus.posting import Answer
from tiercut.bus.settings import PACKET_OVERHEAD_BYTES, MqttSettings
from tiercut.clock import Clock
from tiercut.errors import BusError, PacketTooLarge


class Outgoing:
    """Sends in the order of the calls, and again after a loss what was not acknowledged."""

    def __init__(self, settings: MqttSettings, *, clock: Clock, counters: Counter[str]) -> None:
        self._settings = settings
        self._clock = clock
        self._counters = counters
        self._broker = Accepted()
        self._outbox = Outbox(budget_bytes=settings.outgoing_budget_bytes)
        #: topic → payload, properties: what every connection begins with
        self._announced: dict[str, tuple[bytes, Properties]] = {}
        #: the connection while it can be written to
        self._connection: Connection | None = None

    @property
    def max_packet_bytes(self) -> int:
        """The broker's Maximum Packet Size (MQTT 5 §3.2.2.3.6), or the settings' cap below it."""
        return min(self._settings.max_packet_bytes, self._broker.max_packet_bytes)

    @property
    def in_flight_bytes(self) -> int:
        """Payload bytes sent and not yet acknowledged."""
        return self._outbox.in_flight_bytes

    def post(self, message: Message, taken: Taken) -> Queued:
        """Queue up, and send what there is room for."""
        queued = _queued(message, taken)
        self._check_size(queued)
        self._outbox.add(queued)
        self.pump()
        return queued

    async def announce(self, topic: str, payload: bytes, properties: Properties) -> None:
        """Publish with this connection and all later ones; without a connection, do not wait for one."""
        answer = Answer()
        queued = _announcement(topic, payload, properties, answer)
        self._check_size(queued)
        self._announced[topic] = (payload, properties)
        if self._connection is not None:
            self._outbox.add(queued)
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
        queued = _announcement(topic, payload, (), answer)
        self._check_size(queued)
        self._outbox.add_first([queued])
        self.pump()
        async with asyncio.timeout(timeout_s):
            await answer.future

    def accepted(self, connection: Connection, accepted: Accepted) -> None:
        """Take the broker's limits; decide who sends the unacknowledged messages again.

        In the session that knows them, the connection does, with DUP (MQTT 5 §4.4). A new session does not know them,
        and they are new messages there.
        """
        self._broker = accepted
        self._outbox.credit = accepted.receive_maximum
        resume = accepted.session_present and self._outbox.unacked <= accepted.receive_maximum
        if not resume:
            connection.drop_unacked()
        self._outbox.requeue(self._clock.monotonic_s(), unacked=not resume)

    def begin(self, connection: Connection) -> None:
        """The connection can be written to: announcements go first."""
        self._connection = connection
        self._outbox.add_first(_announcement(topic, *what, _unheard) for topic, what in self._announced.items())

    def lost(self) -> None:
        """The connection is gone; what is in flight waits for the next one."""
        self._connection = None

    def pump(self) -> None:
        """Hand over what credit and budget allow."""
        while (connection := self._connection) is not None and (queued := self._outbox.next()) is not None:
            try:
                self._check_size(queued)  # the broker may be another one than at the call
            except PacketTooLarge as error:
                queued.end(error)
                continue
            queued.qos = min(queued.qos, self._broker.max_qos)
            queued.sent_s = self._clock.monotonic_s()
            message = queued.message
            retain = message.retain and self._broker.retain_available
            packet_id = connection.publish(message.topic, message.payload, queued.qos, retain, queued.properties)
            self._outbox.sent(packet_id, queued)
            connection.flush()

    def acked(self, packet_id: int, reason: ReasonCode) -> None:
        """PUBACK came: the broker took a message, or refused it."""
        queued = self._outbox.acked(packet_id)
        if queued is None:
            return
        if reason.is_failure:
            self._counters["publish_refused"] += 1
            queued.end(publish_error(queued.message.topic, reason))
        else:
            self._finish(queued)

    def written(self, packet_id: int) -> None:
        """A QoS 0 message is on the socket, which is all one can know of it."""
        queued = self._outbox.written(packet_id)
        if queued is not None:
            self._finish(queued)

    def end(self, error: BusError) -> None:
        """The bus is closing."""
        self._outbox.fail_all(error)

    def _finish(self, queued: Queued) -> None:
        self._counters["messages_out"] += 1
        self._counters["bytes_out"] += len(queued.message.payload)
        queued.finish(self._clock.monotonic_s())

    def _check_size(self, queued: Queued) -> None:
        size = len(queued.message.payload) + max(queued.overhead_bytes, PACKET_OVERHEAD_BYTES)
        if size > self.max_packet_bytes:
            limit = self.max_packet_bytes - PACKET_OVERHEAD_BYTES
            raise too_large_error(queued.message.topic, len(queued.message.payload), limit)


def _queued(message: Message, taken: Taken, *, announcement: bool = False) -> Queued:
    return Queued(
        message,
        taken,
        properties=pack(message),
        overhead_bytes=overhead_bytes(message),
        announcement=announcement,
    )


def _announcement(topic: str, payload: bytes, properties: Properties, taken: Taken) -> Queued:
    return _queued(Message(topic, payload, retain=True, properties=properties), taken, announcement=True)


def _unheard(_: Sent | Exception) -> None:
    """Nobody waits for an announcement that a reconnect has repeated."""
