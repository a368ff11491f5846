"""Runs segments of models on a node's threads, and takes their time; a slow node is emulated by waiting."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from msgspec import Struct

from tiercut.clock import Clock
from tiercut.pipeline.in_transit import LATE_S
from tiercut.pipeline.jobs import Arrays
from tiercut.profiling.profile import Profile, Span
from tiercut.protocol.nodes import Running
from tiercut.repository.store import ModelStore

#: To know how long a slow node would take, a segment is run again and again for this long.
_AGAIN_S = 0.01


class SegmentName(Struct, frozen=True):
    """A segment of a model's variant."""

    model: str
    start: int
    stop: int
    variant: str


class SegmentRunner:
    """Runs segments; safe from several threads at a time.

    Args:
        models: The node's models.
        clock: Its clock.
        slowdown: See below.
        profiled_slowdown: How much of it the node's profiles have in them.

    Attributes:
        slowdown: Factor on the time that segments take, to try a slow node; results say so. It may be changed.
    """

    def __init__(
        self, models: ModelStore, clock: Clock, *, slowdown: float = 1.0, profiled_slowdown: float | None = None
    ) -> None:
        self.slowdown = slowdown
        self._profiled_slowdown = profiled_slowdown
        #: model → its profile, where that describes the slow node
        self._profiles: dict[str, Profile] = {}
        self._models = models
        self._clock = clock
        #: thread → the segment that it runs, and since when
        self._running: dict[int, tuple[SegmentName, float]] = {}

    def run(self, name: SegmentName, arrays: Arrays) -> tuple[Arrays, float]:
        """What a segment makes of tensors, and the seconds that it took."""
        segment = self._models.segment(name.model, name.start, name.stop, name.variant)
        started_s = self._clock.monotonic_s()
        thread = threading.get_ident()
        self._running[thread] = name, started_s
        try:
            made = segment(arrays)
            profile, span = self._profiles.get(name.model), Span(name.start, name.stop, name.variant)
            if profile is not None and profile.has(span):
                self._take_as_long(profile, span, started_s)
            elif self.slowdown > 1:
                self.take_longer(lambda: segment(arrays), started_s)
        finally:
            del self._running[thread]
        return made, self._clock.monotonic_s() - started_s

    def running(self) -> tuple[Running, ...]:
        """The segments that have been run for long (from any thread)."""
        now_s = self._clock.monotonic_s()
        return tuple(
            Running(model=name.model, start=name.start, stop=name.stop, variant=name.variant, seconds=now_s - since_s)
            for name, since_s in tuple(self._running.values())
            if now_s - since_s >= LATE_S
        )

    def profiled(self, profile: Profile) -> None:
        """The profile of a model is known: where it describes the slow node, segments take as long as it says."""
        if self._profiled_slowdown is not None:
            self._profiles[profile.model] = profile

    def _take_as_long(self, profile: Profile, span: Span, started_s: float) -> None:
        """Fill the time since a segment's start until it has taken as long as the slow node's profile says."""
        usual_s = profile.span_seconds(span) * self.slowdown / (self._profiled_slowdown or 1.0)
        time.sleep(max(0.0, started_s + usual_s - self._clock.monotonic_s()))

    def take_longer(self, run: Callable[[], object], started_s: float) -> None:
        """Fill the time since a segment's start until it has taken as long as on the slow node.

        What a short one takes at first is mostly waking up, of which a slow node has no more, and any may be
        interrupted: it is run again, and the quickest run counts.
        """
        now_s = self._clock.monotonic_s()
        quickest_s = now_s - started_s
        while now_s - started_s < min(_AGAIN_S, (self.slowdown - 1) * quickest_s):
            before_s = now_s
            run()
            now_s = self._clock.monotonic_s()
            quickest_s = min(quickest_s, now_s - before_s)
        time.sleep(max(0.0, started_s + self.slowdown * quickest_s - now_s))
