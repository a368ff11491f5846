"""How a node is: what its status says in figures, taken once per status period."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence

from tiercut.bus import ManagedBus, early_figures
from tiercut.clock import Clock
from tiercut.node.pace import Pace
from tiercut.node.power import EnergyCounter, PowerMeter
from tiercut.pipeline.processor import Processor
from tiercut.pipeline.worker import Worker

#: A node that used less of its threads' time is idle: coding a few frames a second takes about so much.
IDLE_PART = 0.05


class Condition:
    """A node's load, its pace while it is idle, and what it draws.

    Args:
        worker: Its frames.
        processor: Its threads' work, which may be slowed on purpose.
        buses: Its buses; filled when they are open.
        clock: Its clock.
        counters: All that it counts.
        workers: Its threads.
        power_watts: What its owner says it draws while computing; 0: ask the machine.
        profiled_slowdown: How much of the slowing on purpose its profiles have in them.
        energy: The machine's counters.

    Attributes:
        power_watts: Drawn while computing; 0 while it is not known.
    """

    def __init__(
        self,
        *,
        worker: Worker,
        processor: Processor,
        buses: Sequence[ManagedBus],
        clock: Clock,
        counters: Counter[str],
        workers: int,
        power_watts: float,
        profiled_slowdown: float = 1.0,
        energy: EnergyCounter | None = None,
    ) -> None:
        self.power_watts = power_watts
        self._worker = worker
        self._processor = processor
        self._buses = buses
        self._clock = clock
        self._counters = counters
        self._workers = workers
        self._profiled_slowdown = profiled_slowdown
        self._energy = energy or EnergyCounter()
        self._meter = PowerMeter() if self._energy.exists and not power_watts else None
        self._pace = Pace()
        self._paced: dict[str, float] = {}
        self._busy = 0.0
        #: time, thread time and joules at the end of the last period
        self._before = (clock.monotonic_s(), 0.0, 0.0)

    async def measure(self) -> None:
        """End a period. A node that ran hardly a segment times a piece of work; those that did tell more."""
        then_s, busy_then_s, joules_then = self._before
        now_s, busy_s, joules = self._clock.monotonic_s(), self._worker.busy_s, self._energy.joules()
        self._before = now_s, busy_s, joules
        seconds = max(now_s - then_s, 1e-9)
        self._busy = min((busy_s - busy_then_s) / (seconds * self._workers), 1.0)
        between = not self._worker.running  # what a frame on a thread has used is known when it is done
        if self._meter is not None and between:
            self._meter.period(joules - joules_then, seconds, self._busy * self._workers)
            self.power_watts = self._meter.active_watts or 0.0
        self._paced = {}
        if self._busy < IDLE_PART and between and not self._worker.waiting:
            pace = await asyncio.to_thread(self._pace.measure)
            slowed = max(1.0, self._processor.slowdown) / self._profiled_slowdown
            self._paced = {"pace": round(max(1.0, pace) * slowed, 3)}

    def figures(self) -> dict[str, float]:
        """Frames waiting, the share of thread time used in the last period, the pace, and all counters."""
        figures = {"waiting": float(self._worker.waiting), "busy": round(self._busy, 4)}
        figures |= early_figures(self._buses) | self._paced
        return figures | {name: float(count) for name, count in sorted(self._counters.items())}
