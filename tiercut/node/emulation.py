"""What of a node is not real: a slowed link, a slowed processor, and how that changes while it runs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace

from tiercut.bus import ManagedBus
from tiercut.bus.emulated_link import LinkedBus
from tiercut.clock import Clock
from tiercut.node.settings import EmulationStep
from tiercut.pipeline.processor import Processor


class Emulation:
    """Says what is emulated, and changes it when its time has come.

    Args:
        steps: The changes.
        processor: What may be slowed.
        buses: The node's buses, the one that frames leave by last; filled when they are open.
        clock: The node's clock.
        logger: Its log.
    """

    def __init__(
        self,
        steps: Sequence[EmulationStep],
        *,
        processor: Processor,
        buses: Sequence[ManagedBus],
        clock: Clock,
        logger: logging.Logger,
    ) -> None:
        self._steps = sorted(steps, key=lambda step: step.at_s)
        self._processor = processor
        self._buses = buses
        self._clock = clock
        self._log = logger

    def told(self) -> str | None:
        """What of this node is not real, in words."""
        link = self._buses[-1].emulated if self._buses else None
        slowdown = self._processor.slowdown
        words = [link, f"emulated slowdown: {slowdown:g}" if slowdown > 1 else None]
        return "; ".join(word for word in words if word) or None

    async def follow(self, changed: Callable[[], None]) -> None:
        """Take the steps by their times, and call ``changed`` after each."""
        start_s = self._clock.monotonic_s()
        for step in self._steps:
            await asyncio.sleep(max(0.0, start_s + step.at_s - self._clock.monotonic_s()))
            self._take(step)
            self._log.warning("emulation changed", extra={"now": self.told()})
            changed()

    def _take(self, step: EmulationStep) -> None:
        if step.slowdown is not None:
            self._processor.slowdown = step.slowdown
        for bus in self._buses:
            if isinstance(bus, LinkedBus):
                link = bus.link.settings
                delay_s = link.delay_s if step.delay_ms is None else step.delay_ms / 1e3
                bus.link.settings = replace(link, rate_mbps=step.mbps or link.rate_mbps, delay_s=delay_s)
