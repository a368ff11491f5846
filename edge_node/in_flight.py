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


class _Frame(NamedTuple):
    """A frame in flight.

    Attributes:
        since_s: When it was sent on.
        lane: Number of its plan among those that run at once: it overtakes no other of that plan, see `Work`.
    """

    since_s: float
    lane: int


class FramesInFlight:
    """The frames in flight behind this node, by stream; those from before `MAX_WAIT_S` are not waited for any more."""

    def __init__(self) -> None:
        #: stream → event id of a frame → when it was sent on, and its lane
        self._in_flight: dict[SiteStream, dict[str, _Frame]] = {}
        #: all of them in order of time, with some that have arrived since: what bounds the memory
        self._order: deque[tuple[float, SiteStream, str]] = deque()

    def sent_on(self, stream: SiteStream, event: str, lane: int, now_s: float) -> None:
        """A frame goes to the next node."""
        self._expire(now_s)
        self._in_flight.setdefault(stream, {})[event] = _Frame(now_s, lane)
        self._order.append((now_s, stream, event))

    def outcome(self, stream: SiteStream, event: str) -> None:
        """Its outcome is known, if it was in flight."""
        in_flight = self._in_flight.get(stream)
        if in_flight is not None:
            in_flight.pop(event, None)
            if not in_flight:
                del self._in_flight[stream]

    def of(self, stream: SiteStream, event: str, lane: int, now_s: float) -> bool:
        """Whether others of a frame's stream and lane are in flight."""
        self._expire(now_s)
        in_flight = self._in_flight.get(stream, {})
        return any(each != event and frame.lane == lane for each, frame in in_flight.items())

    def _expire(self, now_s: float) -> None:
        while self._order and now_s - self._order[0][0] > MAX_WAIT_S:
            since_s, stream, event = self._order.popleft()
            frame = self._in_flight.get(stream, {}).get(event)
            if frame is not None and frame.since_s == since_s:  # and was not sent again in between
                self.outcome(stream, event)
