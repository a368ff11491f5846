"""A stream's sensor in a simulated site: frames are captured, wait for the window, and set out with a plan."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

from tiercut.pipeline.window import InFlightWindow
from tiercut.plan import Plan
from tiercut.simulate.flights import Flight
from tiercut.simulate.site import SimStream


class Around(Protocol):
    """What a sensor needs of the world around it."""

    now_s: float

    def at(self, time_s: float, act: Callable[[], None]) -> None:
        """Do something at a time."""

    def plan_of(self, stream: str) -> Plan | None:
        """The plan of a frame that sets out now; ``None`` to let it wait."""

    def sets_out(self, flight: Flight, device: str) -> None:
        """Give a frame to the device's processor."""


class Sensor:
    """The newest frame wins; as many are in flight as the window of the real devices lets out.

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
        self._window: InFlightWindow[None] = InFlightWindow(limit=stream.in_flight, timeout_s=timeout_s)
        #: of the plan of the last frame that has set out
        self._epoch: int | None = None
        for seq in range(math.ceil((duration_s - stream.starts_s) * stream.fps - 1e-9)):
            world.at(stream.starts_s + seq / stream.fps, lambda seq=seq: self._capture(seq))  # type: ignore[misc]

    def set_out(self) -> None:
        """Let the frame that is next go, if it may."""
        flight, world = self.next, self._world
        if flight is None:
            return
        if wait_s := self._window.wait_s(world.now_s):
            self._window.held()
            if math.isfinite(wait_s):
                world.at(world.now_s + wait_s, self.set_out)
            return
        flight.plan = world.plan_of(self.stream.goal.name)
        if flight.plan is None:
            return
        self.next = None
        if flight.plan.epoch != self._epoch:
            self._epoch = flight.plan.epoch
            self._window.new_way(self.stream.in_flight, world.now_s)
        self._window.start(flight.seq, world.now_s)
        world.sets_out(flight, self.stream.goal.device)

    def heard(self, flight: Flight) -> None:
        """The outcome of a frame has come back."""
        if self._window.outcome(flight.seq, self._world.now_s, dropped=flight.finished_s is None):
            self.set_out()

    def _capture(self, seq: int) -> None:
        flight = Flight(self.stream.goal.name, seq, self._world.now_s)
        self.flights.append(flight)
        if self.next is not None:
            self.next.outcome, self.next.done_s = "newer_frame", self._world.now_s
        self.next = flight
        self._world.at(self._world.now_s + self._timeout_s, lambda: self._overdue(flight))
        self.set_out()

    def _overdue(self, flight: Flight) -> None:
        if flight is self.next:
            self.next = None
        if flight.outcome is None:
            flight.outcome, flight.done_s = "lost", self._world.now_s
        if self._window.give_up(flight.seq):
            self.set_out()
