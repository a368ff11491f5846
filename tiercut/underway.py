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
        #: frames that have set out so far
        self.started = 0

    @contextmanager
    def sending(self, tier: Tier, node: str, payload_bytes: int) -> Iterator[None]:
        """A frame is being sent while this is open."""
        number = next(self._numbers)
        self.started += 1
        self._sending[number] = _Sending(tier, node, payload_bytes, self._clock.monotonic_s())
        try:
            yield
        finally:
            del self._sending[number]

    @property
    def busy(self) -> bool:
        """Whether one is on its way: whichever bus it is on, the line that leaves the node may be the same."""
        return bool(self._sending)

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
