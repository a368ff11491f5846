"""Outgoing messages: a queue served in order, as far as credit and bytes allow."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from tiercut.bus.base import Message, Sent, Taken
from tiercut.bus.packet_ids import PacketIds
from tiercut.bus.posting import Pending
from tiercut.bus.settings import PACKET_OVERHEAD_BYTES


class Queued(Pending):
    """One message on its way to the broker.

    Attributes:
        payload_bytes: Size of its payload.
        packet_bytes: What its packet may have at most.
        announcement: Presence: not sent again as such, because every reconnect sends the newest one anyway.
        qos: Its QoS, or what the broker allows.
        packet_id: Of a QoS 1 message that was sent in the session that there is.
        duplicate: It was sent before in that session.
        sent_s: When it was handed to the connection, for the last time so far.
    """

    __slots__ = ("announcement", "duplicate", "packet_bytes", "packet_id", "payload_bytes", "qos", "sent_s")

    def __init__(self, message: Message, taken: Taken, *, overhead_bytes: int = 0, announcement: bool = False) -> None:
        self.message = message
        self.taken = taken
        self.payload_bytes = len(message.payload)
        self.packet_bytes = self.payload_bytes + max(overhead_bytes, PACKET_OVERHEAD_BYTES)
        self.announcement = announcement
        self.qos = message.qos
        self.packet_id = 0
        self.duplicate = False
        self.sent_s = 0.0


class Outbox:
    """Messages waiting and in flight; knows no connection.

    Args:
        budget_bytes: Payload bytes that may be in flight; one larger message may go when nothing else is.
        packet_ids: Where their identifiers are from.

    Attributes:
        credit: QoS 1 messages that may be in flight: the server's Receive Maximum (MQTT 5 §4.9).
        in_flight_bytes: Payload bytes handed over and not yet taken.
        waiting: What was not sent in the session that there is, in order.
        again: What an earlier connection has sent in it, unacknowledged, in order; it goes first.
    """

    def __init__(self, *, budget_bytes: int, packet_ids: PacketIds) -> None:
        self._budget_bytes = budget_bytes
        self._packet_ids = packet_ids
        self.credit = 65_535
        self.in_flight_bytes = 0
        self.waiting: deque[Queued] = deque()
        self.again: deque[Queued] = deque()
        #: packet identifier → QoS 1 message sent on this connection
        self._unacked: dict[int, Queued] = {}
        #: QoS 0 messages that are not on the socket yet, in order
        self._unwritten: dict[Queued, None] = {}

    def add_first(self, messages: Iterable[Queued]) -> None:
        """Queue in front of all that wait, keeping the order among themselves."""
        self.waiting.extendleft(reversed(list(messages)))

    def next(self, max_qos: int = 1) -> Queued | None:
        """The message to hand over now, in flight from here on; ``None`` while there is none, or no room for it."""
        queue = self.again or self.waiting
        while queue is self.waiting and queue and queue[0].taken is None:  # withdrawn
            queue.popleft()
        if not queue:
            return None
        message = queue[0]
        qos = min(message.qos, max_qos)
        if qos and len(self._unacked) >= self.credit:
            return None
        in_flight_bytes = self.in_flight_bytes + message.payload_bytes
        if self.in_flight_bytes and in_flight_bytes > self._budget_bytes:
            return None
        self.in_flight_bytes = in_flight_bytes
        message.qos = qos
        if qos:
            message.packet_id = message.packet_id or self._packet_ids.take()
            self._unacked[message.packet_id] = message
        else:
            self._unwritten[message] = None
        return queue.popleft()

    def acked(self, packet_id: int) -> Queued | None:
        """The broker answered for a QoS 1 message; ``None`` when we know no such message."""
        message = self._unacked.pop(packet_id, None)
        if message is not None:
            self._packet_ids.free(packet_id)
            self.in_flight_bytes -= message.payload_bytes
        return message

    def written(self, message: Queued) -> bool:
        """A QoS 0 message is on the socket; ``False`` when we have given it up."""
        if message not in self._unwritten:
            return False
        del self._unwritten[message]
        self.in_flight_bytes -= message.payload_bytes
        return True

    def drop(self, message: Queued) -> None:
        """What `next` gave cannot be sent."""
        if message.qos:
            self.acked(message.packet_id)
        else:
            self.written(message)

    def renew(self, *, resumed: bool) -> None:
        """Another connection begins; nothing is in flight on it.

        In the session that knows them, unacknowledged messages are sent again in their order with DUP and their packet
        identifiers (MQTT 5 §4.4). A new session does not know them, and they are new messages there, first in line, as
        are QoS 0 messages that were never written. Announcements are omitted then, and count as taken: the caller sends
        the newest ones anyway.
        """
        sent = [*self._unacked.values(), *self.again]
        lost = list(self._unwritten)
        self._unacked.clear()
        self.again.clear()
        self._unwritten.clear()
        self.in_flight_bytes = 0
        if resumed:
            for message in sent:
                message.duplicate = True
            self.again.extend(sent)
        else:
            for message in sent:
                self._packet_ids.free(message.packet_id)
                message.packet_id, message.duplicate = 0, False
            lost = [*sent, *lost]
        for message in (*lost, *self.waiting):
            if message.announcement:
                message.end(Sent(0.0, message.payload_bytes))
        self.waiting = deque(message for message in self.waiting if not message.announcement)
        self.add_first(message for message in lost if not message.announcement)

    def fail_all(self, error: Exception) -> None:
        """The bus is closing: nobody waits any longer."""
        for message in (*self.again, *self._unacked.values(), *self._unwritten, *self.waiting):
            message.end(error)
        self.again.clear()
        self._unacked.clear()
        self._unwritten.clear()
        self.waiting.clear()
        self.in_flight_bytes = 0
