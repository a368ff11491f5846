"""A stream's sensor in a simulated site: frames are captured, wait for a window, and set out with one of its plans."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from typing import Protocol

from tiercut.coordinator.mix import Mix
from tiercut.pipeline.rate_limit import RateLimit
from tiercut.protocol.streams import SourceReport
from tiercut.simulate.flights import Flight
from tiercut.simulate.sim_ways import SimWays
from tiercut.simulate.site import SimStream


class Around(Protocol):
    """What a sensor needs of the world around it."""

    now_s: float

    def at(self, time_s: float, act: Callable[[], None]) -> None:
        """Do something at a time."""

    def mix_of(self, stream: str) -> Mix | None:
        """The plans that a stream follows now; ``None`` to let its frames wait."""

    def sets_out(self, flight: Flight, device: str) -> None:
        """Give a frame to the device's processor."""


class Sensor:
    """The newest frame wins; as many are in flight as the windows of the real devices let out.

    Args:
        stream: Its stream.
        world: Around it.
        duration_s: How long it captures.
        timeout_s: A frame without an outcome after this is lost.
    """

    def __init__(self, stream: SimStream, world: Around, duration_s: float, timeout_s: float) -> None:
        self.stream = stream
        self.flights: list[Flight] = []
        #: the frame that sets out next
        self.next: Flight | None = None
        self._world = world
        self._timeout_s = timeout_s
        self._ways = SimWays(stream.in_flight, timeout_s)
        #: lets no more frames set out than the site has room for; ``None``: it has for all
        self._rate: RateLimit | None = None
        self._limit_fps: float | None = None
        self._counted: Counter[str] = Counter()
        for seq in range(math.ceil((duration_s - stream.starts_s) * stream.fps - 1e-9)):
            world.at(stream.starts_s + seq / stream.fps, lambda seq=seq: self._capture(seq))  # type: ignore[misc]

    def set_out(self) -> None:
        """Let the frame that is next go, if it may."""
        flight, world = self.next, self._world
        if flight is None:
            return
        if wait_s := self._ways.wait_s(world.now_s):
            self._ways.held()
            if math.isfinite(wait_s):
                world.at(world.now_s + wait_s, self.set_out)
            return
        mix = world.mix_of(self.stream.goal.name)
        if mix is None:
            return
        self.next = None
        self._follow(mix)
        flight.plan, flight.lane = self._ways.start(flight.seq, world.now_s)
        if self._rate is not None:
            self._rate.started(world.now_s)
        world.sets_out(flight, self.stream.goal.device)

    def heard(self, flight: Flight) -> None:
        """The outcome of a frame has come back."""
        if self._ways.outcome(flight.seq, self._world.now_s, dropped=flight.finished_s is None):
            self._counted["done"] += 1
            self.set_out()

    def report(self) -> SourceReport:
        """What the device says of its sensor."""
        goal = self.stream.goal
        return SourceReport(
            stream=goal.name,
            node=goal.device,
            state="running",
            model=goal.model,
            frames=dict(self._counted),
            frames_per_second=self.stream.fps,
        )

    def _follow(self, mix: Mix) -> None:
        self._ways.follow(mix, self._world.now_s)
        if mix.frames_per_second != self._limit_fps:
            self._limit_fps = mix.frames_per_second
            if self._limit_fps is None:
                self._rate = None
            else:
                self._rate = self._rate or RateLimit(1 / self.stream.fps)
                self._rate.limit(self._limit_fps)

    def _is_early(self) -> bool:
        """Whether there is no room for a frame that is captured now."""
        if self._rate is not None and (mix := self._world.mix_of(self.stream.goal.name)) is not None:
            self._follow(mix)
        return self._rate is not None and self._rate.is_early(self._world.now_s)

    def _capture(self, seq: int) -> None:
        flight = Flight(self.stream.goal.name, seq, self._world.now_s)
        self.flights.append(flight)
        self._counted["captured"] += 1
        if self._is_early():
            self._drop(flight, "beyond_rate")
            return
        if self.next is not None:
            self._drop(self.next, "newer_frame")
        self.next = flight
        self._world.at(self._world.now_s + self._timeout_s, lambda: self._overdue(flight))
        self.set_out()

    def _drop(self, flight: Flight, reason: str) -> None:
        flight.outcome, flight.done_s = reason, self._world.now_s
        self._counted[f"dropped.{reason}"] += 1

    def _overdue(self, flight: Flight) -> None:
        if flight is self.next:
            self.next = None
        if flight.outcome is None:
            flight.outcome, flight.done_s = "lost", self._world.now_s
        if self._ways.give_up(flight.seq):
            self.set_out()
