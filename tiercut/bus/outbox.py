"""Outgoing messages: a queue served in order, as far as credit and bytes allow."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING

from tiercut.bus.base import Message, Sent, Taken
from tiercut.bus.posting import Pending

if TYPE_CHECKING:
    from paho.mqtt.properties import Properties


class Queued(Pending):
    """One message on its way to the broker.

    Attributes:
        qos: Its QoS, or what the broker allows.
        properties: Its properties as paho wants them.
        overhead_bytes: What the packet carries beside the payload.
        announcement: Presence: not sent again as such, because every reconnect sends the newest one anyway.
        sent_s: When it was handed to the connection, for the last time so far.
    """

    __slots__ = ("announcement", "overhead_bytes", "properties", "qos", "sent_s")

    def __init__(
        self,
        message: Message,
        taken: Taken,
        *,
        properties: Properties | None = None,
        overhead_bytes: int = 0,
        announcement: bool = False,
    ) -> None:
        super().__init__(message, taken)
        self.qos = message.qos
        self.properties = properties
        self.overhead_bytes = overhead_bytes
        self.announcement = announcement
        self.sent_s = 0.0

    def finish(self, now_s: float) -> None:
        """The broker has taken it."""
        self.end(Sent(seconds=now_s - self.sent_s, payload_bytes=len(self.message.payload)))


class Outbox:
    """Messages waiting and in flight; knows no connection.

    Args:
        budget_bytes: Payload bytes that may be in flight; one larger message may go when nothing else is.
    """

    def __init__(self, *, budget_bytes: int) -> None:
        self._budget_bytes = budget_bytes
        self._in_flight_bytes = 0
        #: QoS 1 messages that may be in flight: the server's Receive Maximum (MQTT 5 §4.9)
        self.credit = 65_535
        self._waiting: deque[Queued] = deque()
        #: packet identifier → QoS 1 message
        self._unacked: dict[int, Queued] = {}
        #: packet identifier → QoS 0 message that is not on the socket yet
        self._unwritten: dict[int, Queued] = {}

    @property
    def in_flight_bytes(self) -> int:
        """Payload bytes handed over and not yet taken."""
        return self._in_flight_bytes

    @property
    def unacked(self) -> int:
        """QoS 1 messages handed over and not yet acknowledged."""
        return len(self._unacked)

    def add(self, message: Queued) -> None:
        """Queue up."""
        self._waiting.append(message)

    def add_first(self, messages: Iterable[Queued]) -> None:
        """Queue in front of all others, keeping the order among themselves."""
        self._waiting.extendleft(reversed(list(messages)))

    def next(self) -> Queued | None:
        """The message to hand over now, or ``None`` while there is none or no room for it."""
        waiting = self._waiting
        while waiting and waiting[0].done:  # withdrawn
            waiting.popleft()
        if not waiting:
            return None
        message = waiting[0]
        if message.qos and len(self._unacked) >= self.credit:
            return None
        if self._in_flight_bytes and self._in_flight_bytes + len(message.message.payload) > self._budget_bytes:
            return None
        return waiting.popleft()

    def sent(self, packet_id: int, message: Queued) -> None:
        """It was handed to the connection under this identifier."""
        (self._unacked if message.qos else self._unwritten)[packet_id] = message
        self._in_flight_bytes += len(message.message.payload)

    def acked(self, packet_id: int) -> Queued | None:
        """The broker answered for a QoS 1 message; ``None`` when we know no such message."""
        return self._leave(self._unacked, packet_id)

    def written(self, packet_id: int) -> Queued | None:
        """A QoS 0 message is on the socket."""
        return self._leave(self._unwritten, packet_id)

    def requeue(self, now_s: float, *, unacked: bool) -> None:
        """Back in front, in the old order: QoS 0 messages never written and, with ``unacked``, all in flight.

        Without ``unacked``, those are sent again by the connection, from now on.

        Announcements are omitted, and count as taken: the caller sends the newest ones anyway.
        """
        lost = list(self._unwritten.values())
        self._unwritten.clear()
        if unacked:
            lost = [*self._unacked.values(), *lost]
            self._unacked.clear()
        for message in self._unacked.values():
            message.sent_s = now_s
        self._in_flight_bytes = sum(len(message.message.payload) for message in self._unacked.values())
        for message in (*lost, *self._waiting):
            if message.announcement:
                message.finish(message.sent_s)
        self._waiting = deque(message for message in self._waiting if not message.announcement)
        self.add_first(message for message in lost if not message.announcement)

    def fail_all(self, error: Exception) -> None:
        """The bus is closing: nobody waits any longer."""
        for message in (*self._unacked.values(), *self._unwritten.values(), *self._waiting):
            message.end(error)
        self._unacked.clear()
        self._unwritten.clear()
        self._waiting.clear()
        self._in_flight_bytes = 0

    def _leave(self, group: dict[int, Queued], packet_id: int) -> Queued | None:
        message = group.pop(packet_id, None)
        if message is not None:
            self._in_flight_bytes -= len(message.message.payload)
        return message
