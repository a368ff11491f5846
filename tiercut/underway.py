"""What takes long on a node: frames on their way to another node. The hub hears of them before their results come."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tiercut.clock import Clock
from tiercut.messages import Transfer
from tiercut.plan import Tier

#: From so long on it is spoken of.
LATE_S = 0.25


@dataclass(frozen=True, slots=True)
class _Sending:
    """A frame that is being sent."""

    tier: Tier
    node: str
    payload_bytes: int
    since_s: float


class UnderWay:
    """Frames that are being sent, until the broker has them (event loop only)."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._sending: dict[int, _Sending] = {}
        self._numbers = itertools.count()
        #: frames that have set out so far, by the tier they go to
        self._started: dict[Tier, int] = {}

    @contextmanager
    def sending(self, tier: Tier, node: str, payload_bytes: int) -> Iterator[None]:
        """A frame is being sent while this is open."""
        number = next(self._numbers)
        self._started[tier] = self._started.get(tier, 0) + 1
        self._sending[number] = _Sending(tier, node, payload_bytes, self._clock.monotonic_s())
        try:
            yield
        finally:
            del self._sending[number]

    def started(self, tier: Tier) -> int:
        """How many frames have set out to nodes of a tier, ever."""
        return self._started.get(tier, 0)

    def busy(self, tier: Tier) -> bool:
        """Whether one is on its way to a node of a tier."""
        return any(each.tier == tier for each in self._sending.values())

    def late(self) -> tuple[Transfer, ...]:
        """The oldest to each node, where it has been under way for long."""
        now_s = self._clock.monotonic_s()
        oldest: dict[tuple[Tier, str], _Sending] = {}
        for each in self._sending.values():  # in the order of setting out
            oldest.setdefault((each.tier, each.node), each)
        return tuple(
            Transfer(
                tier=each.tier,
                node=each.node,
                payload_bytes=each.payload_bytes,
                seconds=now_s - each.since_s,
                arrived=False,
            )
            for each in oldest.values()
            if now_s - each.since_s >= LATE_S
        )
