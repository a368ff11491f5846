"""Frames that an edge has sent on and that have no outcome yet: no known answer is published before theirs."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

#: A known answer waits at most this long for the outcomes of the frames ahead of it: one of those may be lost.
MAX_WAIT_S = 5.0


class SiteStream(NamedTuple):
    """A stream of a site."""

    site: str
    name: str


class FramesInFlight:
    """The frames in flight behind this node, by stream; those from before `MAX_WAIT_S` are not waited for any more."""

    def __init__(self) -> None:
        #: stream → event id of a frame → when it was sent on
        self._in_flight: dict[SiteStream, dict[str, float]] = {}
        #: all of them in order of time, with some that have arrived since: what bounds the memory
        self._order: deque[tuple[float, SiteStream, str]] = deque()

    def sent_on(self, stream: SiteStream, event: str, now_s: float) -> None:
        """A frame goes to the next node."""
        self._expire(now_s)
        self._in_flight.setdefault(stream, {})[event] = now_s
        self._order.append((now_s, stream, event))

    def outcome(self, stream: SiteStream, event: str) -> None:
        """Its outcome is known, if it was in flight."""
        in_flight = self._in_flight.get(stream)
        if in_flight is not None:
            in_flight.pop(event, None)
            if not in_flight:
                del self._in_flight[stream]

    def of(self, stream: SiteStream, event: str, now_s: float) -> bool:
        """Whether others of a frame's stream are in flight."""
        self._expire(now_s)
        return any(each != event for each in self._in_flight.get(stream, ()))

    def _expire(self, now_s: float) -> None:
        while self._order and now_s - self._order[0][0] > MAX_WAIT_S:
            since_s, stream, event = self._order.popleft()
            if self._in_flight.get(stream, {}).get(event) == since_s:  # and was not sent again in between
                self.outcome(stream, event)
