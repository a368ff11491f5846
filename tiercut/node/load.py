"""A node's load: the figures of its status, taken once per status period."""

from __future__ import annotations

import asyncio

from tiercut.node.context import NodeContext
from tiercut.node.frame_pipeline import FramePipeline
from tiercut.node.pace import PACE
from tiercut.node.power import EnergyCounter, PowerMeter

#: A node that used a smaller part of its threads' time is idle: coding a few frames a second takes about this much.
IDLE_PART = 0.05


class Load:
    """A node's load, its pace while it is idle, and what it draws.

    Args:
        context: The node's.
        frames: Its frames: their threads' work may be slowed on purpose.
        energy: The machine's counters.

    Attributes:
        power_watts: Drawn while computing, as set or as measured; 0 while unknown.
    """

    def __init__(self, context: NodeContext, frames: FramePipeline, *, energy: EnergyCounter | None = None) -> None:
        settings = context.settings
        self.power_watts = settings.power_watts
        self._context = context
        self._frames = frames
        #: how much of the slowing on purpose the node's profiles have in them
        self._profiled_slowdown = settings.emulated_slowdown if settings.emulated_profile else 1.0
        self._energy = energy or EnergyCounter()
        self._meter = PowerMeter() if self._energy.exists and not settings.power_watts else None
        self._paced: dict[str, float] = {}
        self._busy = 0.0
        #: time, thread time and joules at the end of the last period
        self._before = (context.clock.monotonic_s(), 0.0, 0.0)

    async def measure(self) -> None:
        """End a period. A node that ran hardly a segment times a piece of work; those that did tell more."""
        worker, threads = self._frames.worker, self._context.settings.workers
        then_s, busy_then_s, joules_then = self._before
        now_s, busy_s, joules = self._context.clock.monotonic_s(), worker.busy_s, self._energy.joules()
        self._before = now_s, busy_s, joules
        seconds = max(now_s - then_s, 1e-9)
        self._busy = min((busy_s - busy_then_s) / (seconds * threads), 1.0)
        between = not worker.running  # what a frame on a thread has used is known when it is done
        if self._meter is not None and between:
            self._meter.period(joules - joules_then, seconds, self._busy * threads)
            self.power_watts = self._meter.active_watts or 0.0
        self._paced = {}
        if self._busy < IDLE_PART and between and not worker.waiting:
            # a node that waits out its profile is no slower on a busy machine
            pace = 1.0 if self._context.settings.emulated_profile else await asyncio.to_thread(PACE.measure)
            slowed = max(1.0, self._frames.segments.slowdown) / self._profiled_slowdown
            self._paced = {"pace": round(max(1.0, pace) * slowed, 3)}

    def figures(self) -> dict[str, float]:
        """Frames waiting, the share of thread time used in the last period, the pace, and all counters."""
        buses = list(self._context.buses)
        return {
            "waiting": float(self._frames.worker.waiting),
            "busy": round(self._busy, 4),
            "acknowledged_early": float(sum(bus.counters["acknowledged_early"] for bus in buses)),
            "acknowledged_early_unfinished": float(sum(bus.early_unfinished for bus in buses)),
            **self._paced,
            **{name: float(count) for name, count in sorted(self._context.counters.items())},
        }
