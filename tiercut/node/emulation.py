"""What a node emulates: a slowed link, a slowed processor, and how that changes while it runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

from tiercut.bus.emulated_link import EmulatedBus
from tiercut.bus.node_buses import NodeBuses
from tiercut.node.context import NodeContext
from tiercut.node.part import Part, Tasks
from tiercut.node.settings import EmulationStep
from tiercut.pipeline.segment_runner import SegmentRunner


def emulated(buses: NodeBuses, segments: SegmentRunner) -> str | None:
    """What a node emulates now, in words."""
    opened = list(buses)
    link = opened[-1].emulated if opened else None
    words = [link, f"emulated slowdown: {segments.slowdown:g}" if segments.slowdown > 1 else None]
    return "; ".join(word for word in words if word) or None


class Emulation(Part):
    """Changes what is emulated when its time has come.

    Args:
        context: The node's; its settings have the changes.
        segments: What may be slowed.
        changed: Called after each change.
    """

    def __init__(self, context: NodeContext, segments: SegmentRunner, *, changed: Callable[[], None]) -> None:
        self._context = context
        self._segments = segments
        self._changed = changed

    def tasks(self) -> Tasks:
        """One, that ends with the last change."""
        return [("emulation", self._follow)]

    async def _follow(self) -> None:
        clock = self._context.clock
        start_s = clock.monotonic_s()
        for step in sorted(self._context.settings.emulation, key=lambda step: step.at_s):
            await asyncio.sleep(max(0.0, start_s + step.at_s - clock.monotonic_s()))
            self._take(step)
            now = emulated(self._context.buses, self._segments)
            self._context.log.warning("emulation changed", extra={"now": now})
            self._changed()

    def _take(self, step: EmulationStep) -> None:
        if step.slowdown is not None:
            self._segments.slowdown = step.slowdown
        for bus in self._context.buses:
            if isinstance(bus, EmulatedBus):
                link = bus.link.settings
                delay_s = link.delay_s if step.delay_ms is None else step.delay_ms / 1e3
                bus.link.settings = replace(link, rate_mbps=step.mbps or link.rate_mbps, delay_s=delay_s)
