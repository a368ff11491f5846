"""Nodes of a simulated site: each does one thing at a time, in the order it came (FIFO)."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Protocol

from tiercut.pipeline import decide
from tiercut.pipeline.decide import Forward, FrameState, Run
from tiercut.pipeline.queues import Queue, StreamQueues
from tiercut.profiling.profile import CodecPoint, Profile
from tiercut.protocol.frames import StageKind
from tiercut.protocol.nodes import Running
from tiercut.simulate.flights import RESULT, Flight
from tiercut.simulate.scenario import STREAM, Scenario
from tiercut.simulate.site import SimNode


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


class SimStation:
    """One node: takes the frame that waits, does what `tiercut.pipeline.decide.decide` says, and hands it on."""

    def __init__(self, node: SimNode, scenario: Scenario, codecs: Mapping[tuple[str, int], CodecPoint]) -> None:
        self.node = node
        self.profile: Profile = node.profile
        self._scenario = scenario
        self._codecs = codecs
        self._goals = {stream.goal.name: stream.goal for stream in scenario.site.streams}
        #: the frames that wait, and since when: of each plan of a stream, but for deadlines, the newest
        self._waiting: StreamQueues[tuple[Flight, float]] = StreamQueues(
            lambda item: item[0].seq, lambda item: self._due_s(item[0])
        )
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
        """A frame arrives; it takes the place of one that waits, unless that may make its deadline yet."""
        flight.where = self.node.id
        queue = Queue(flight.stream, flight.lane)
        if self._working and self._due_s(flight) == -math.inf and isinstance(action := self._action(flight), Forward):
            self._pass_on(flight, action.node)
            return
        keeps = flight.cut > 0 and math.isfinite(self._due_s(flight))
        for replaced, _ in self._waiting.put(queue, (flight, self._world.now_s), "every" if keeps else "latest"):
            self._world.ended(replaced, "newer_frame")
        self._take()

    def _take(self) -> None:
        taken = None if self._working else self._waiting.take()
        if taken is None:
            return
        queue, (flight, since_s) = taken
        self._waiting.done(queue)  # one thread: nothing is taken before this is done
        self._working = True
        flight.stage(self.node.id, "queue", self._world.now_s - since_s)
        point = self._point(flight, before=True)
        self._busy(flight, "decode", 0.0 if point is None else point.decode_seconds, lambda: self._step(flight))

    def _action(self, flight: Flight) -> decide.Action:
        """What is to be done with a frame."""
        assert flight.plan is not None  # noqa: S101 - it has set out
        goal, age_s = self._goals[flight.stream], self._world.now_s - flight.captured_s
        state = FrameState(flight.plan, flight.cut, "latest", age_s, goal.deadline_s)
        end = goal.end_of(flight.plan.exit)
        here = decide.Here(self.node.tier, self.node.id, end, lambda _, name: self._world.reaches(self.node.id, name))
        return decide.decide(state, here)

    def _pass_on(self, flight: Flight, to: str) -> None:
        """Pass a frame on beside the one that is worked on, as the loop of a program does."""
        flight.stage(self.node.id, "queue", 0.0)
        before, after = self._point(flight, before=True), self._point(flight, before=False)
        decode_s = 0.0 if before is None else before.decode_seconds
        encode_s = 0.0 if after is None else after.encode_seconds
        size = self.profile.cut_bytes[flight.cut] if after is None else after.bytes
        if decode_s:
            flight.stage(self.node.id, "decode", decode_s)
        if encode_s:
            flight.stage(self.node.id, "encode", encode_s)
        self._world.at(
            self._world.now_s + decode_s + encode_s, lambda: self._world.send(flight, self.node.id, to, size)
        )

    def _step(self, flight: Flight) -> None:
        self._segment = None
        action = self._action(flight)
        if isinstance(action, Run):
            assert flight.plan is not None  # noqa: S101 - it has set out
            variant = flight.plan.exit
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

    def _due_s(self, flight: Flight) -> float:
        """When work on a frame must begin for it to make its deadline; one that only passes through is due at once."""
        deadline_s, plan = self._goals[flight.stream].deadline_s, flight.plan
        assert plan is not None  # noqa: S101 - it has set out
        if plan.passes(self.node.tier, flight.cut):
            return -math.inf
        due_s = plan.due_s(self.node.tier, deadline_s, flight.captured_s)
        return plan.due_still_s(self.node.tier, due_s, self._world.now_s)

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
        return scenario.slowdowns[node].at(self._world.now_s) * noise_of(scenario, node, flight.stream, flight.seq)

    def _point(self, flight: Flight, *, before: bool) -> CodecPoint | None:
        """What the codec of the hop before or after this node does at the frame's cut; ``None`` for raw."""
        plan = flight.plan
        assert plan is not None  # noqa: S101 - it has set out
        side = 1 if before else 0
        hop = next((index for index, ends in enumerate(plan.hops) if ends[side] == self.node.tier), None)
        return None if hop is None else self._codecs.get((plan.codecs[hop], flight.cut))


def noise_of(scenario: Scenario, node: str, stream: str, seq: int) -> float:
    """The factor on a frame's segments on a node, whatever plan it follows."""
    return math.exp(scenario.noise * _drawn(scenario.seed, node, stream, seq))


@lru_cache(maxsize=1 << 16)
def _drawn(seed: int, node: str, stream: str, seq: int) -> float:
    """Normally distributed; drawn once for all worlds, as seeding takes longer than anything else of a frame."""
    name = "" if stream == STREAM else f" {stream}"
    return random.Random(f"{seed} {node} {seq}{name}").gauss(0, 1)  # noqa: S311 - repeatable
