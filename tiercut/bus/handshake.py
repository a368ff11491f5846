"""What a connection tells the bus: how the broker answered, and what happens on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, Self

from paho.mqtt.client import MQTTMessage
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from tiercut.bus.settings import MAX_PROTOCOL_BYTES


@dataclass(frozen=True, slots=True)
class Accepted:
    """What the broker says of itself in CONNACK (MQTT 5 §3.2.2.3), with the protocol's defaults."""

    session_present: bool = False
    receive_maximum: int = 65_535
    max_packet_bytes: int = MAX_PROTOCOL_BYTES
    max_qos: int = 1
    retain_available: bool = True
    subscription_ids: bool = True

    @classmethod
    def read(cls, session_present: bool, properties: Properties | None) -> Self:
        """From CONNACK."""
        default = cls()

        def told(name: str, otherwise: int) -> int:
            return int(getattr(properties, name, otherwise))

        return cls(
            session_present=session_present,
            receive_maximum=told("ReceiveMaximum", default.receive_maximum),
            max_packet_bytes=told("MaximumPacketSize", default.max_packet_bytes),
            max_qos=min(1, told("MaximumQoS", 1)),
            retain_available=bool(told("RetainAvailable", 1)),
            subscription_ids=bool(told("SubscriptionIdentifierAvailable", 1)),
        )


class Refused(Exception):
    """The broker answered CONNECT with a reason code that is no success."""

    def __init__(self, reason: ReasonCode) -> None:
        super().__init__(str(reason))
        self.reason = reason


class Events(Protocol):
    """Events of a connection; all on the loop's thread, in the order in which they happen."""

    def on_accepted(self, accepted: Accepted) -> None:
        """CONNACK came; paho resends what is unacknowledged after this returns."""

    def on_message(self, message: MQTTMessage) -> None:
        """PUBLISH came."""

    def on_acked(self, packet_id: int, reason: ReasonCode) -> None:
        """PUBACK came."""

    def on_written(self, packet_id: int) -> None:
        """A QoS 0 message is on the socket."""

    def on_subscribed(self, packet_id: int, reason: ReasonCode) -> None:
        """SUBACK came, for the one filter of its SUBSCRIBE."""

    def on_turn(self) -> None:
        """All that could be read was read: the time to send what there is now room for."""

    def on_lost(self, reason: str) -> None:
        """The connection is gone, after it had been accepted."""
