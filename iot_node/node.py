"""A device: its streams, and the worker that runs their head segments."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from typing import ClassVar

from iot_node.settings import Settings
from iot_node.stream import Stream
from tiercut import results
from tiercut.bus import Delivery
from tiercut.clock import Clock
from tiercut.errors import BadMessage, SettingsError
from tiercut.jsonwire import decode_stream_plan
from tiercut.node import Node, OpenBus
from tiercut.plan import Tier
from tiercut.topics import DROPPED, PLAN, RESULT


class IotNode(Node):
    """A device node.

    Raises:
        BundleError: a stream's model is not in the bundles folder.
        SensorError: a sensor cannot be opened.
    """

    tier: ClassVar[Tier] = "device"

    def __init__(self, settings: Settings, *, open_bus: OpenBus, clock: Clock | None = None) -> None:
        super().__init__(settings, open_bus=open_bus, clock=clock)
        self.streams = {
            stream.name: Stream(
                stream,
                site=settings.site,
                node=settings.node,
                bundle=self.models.named(stream.model),
                clock=self.clock,
                counters=self.counters,
                submit=self.worker.submit,
            )
            for stream in settings.streams
        }

    async def tasks(self) -> list[tuple[str, Coroutine[None, None, None]]]:
        """The common tasks, and per stream: plan, outcomes, reading, starting, overdue frames."""
        tasks = await super().tasks()
        for name, stream in self.streams.items():
            names = {"site": self.settings.site, "stream": name}
            finished = await self.home.subscribe(RESULT.of(**names))
            dropped = await self.home.subscribe(DROPPED.of(**names))
            plans = await self.home.subscribe(PLAN.of(**names))
            tasks += [
                (f"{name}: plan", self._follow_plans(stream, aiter(plans))),
                (f"{name}: results", self._note_outcomes(stream, aiter(finished))),
                (f"{name}: dropped", self._note_outcomes(stream, aiter(dropped))),
                (f"{name}: sensor", stream.read()),
                (f"{name}: start", stream.start()),
                (f"{name}: overdue", stream.watch_overdue()),
            ]
        return tasks

    async def _follow_plans(self, stream: Stream, plans: AsyncIterator[Delivery]) -> None:
        async for delivery in plans:
            delivery.ack()
            try:
                offered = decode_stream_plan(delivery.payload)
                await asyncio.to_thread(self.models.segment, stream.bundle.model, 0, offered.plan.first_cut)
                await stream.new_plan(offered)
            except (BadMessage, SettingsError) as error:
                self.counters["plans_refused"] += 1
                self.log.error("plan refused", extra={"stream": stream.settings.name, "reason": str(error)})  # noqa: TRY400 - the sentence says it all

    async def _note_outcomes(self, stream: Stream, outcomes: AsyncIterator[Delivery]) -> None:
        async for delivery in outcomes:
            delivery.ack()
            try:
                _, seq = results.read_outcome(delivery.payload)
            except BadMessage as error:
                self.counters[f"bad.{error.reason}"] += 1
                continue
            await stream.outcome(seq)
