"""Frames in transit to another node: the hub hears of those that take long before their results come."""

from __future__ import annotations

import itertools
from collections import Counter

from msgspec import Struct

from tiercut.clock import Clock
from tiercut.plan import Tier
from tiercut.protocol.nodes import Transfer

#: A frame that takes at least this long is reported, and again after each further such time.
LATE_S = 0.15


class _Transit(Struct, frozen=True):
    """A frame that is being sent."""

    line: int
    tier: Tier
    node: str
    payload_bytes: int
    since_s: float


class InTransit:
    """Frames that are being sent, until the broker has them (event loop only)."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._sending: dict[int, _Transit] = {}
        self._numbers = itertools.count()
        #: frames that have set out so far, by line
        self._started: Counter[int] = Counter()
        #: when the last one was through, by line: those behind it have waited for it until then
        self._freed_s: dict[int, float] = {}

    def set_out(self, line: int, tier: Tier, node: str, payload_bytes: int) -> int:
        """A frame is being sent from now on; returns the number for `arrived`.

        Args:
            line: Which connection it goes over.
            tier: Tier of the receiver.
            node: Its node id.
            payload_bytes: Size of the frame.
        """
        number = next(self._numbers)
        self._started[line] += 1
        self._sending[number] = _Transit(line, tier, node, payload_bytes, self._clock.monotonic_s())
        return number

    def arrived(self, number: int) -> None:
        """The broker has it, or it is taken back."""
        transit = self._sending.pop(number)
        self._freed_s[transit.line] = self._clock.monotonic_s()

    def started(self, line: int) -> int:
        """How many frames have set out over a connection, ever."""
        return self._started[line]

    def busy(self, line: int) -> bool:
        """Whether one is on its way over a connection."""
        return any(each.line == line for each in self._sending.values())

    def late(self) -> tuple[Transfer, ...]:
        """The oldest to each node, where it has been in transit for long."""
        now_s = self._clock.monotonic_s()
        oldest: dict[tuple[Tier, str], _Transit] = {}
        for each in self._sending.values():  # in the order of setting out
            oldest.setdefault((each.tier, each.node), each)
        return tuple(
            Transfer(
                tier=each.tier,
                node=each.node,
                payload_bytes=each.payload_bytes,
                seconds=seconds,
                arrived=False,
            )
            for each in oldest.values()
            if (seconds := now_s - max(each.since_s, self._freed_s.get(each.line, each.since_s))) >= LATE_S
        )
