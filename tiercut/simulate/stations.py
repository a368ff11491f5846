"""Nodes and links of a simulated site: each does one thing at a time, in the order it came (FIFO)."""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from tiercut.pipeline import decide
from tiercut.pipeline.decide import Forward, FrameState, Run
from tiercut.profiling.profile import CodecPoint, Profile
from tiercut.protocol.frames import StageKind
from tiercut.protocol.nodes import Running
from tiercut.simulate.flights import RESULT, Flight
from tiercut.simulate.scenario import LinkTraces, Scenario
from tiercut.simulate.site import SimNode

#: Messages of frames that are ``latest`` expire after this long in a queue, as those of the real nodes do.
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


@dataclass(slots=True)
class _Message:
    """Bytes on a link, since when, and what happens when they arrive after so many seconds."""

    size: int
    since_s: float
    arrive: Callable[[float], None]


class SimLink:
    """One directed link: messages are serialized one after the other at the trace's rate, then travel for its delay.

    A message that has waited for `EXPIRY_S` is not sent. The rate may change during a transfer.
    """

    def __init__(self, traces: LinkTraces, world: Surroundings) -> None:
        self._traces = traces
        self._world = world
        self._waiting: deque[_Message] = deque()
        self._sending: deque[_Message] = deque()
        self._busy = False
        self._last_arrival_s = 0.0
        #: when the message being sent has left
        self.free_s = 0.0

    def put(self, payload_bytes: int, arrive: Callable[[float], None]) -> None:
        """Add a message; ``arrive`` is called with the seconds that it took."""
        self._waiting.append(_Message(payload_bytes, self._world.now_s, arrive))
        self._next()

    def backlog_s(self, now_s: float) -> float:
        """Seconds until what is on it now has left, at today's rate."""
        rate = self._traces.mbps.at(now_s) * 1e6 / 8
        waiting = sum(message.size for message in self._waiting)
        return max(0.0, self.free_s - now_s) + (waiting / rate if rate else math.inf if waiting else 0.0)

    def alone_s(self, payload_bytes: int) -> float:
        """What a message would take now with the link to itself."""
        sent_s = self._traces.mbps.until_sum(self._world.now_s, payload_bytes * 8 / 1e6)
        return sent_s - self._world.now_s + (self._traces.latency_seconds.at(sent_s) if math.isfinite(sent_s) else 0.0)

    def oldest(self, now_s: float) -> tuple[int, float] | None:
        """Size of the message that has been in flight longest, and for how long since the one before it arrived."""
        in_flight = self._sending or self._waiting
        if not in_flight:
            return None
        return in_flight[0].size, now_s - max(in_flight[0].since_s, self._last_arrival_s)

    def _next(self) -> None:
        while not self._busy and self._waiting:
            message = self._waiting.popleft()
            if self._world.now_s - message.since_s > EXPIRY_S:
                continue
            self._busy = True
            self._sending.append(message)
            self.free_s = self._traces.mbps.until_sum(self._world.now_s, message.size * 8 / 1e6)
            if math.isfinite(self.free_s):
                self._world.at(self.free_s, lambda: self._left(message))  # noqa: B023 - the loop ends here

    def _left(self, message: _Message) -> None:
        self._busy = False
        arrival_s = max(self._last_arrival_s, self.free_s + self._traces.latency_seconds.at(self.free_s))
        self._last_arrival_s = arrival_s

        def arrive() -> None:
            self._sending.remove(message)
            message.arrive(arrival_s - message.since_s)

        self._world.at(arrival_s, arrive)
        self._next()


class SimStation:
    """One node: takes the frame that waits, does what `tiercut.pipeline.decide.decide` says, and hands it on."""

    def __init__(self, node: SimNode, scenario: Scenario, codecs: Mapping[tuple[str, int], CodecPoint]) -> None:
        self.node = node
        self.profile: Profile = node.profile
        self._scenario = scenario
        self._codecs = codecs
        self._goal = scenario.site.goal
        #: the frame that waits, and since when: the newest wins
        self._waiting: tuple[Flight, float] | None = None
        self._working = False
        #: first and last cut of what it runs, and since when
        self._segment: tuple[int, int, float] | None = None
        self._world: Surroundings
        #: when what it does now is done; later if it then goes on
        self.free_s = 0.0

    @property
    def idle(self) -> bool:
        """It has nothing to do."""
        return not self._working

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
        self._segment = None
        assert flight.plan is not None  # noqa: S101 - it has set out
        variant = flight.plan.exit
        deadline_s, age_s = self._goal.deadline_s, self._world.now_s - flight.captured_s
        state = FrameState(flight.plan, flight.cut, "latest", age_s, deadline_s)
        end = self._goal.end_of(variant)
        here = decide.Here(self.node.tier, self.node.id, end, lambda _, name: self._world.reaches(self.node.id, name))
        action = decide.decide(state, here)
        if isinstance(action, Run):
            flight.fallback = action.fallback or flight.fallback
            seconds = self.profile.seconds(action.start, action.stop, variant) * self._pace(flight)
            flight.cut = action.stop
            self._segment = (action.start, action.stop, self._world.now_s)
            self._busy(flight, "compute", seconds, lambda: self._step(flight))
        elif isinstance(action, Forward):
            point = self._point(flight, before=False)
            size = self.profile.cut_bytes[flight.cut] if point is None else point.bytes
            to = action.node
            encode_s = 0.0 if point is None else point.encode_seconds
            self._busy(flight, "encode", encode_s, lambda: self._forward(flight, to, size))
        else:
            self._world.ended(flight, action.reason if isinstance(action, decide.Drop) else RESULT)
            self._done()

    def _forward(self, flight: Flight, to: str, size: int) -> None:
        self._world.send(flight, self.node.id, to, size)
        self._done()

    def _busy(self, flight: Flight, kind: StageKind, seconds: float, then: Callable[[], None]) -> None:
        if kind == "compute" or seconds:
            flight.stage(self.node.id, kind, seconds)
        self.free_s = self._world.now_s + seconds
        self._world.at(self.free_s, then)

    def running(self, now_s: float) -> Running | None:
        """The segment that it runs now."""
        if self._segment is None:
            return None
        start, stop, since_s = self._segment
        return Running(model=self.profile.model, start=start, stop=stop, seconds=now_s - since_s)

    def _done(self) -> None:
        self._working = False
        self._take()

    def _pace(self, flight: Flight) -> float:
        """Slowdown now, and the noise of this frame on this node: the same whatever plan it follows."""
        scenario, node = self._scenario, self.node.id
        return scenario.slowdowns[node].at(self._world.now_s) * noise_of(scenario, node, flight.seq)

    def _point(self, flight: Flight, *, before: bool) -> CodecPoint | None:
        """What the codec of the hop before or after this node does at the frame's cut; ``None`` for raw."""
        plan = flight.plan
        assert plan is not None  # noqa: S101 - it has set out
        side = 1 if before else 0
        hop = next((index for index, ends in enumerate(plan.hops) if ends[side] == self.node.tier), None)
        return None if hop is None else self._codecs.get((plan.codecs[hop], flight.cut))


def noise_of(scenario: Scenario, node: str, seq: int) -> float:
    """The factor on a frame's segments on a node, whatever plan it follows."""
    draw = random.Random(f"{scenario.seed} {node} {seq}")  # noqa: S311 - repeatable
    return math.exp(scenario.noise * draw.gauss(0, 1))
