"""The broker side of the bus in one process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from tiercut.bus.base import Message, Properties
from tiercut.bus.routes import topic_matches
from tiercut.bus.settings import MAX_PROTOCOL_BYTES, PACKET_OVERHEAD_BYTES
from tiercut.clock import Clock


@dataclass(frozen=True, slots=True)
class Held:
    """A message as the broker holds it.

    Attributes:
        message: The message.
        expires_s: When it is forgotten, on the broker's clock; ``None``: never.
    """

    message: Message
    expires_s: float | None = None

    @property
    def topic(self) -> str:
        """Its topic."""
        return self.message.topic


def retained(topic: str, payload: bytes, properties: Properties = ()) -> Held:
    """As presence is published."""
    return Held(Message(topic, payload, retain=True, properties=tuple(properties)))


class Client(Protocol):
    """A bus, as its broker sees it."""

    def offer(self, held: Held) -> None:
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

    def __init__(self, *, clock: Clock, max_payload_bytes: int = MAX_PROTOCOL_BYTES - PACKET_OVERHEAD_BYTES) -> None:
        self.clock = clock
        self.max_payload_bytes = max_payload_bytes
        self._buses: list[Client] = []
        self._retained: dict[str, Held] = {}

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

    def route(self, held: Held) -> None:
        """Take a message, and hand it to all whom it concerns."""
        if held.message.retain:
            if held.message.payload:
                self._retained[held.topic] = held
            else:
                self._retained.pop(held.topic, None)
        for bus in list(self._buses):
            bus.offer(held)

    def retained(self, topic_filter: str) -> list[Held]:
        """Retained messages that match a filter and have not expired."""
        now_s = self.clock.monotonic_s()
        self._retained = {
            topic: held for topic, held in self._retained.items() if held.expires_s is None or held.expires_s > now_s
        }
        return [held for topic, held in self._retained.items() if topic_matches(topic_filter, topic)]
