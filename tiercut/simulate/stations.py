"""Nodes and links of a simulated site: each does one thing at a time, in the order it came (FIFO)."""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Callable, Mapping
from typing import Protocol

from tiercut import frame
from tiercut.frame import Forward, FrameState, Run
from tiercut.profiles import CodecPoint, Profile
from tiercut.simulate.flights import RESULT, Flight
from tiercut.simulate.scenario import LinkTraces, Scenario
from tiercut.simulate.site import SimNode

#: Messages of frames that are ``latest`` expire after so long in a line, as those of the real nodes do.
EXPIRY_S = 10.0


class Surroundings(Protocol):
    """What a station needs of the world around it."""

    now_s: float

    def at(self, time_s: float, act: Callable[[], None]) -> None:
        """Do something at a time."""

    def ended(self, flight: Flight, outcome: str) -> None:
        """A frame has an outcome."""

    def send(self, flight: Flight, sender: str, receiver: str, payload_bytes: int) -> None:
        """Put a frame on a link."""

    def reaches(self, sender: str, receiver: str) -> bool:
        """Whether a sender believes that a node can be reached."""


class SimLink:
    """One directed link: messages are serialized one after the other at the trace's rate, then travel for its delay.

    A message that has waited for `EXPIRY_S` is not sent. The rate may change under way.
    """

    def __init__(self, traces: LinkTraces, world: Surroundings, deliver: Callable[[Flight], None], to: str) -> None:
        self._traces = traces
        self._world = world
        self._deliver = deliver
        self._to = to
        self._waiting: deque[tuple[Flight, int, float]] = deque()
        self._busy = False
        self._last_arrival_s = 0.0
        #: when the message being sent has left
        self.free_s = 0.0

    def put(self, flight: Flight, payload_bytes: int) -> None:
        """Add a message."""
        self._waiting.append((flight, payload_bytes, self._world.now_s))
        self._next()

    def backlog_s(self, now_s: float) -> float:
        """Seconds until what is on it now has left, at today's rate."""
        rate = self._traces.mbps.at(now_s) * 1e6 / 8
        waiting = sum(size for _, size, _ in self._waiting)
        return max(0.0, self.free_s - now_s) + (waiting / rate if rate else math.inf if waiting else 0.0)

    def _next(self) -> None:
        while not self._busy and self._waiting:
            flight, size, since_s = self._waiting.popleft()
            if self._world.now_s - since_s > EXPIRY_S:
                continue
            self._busy = True
            self.free_s = self._traces.mbps.until_sum(self._world.now_s, size * 8 / 1e6)
            if math.isfinite(self.free_s):
                self._world.at(self.free_s, lambda: self._left(flight, size, since_s))  # noqa: B023 - the loop ends here

    def _left(self, flight: Flight, size: int, since_s: float) -> None:
        self._busy = False
        arrival_s = max(self._last_arrival_s, self.free_s + self._traces.latency_seconds.at(self.free_s))
        self._last_arrival_s = arrival_s
        flight_wire_s = arrival_s - since_s

        def arrive() -> None:
            flight.stage(self._to, "wire", flight_wire_s, bytes=size)
            self._deliver(flight)

        self._world.at(arrival_s, arrive)
        self._next()


class SimStation:
    """One node: takes the frame that waits, does what `tiercut.frame.decide` says, and hands it on."""

    def __init__(
        self, node: SimNode, scenario: Scenario, codecs: Mapping[tuple[str, int], CodecPoint], end: int
    ) -> None:
        self.node = node
        self.profile: Profile = node.profile
        self._scenario = scenario
        self._codecs = codecs
        self._end = end
        #: the frame that waits, and since when: the newest wins
        self._waiting: tuple[Flight, float] | None = None
        self._working = False
        self._world: Surroundings
        #: when what it does now is done; later if it then goes on
        self.free_s = 0.0

    def enter(self, world: Surroundings) -> None:
        """Become part of a world."""
        self._world = world

    def put(self, flight: Flight) -> None:
        """A frame arrives; it takes the place of one that waits."""
        flight.where = self.node.id
        replaced, self._waiting = self._waiting, (flight, self._world.now_s)
        if replaced is not None:
            self._world.ended(replaced[0], "newer_frame")
        self._take()

    def _take(self) -> None:
        if self._working or self._waiting is None:
            return
        flight, since_s = self._waiting
        self._waiting, self._working = None, True
        flight.stage(self.node.id, "queue", self._world.now_s - since_s)
        point = self._point(flight, before=True)
        self._busy(flight, "decode", 0.0 if point is None else point.decode_seconds, lambda: self._step(flight))

    def _step(self, flight: Flight) -> None:
        assert flight.plan is not None  # noqa: S101 - it has set out
        deadline_s, age_s = self._scenario.deadline_s, self._world.now_s - flight.captured_s
        state = FrameState(flight.plan, flight.cut, "latest", age_s, deadline_s)
        here = frame.Here(
            self.node.tier, self.node.id, self._end, lambda _, name: self._world.reaches(self.node.id, name)
        )
        action = frame.decide(state, here)
        if isinstance(action, Run):
            flight.fallback = action.fallback or flight.fallback
            seconds = self.profile.seconds(action.start, action.stop) * self._pace(flight)
            flight.cut = action.stop
            self._busy(flight, "compute", seconds, lambda: self._step(flight))
        elif isinstance(action, Forward):
            point = self._point(flight, before=False)
            size = self.profile.cut_bytes[flight.cut] if point is None else point.bytes
            to = action.node
            encode_s = 0.0 if point is None else point.encode_seconds
            self._busy(flight, "encode", encode_s, lambda: self._forward(flight, to, size))
        else:
            self._world.ended(flight, RESULT if isinstance(action, frame.Finish) else action.reason)
            self._done()

    def _forward(self, flight: Flight, to: str, size: int) -> None:
        self._world.send(flight, self.node.id, to, size)
        self._done()

    def _busy(self, flight: Flight, kind: str, seconds: float, then: Callable[[], None]) -> None:
        if kind == "compute" or seconds:
            flight.stage(self.node.id, kind, seconds)
        self.free_s = self._world.now_s + seconds
        self._world.at(self.free_s, then)

    def _done(self) -> None:
        self._working = False
        self._take()

    def _pace(self, flight: Flight) -> float:
        """Slowdown now, and the noise of this frame on this node: the same whatever plan it follows."""
        draw = random.Random(f"{self._scenario.seed} {self.node.id} {flight.seq}")  # noqa: S311 - repeatable
        return self._scenario.slowdowns[self.node.id].at(self._world.now_s) * math.exp(
            self._scenario.noise * draw.gauss(0, 1)
        )

    def _point(self, flight: Flight, *, before: bool) -> CodecPoint | None:
        """What the codec of the hop before or after this node does at the frame's cut; ``None`` for raw."""
        plan = flight.plan
        assert plan is not None  # noqa: S101 - it has set out
        side = 1 if before else 0
        hop = next((index for index, ends in enumerate(plan.hops) if ends[side] == self.node.tier), None)
        return None if hop is None else self._codecs.get((plan.codecs[hop], flight.cut))
