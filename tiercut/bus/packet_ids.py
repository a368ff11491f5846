"""Packet Identifiers of a client (MQTT 5 §2.2.1): one set for PUBLISH, SUBSCRIBE and UNSUBSCRIBE."""

from __future__ import annotations

_MAX = 65_535


class PacketIds:
    """Gives out numbers that are not in use, over all connections of a session."""

    def __init__(self) -> None:
        self._last = 0
        self._used: set[int] = set()

    def take(self) -> int:
        """The next one."""
        number = self._last % _MAX + 1
        while number in self._used:
            number = number % _MAX + 1
        self._used.add(number)
        self._last = number
        return number

    def free(self, number: int) -> None:
        """The broker has answered for it, or the session that knew it is gone."""
        self._used.discard(number)
