"""What a connection tells the bus: how the broker answered, and what happens on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, Self

import mqtt5

from tiercut.bus.settings import MAX_PROTOCOL_BYTES
from tiercut.bus.wire import Malformed, read, said

#: Return codes of a CONNACK of MQTT 3.1.1 (§3.2.2.3) → reason codes of MQTT 5
_OLD_CODES = {1: 0x84, 2: 0x85, 3: 0x88, 4: 0x86, 5: 0x87}
#: CONNACK of MQTT 3.1.1, which has no properties.
_OLD_BYTES = 4


@dataclass(frozen=True, slots=True)
class Accepted:
    """What the broker says of itself in CONNACK (MQTT 5 §3.2.2.3), with the protocol's defaults.

    Attributes:
        keepalive_s: The broker's word for it; ``None``: as we said.
    """

    session_present: bool = False
    receive_maximum: int = 65_535
    max_packet_bytes: int = MAX_PROTOCOL_BYTES
    max_qos: int = 1
    retain_available: bool = True
    subscription_ids: bool = True
    keepalive_s: int | None = None

    @classmethod
    def read(cls, packet: memoryview) -> Self:
        """From a whole CONNACK.

        Raises:
            Refused: it says no.
            Malformed: it is none.
        """
        if len(packet) == _OLD_BYTES:
            raise Refused(_OLD_CODES.get(packet[3], packet[3]))
        found = read(packet)
        if not isinstance(found, mqtt5.ConnAckPacket):
            raise Malformed("a packet other than CONNACK")
        if int(found.reason_code):  # these enums are no ints, whatever their stubs say
            raise Refused(int(found.reason_code))
        return cls(
            session_present=found.session_present,
            receive_maximum=found.receive_max,
            max_packet_bytes=found.max_packet_size or MAX_PROTOCOL_BYTES,
            max_qos=min(1, int(found.max_qos)),
            retain_available=found.retain_available,
            subscription_ids=found.subscription_id_available,
            keepalive_s=found.server_keep_alive,
        )


class Refused(Exception):
    """The broker answered CONNECT with a reason code that is no success."""

    def __init__(self, code: int) -> None:
        super().__init__(said(mqtt5.ConnAckReasonCode, code))
        self.code = code


class Events(Protocol):
    """Events of a connection; all on the loop's thread, in the order in which they happen.

    Reason codes of 0x80 and above are failures (MQTT 5 §2.4).
    """

    def on_accepted(self, accepted: Accepted) -> None:
        """CONNACK came: the connection can be written to."""

    def on_message(self, message: mqtt5.PublishPacket, payload: bytes, age_s: float) -> None:
        """PUBLISH came; its payload stands beside it."""

    def on_bad_message(self, packet_id: int, reason: str, came: str) -> None:
        """A PUBLISH came that cannot be read; ``packet_id`` is 0 for QoS 0."""

    def on_acked(self, packet_id: int, code: int) -> None:
        """PUBACK came."""

    def on_written(self, what: object) -> None:
        """A QoS 0 message is on the socket, as it was given to `Connection.publish`."""

    def on_subscribed(self, packet_id: int, code: int) -> None:
        """SUBACK came, for the one filter of its SUBSCRIBE."""

    def on_unsubscribed(self, packet_id: int) -> None:
        """UNSUBACK came."""

    def on_lost(self, reason: str) -> None:
        """The connection is gone, after it had been accepted."""
