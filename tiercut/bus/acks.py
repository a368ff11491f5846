"""Acknowledgements in the order of reception, whatever the order in which the work ends."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable

#: With less credit than this a reader wants strict order, and gets it.
LEAST_CREDIT = 8


def patience(receive_maximum: int) -> float:
    """Three quarters of the credit; without end where there is little of it."""
    return math.inf if receive_maximum < LEAST_CREDIT else receive_maximum * 3 // 4


class _Entry:
    """A received message; ``holders`` counts the subscriptions that still work on it."""

    __slots__ = ("holders", "packet_id")

    def __init__(self, packet_id: int, holders: int) -> None:
        self.packet_id = packet_id
        self.holders = holders


class AckOrder:
    """Holds a PUBACK back until those of all earlier messages are out.

    MQTT 5 §4.6 [MQTT-4.6.0-2] asks for PUBACKs in the order in which the PUBLISHes came; some brokers (rumqttd)
    disconnect a client that does otherwise. One object serves all connections of a bus: `forget` starts a new
    connection, after which acknowledgements of older messages do nothing (the broker sends those messages again).

    A message whose work takes long holds back those behind it, and each takes one of the broker's credits. So that it
    cannot stop all others for ever, the head is acknowledged early when most of the credit is used up behind it: if
    this process then dies, that one message is lost.

    Args:
        send: Send the PUBACK of a packet identifier.
        patience: Messages that may wait for acknowledgement before a head that holds back others is acknowledged.
    """

    def __init__(self, send: Callable[[int], None], *, patience: float) -> None:
        self._send = send
        self._patience = patience
        #: acknowledged before its time, ever
        self.early = 0
        #: in order of reception; the head is never done
        self._entries: deque[_Entry] = deque()

    def __len__(self) -> int:
        return len(self._entries)

    def take(self, packet_id: int, holders: int) -> list[Callable[[], None]]:
        """A message arrived: one ``ack`` for each of its holders; nobody holding it acknowledges at once."""
        entry = _Entry(packet_id, holders)
        entries = self._entries
        entries.append(entry)
        if not holders:
            self._drain(entries)
        self._hurry(entries)
        return [self._make_ack(entry, entries) for _ in range(holders)]

    def forget(self) -> None:
        """The connection is gone, and with it all that was to be acknowledged on it."""
        self._entries = deque()

    def _make_ack(self, entry: _Entry, entries: deque[_Entry]) -> Callable[[], None]:
        done = False

        def ack() -> None:
            nonlocal done
            if done:
                return
            done = True
            entry.holders -= 1
            if entry.holders == 0 and entries is self._entries:
                self._drain(entries)
                self._hurry(entries)

        return ack

    def _hurry(self, entries: deque[_Entry]) -> None:
        """Acknowledge the head early while it holds back finished ones and little credit is left."""
        while entries is self._entries and len(entries) >= self._patience and any(not e.holders for e in entries):
            self.early += 1
            self._send(entries.popleft().packet_id)
            self._drain(entries)

    def _drain(self, entries: deque[_Entry]) -> None:
        # `entries` is compared at each turn: sending may find that the connection is gone.
        while entries is self._entries and entries and entries[0].holders == 0:
            self._send(entries.popleft().packet_id)
