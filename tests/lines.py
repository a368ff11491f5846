"""A line of stages in virtual time, with a sensor before it and a window around it."""

from __future__ import annotations

import heapq
import itertools
import math
import random
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from tiercut.pipeline.window import InFlightWindow


@dataclass(frozen=True)
class Seen:
    """A frame that came home."""

    at_s: float
    latency_s: float


class Line:
    """Stages in a row, each with a queue before it.

    Args:
        stages_s: Seconds that each takes on average.
        wire_s: Seconds from one to the next.
        sigma: Of the lognormal factor on each time; 0: constant times.
        speed: Factor by which the line is faster at a time.
        leaves: Share of frames that leave after the first stage.
        seed: Of all chance.
    """

    def __init__(
        self,
        stages_s: Sequence[float],
        *,
        wire_s: float = 0.0005,
        sigma: float = 0.0,
        speed: Callable[[float], float] = lambda _: 1.0,
        leaves: float = 0.0,
        seed: int = 1,
    ) -> None:
        self.stages_s = stages_s
        self._wire_s = wire_s
        self._sigma = sigma
        self._speed = speed
        self._leaves = leaves
        self._random = random.Random(seed)  # noqa: S311 - chance that can be repeated
        self._free_s = [0.0] * len(stages_s)

    def home_s(self, now_s: float) -> float:
        """When a frame that is sent now will be home."""
        stages = 1 if self._random.random() < self._leaves else len(self.stages_s)
        for i, mean_s in enumerate(self.stages_s[:stages]):
            factor = math.exp(self._random.gauss(-(self._sigma**2) / 2, self._sigma)) if self._sigma else 1.0
            begin_s = max(now_s, self._free_s[i])
            self._free_s[i] = begin_s + factor * mean_s / self._speed(begin_s)
            now_s = self._free_s[i] + self._wire_s
        return now_s


class Simulation:
    """A sensor, a window and a line.

    Args:
        line: The line.
        window: The window.
        period_s: Of the sensor, whose newest frame waits; ``None``: it is read when its frame can be sent.
        lost: Numbers of frames that never come home.
    """

    def __init__(
        self, line: Line, window: InFlightWindow[None], *, period_s: float | None, lost: frozenset[int] = frozenset()
    ) -> None:
        self.line = line
        self.window = window
        self.seen: list[Seen] = []
        self.sizes: list[tuple[float, float]] = []
        self.dropped = 0
        self._period_s = period_s
        self._lost = lost
        self._order, self._seqs = itertools.count(), itertools.count()
        self._events: list[tuple[float, int, Callable[[float], None]]] = []
        #: when the frame that waits was captured
        self._waiting_s: float | None = None

    def run(self, until_s: float) -> None:
        """Let it run."""
        self._at(0.0, self._capture)
        while self._events and self._events[0][0] <= until_s:
            now_s, _, act = heapq.heappop(self._events)
            act(now_s)

    def throughput(self, from_s: float, to_s: float) -> float:
        """Frames per second that came home."""
        return sum(from_s <= each.at_s < to_s for each in self.seen) / (to_s - from_s)

    def latency_s(self, from_s: float, to_s: float) -> float:
        """Mean from capture to home."""
        return statistics.fmean(each.latency_s for each in self.seen if from_s <= each.at_s < to_s)

    def _at(self, time_s: float, act: Callable[[float], None]) -> None:
        heapq.heappush(self._events, (time_s, next(self._order), act))

    def _capture(self, now_s: float) -> None:
        self.dropped += self._waiting_s is not None
        self._waiting_s = now_s
        if self._period_s is not None:
            self._at(now_s + self._period_s, self._capture)
        self._send(now_s)

    def _send(self, now_s: float) -> None:
        while self._waiting_s is not None:
            if wait_s := self.window.wait_s(now_s):
                self.window.held()
                if math.isfinite(wait_s):
                    self._at(now_s + wait_s, self._send)
                return
            seq, captured_s = next(self._seqs), now_s if self._period_s is None else self._waiting_s
            self._waiting_s = now_s if self._period_s is None else None
            self.window.start(seq, now_s)
            if seq not in self._lost:
                self._at(self.line.home_s(now_s), partial(self._home, seq, captured_s))

    def _home(self, seq: int, captured_s: float, now_s: float) -> None:
        self.window.outcome(seq, now_s)
        self.seen.append(Seen(now_s, now_s - captured_s))
        self.sizes.append((now_s, self.window.size))
        self._send(now_s)
