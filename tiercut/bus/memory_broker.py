"""The broker side of the bus in one process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from paho.mqtt.client import topic_matches_sub

from tiercut.bus import Properties
from tiercut.bus.settings import PACKET_OVERHEAD_BYTES, PROTOCOL_MAX_BYTES
from tiercut.clock import Clock


@dataclass(frozen=True, slots=True)
class Message:
    """As the broker holds it."""

    topic: str
    payload: bytes
    qos: int
    retain: bool
    expires_s: float | None
    properties: Properties
    content_type: str | None
    response_topic: str | None
    correlation: bytes | None


def retained(topic: str, payload: bytes, properties: Properties = ()) -> Message:
    """As presence is published."""
    return Message(topic, payload, 1, True, None, tuple(properties), None, None, None)


class Client(Protocol):
    """A bus, as its broker sees it."""

    def offer(self, message: Message) -> None:
        """A message that may concern it."""

    def lose(self) -> tuple[str, bytes] | None:
        """The connection breaks; returns the will."""

    def reconnect(self) -> None:
        """The connection is there again."""


class MemoryBroker:
    """What `MemoryBus` connects to.

    Args:
        max_payload_bytes: Larger ones are refused, as by a Maximum Packet Size.
    """

    def __init__(self, *, clock: Clock, max_payload_bytes: int = PROTOCOL_MAX_BYTES - PACKET_OVERHEAD_BYTES) -> None:
        self.clock = clock
        self.max_payload_bytes = max_payload_bytes
        self._buses: list[Client] = []
        self._retained: dict[str, Message] = {}

    def cut(self, bus: Client) -> None:
        """Break a bus's connection: its will is published, its publishes wait, QoS 1 messages wait for it."""
        will = bus.lose()
        if will is not None:
            self.route(retained(*will))

    def restore(self, bus: Client) -> None:
        """The bus has reconnected: announcements, what it did not acknowledge, and what has waited."""
        bus.reconnect()

    def join(self, bus: Client) -> None:
        """A bus connects."""
        self._buses.append(bus)

    def leave(self, bus: Client) -> None:
        """A bus has disconnected."""
        self._buses.remove(bus)

    def route(self, message: Message) -> None:
        """Take a message, and hand it to all whom it concerns."""
        if message.retain:
            if message.payload:
                self._retained[message.topic] = message
            else:
                self._retained.pop(message.topic, None)
        for bus in list(self._buses):
            bus.offer(message)

    def retained(self, topic_filter: str) -> list[Message]:
        """Retained messages that match a filter and have not expired."""
        now_s = self.clock.monotonic_s()
        self._retained = {
            topic: message
            for topic, message in self._retained.items()
            if message.expires_s is None or message.expires_s > now_s
        }
        return [message for topic, message in self._retained.items() if topic_matches_sub(topic_filter, topic)]
