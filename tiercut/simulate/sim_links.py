"""Links of a simulated site, and the lines that they share: one message at a time, in the order they came (FIFO)."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from tiercut.simulate.scenario import LinkTraces
from tiercut.simulate.traces import Trace

#: Messages of frames that are ``latest`` expire after this long in a queue, as those of the real nodes do.
EXPIRY_S = 10.0


class Clock(Protocol):
    """What a link needs of the world around it."""

    now_s: float

    def at(self, time_s: float, act: Callable[[], None]) -> None:
        """Do something at a time."""


@dataclass(slots=True)
class _Message:
    """Bytes on a link, since when, and what happens when they have left, and when they arrive after so many seconds."""

    size: int
    since_s: float
    left: Callable[[_Message], None]
    expired: Callable[[_Message], None]
    arrive: Callable[[float], None]


class SimLine:
    """What serializes messages, at the rate of its trace: of one link, or of all that share it.

    A message that has waited for `EXPIRY_S` is not sent. The rate may change during a transfer.
    """

    def __init__(self, mbps: Trace, world: Clock) -> None:
        self.mbps = mbps
        self._world = world
        self._waiting: deque[_Message] = deque()
        self._busy = False
        #: when the message being sent has left
        self.free_s = 0.0

    def put(self, message: _Message) -> None:
        """Add a message."""
        self._waiting.append(message)
        self._next()

    def backlog_s(self, now_s: float) -> float:
        """Seconds until what is on it now has left, at today's rate."""
        rate = self.mbps.at(now_s) * 1e6 / 8
        waiting = sum(message.size for message in self._waiting)
        return max(0.0, self.free_s - now_s) + (waiting / rate if rate else math.inf if waiting else 0.0)

    def _next(self) -> None:
        while not self._busy and self._waiting:
            message = self._waiting.popleft()
            if self._world.now_s - message.since_s > EXPIRY_S:
                message.expired(message)
                continue
            self._busy = True
            self.free_s = self.mbps.until_sum(self._world.now_s, message.size * 8 / 1e6)
            if math.isfinite(self.free_s):
                self._world.at(self.free_s, lambda: self._left(message))  # noqa: B023 - the loop ends here

    def _left(self, message: _Message) -> None:
        self._busy = False
        message.left(message)
        self._next()


class SimLink:
    """One directed link: its messages go through a line, then travel for its delay, and none overtakes another."""

    def __init__(self, traces: LinkTraces, line: SimLine, world: Clock) -> None:
        self._latency_seconds = traces.latency_seconds
        self._line = line
        self._world = world
        self._in_flight: deque[_Message] = deque()
        self._last_arrival_s = 0.0

    def put(self, payload_bytes: int, arrive: Callable[[float], None]) -> None:
        """Add a message; ``arrive`` is called with the seconds that it took."""
        message = _Message(payload_bytes, self._world.now_s, self._left, self._in_flight.remove, arrive)
        self._in_flight.append(message)
        self._line.put(message)

    def backlog_s(self, now_s: float) -> float:
        """Seconds until what is on its line now has left, at today's rate."""
        return self._line.backlog_s(now_s)

    def alone_s(self, payload_bytes: int) -> float:
        """What a message would take now with the line to itself."""
        sent_s = self._line.mbps.until_sum(self._world.now_s, payload_bytes * 8 / 1e6)
        return sent_s - self._world.now_s + (self._latency_seconds.at(sent_s) if math.isfinite(sent_s) else 0.0)

    def oldest(self, now_s: float) -> tuple[int, float] | None:
        """Size of the message that has been in flight longest, and for how long since the one before it arrived."""
        if not self._in_flight:
            return None
        return self._in_flight[0].size, now_s - max(self._in_flight[0].since_s, self._last_arrival_s)

    def _left(self, message: _Message) -> None:
        left_s = self._world.now_s
        arrival_s = max(self._last_arrival_s, left_s + self._latency_seconds.at(left_s))
        self._last_arrival_s = arrival_s

        def arrive() -> None:
            self._in_flight.remove(message)
            message.arrive(arrival_s - message.since_s)

        self._world.at(arrival_s, arrive)
