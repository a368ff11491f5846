"""A device: its streams, and the worker that runs their head segments."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from typing import ClassVar

from iot_node.privacy import sends_too_clear, sends_too_early
from iot_node.settings import Settings
from iot_node.stream import Stream
from tiercut import results
from tiercut.bus import Delivery
from tiercut.clock import Clock
from tiercut.errors import BadMessage, SettingsError, TiercutError
from tiercut.jsonwire import decode_stream_plan
from tiercut.node import Node, OpenBus, Tasks
from tiercut.plan import Plan, Tier
from tiercut.talk import PrepareSegment
from tiercut.topics import DROPPED, PLAN, RESULT

#: How long a device waits for the next node's status before its first frame, and how often it looks.
FIRST_PEER_S = 3.0
FIRST_PEER_POLL_S = 0.02


class IotNode(Node):
    """A device node.

    Raises:
        BundleError: a stream's model is not in the bundles folder.
        SensorError: a sensor cannot be opened.
    """

    tier: ClassVar[Tier] = "device"

    def __init__(self, settings: Settings, *, open_bus: OpenBus, clock: Clock | None = None) -> None:
        super().__init__(settings, open_bus=open_bus, clock=clock)
        self.direct_to_cloud = settings.direct_to_cloud
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

    async def tasks(self) -> Tasks:
        """The common tasks, and per stream: plan, outcomes, reading, starting, overdue frames."""
        tasks = await super().tasks()
        for name, stream in self.streams.items():
            names = {"site": self.settings.site, "stream": name}
            for topic in (RESULT, DROPPED):
                heard = partial(self._outcome_heard, stream, dropped=topic is DROPPED)
                await self.home.subscribe(topic.of(**names), handler=heard)
            plans = await self.home.subscribe(PLAN.of(**names))
            tasks += [
                (f"{name}: plan", partial(self._follow_plans, stream, aiter(plans))),
                (f"{name}: sensor", stream.read),
                (f"{name}: start", stream.start),
                (f"{name}: overdue", stream.watch_overdue),
            ]
        return tasks

    @property
    def reaches_cloud(self) -> bool:
        """As any node, unless its owner has it send to edges only."""
        return self.direct_to_cloud and super().reaches_cloud

    async def _hear_clouds(self) -> None:
        if self.direct_to_cloud:
            await super()._hear_clouds()

    def refuses(self, asked: PrepareSegment) -> str | None:
        """A plan that would send raw frames of a stream that keeps them here."""
        stream = self.streams.get(asked.stream)
        if stream is None:
            return f"device '{self.settings.node}' has no stream '{asked.stream}'"
        return sends_too_early(asked.stop, stream.settings.min_first_cut) or sends_too_clear(
            asked.codec, stream.settings.min_noise
        )

    async def _follow_plans(self, stream: Stream, plans: AsyncIterator[Delivery]) -> None:
        async for delivery in plans:
            delivery.ack()
            try:
                offered = decode_stream_plan(delivery.payload)
                stream.check(offered)
                self._check_route(offered.plan)
                plan = offered.plan
                await asyncio.to_thread(self.models.segment, stream.bundle.model, 0, plan.first_cut, plan.exit)
            except TiercutError as error:
                self.counters["plans_refused"] += 1
                self.log.error("plan refused", extra={"stream": stream.settings.name, "reason": str(error)})  # noqa: TRY400 - the sentence says it all
                continue
            if stream.plan is None:
                await self._wait_for_next(offered.plan)
            await stream.new_plan(offered)

    def _check_route(self, plan: Plan) -> None:
        if not self.direct_to_cloud and ("device", "cloud") in plan.hops:
            raise SettingsError(
                "a plan is refused",
                expected="an edge between this device and the cloud (direct_to_cloud = false)",
                came=f"device to cloud '{plan.cloud}'",
                fix="name an edge in the plan, or let the device send to the cloud itself",
            )

    async def _wait_for_next(self, plan: Plan) -> None:
        """At the start, retained statuses may come after the plan: wait a little before falling back for ever."""
        until_s = self.clock.monotonic_s() + FIRST_PEER_S
        for _, tier in plan.hops[:1]:
            node = plan.node(tier)
            while node is not None and not self.peers.online(tier, node) and self.clock.monotonic_s() < until_s:  # noqa: ASYNC110 - statuses come to a table
                await asyncio.sleep(FIRST_PEER_POLL_S)

    def _outcome_heard(self, stream: Stream, delivery: Delivery, *, dropped: bool) -> None:
        delivery.ack()
        try:
            name, seq = results.read_outcome(delivery.payload)
        except BadMessage as error:
            self.counters[f"bad.{error.reason}"] += 1
            return
        if name == stream.settings.name:
            stream.outcome(seq, dict(delivery.properties).get("id"), dropped=dropped)
