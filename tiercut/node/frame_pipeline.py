"""The frames of a node, from their deliveries to their outcomes: `tiercut.pipeline`, put together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from tiercut.bus import Delivery, Message
from tiercut.limits import MAX_SECONDS
from tiercut.node.clocks import Clocks
from tiercut.node.context import NodeContext
from tiercut.node.part import Part, Tasks
from tiercut.pipeline.cloud_outcomes import CloudOutcomes
from tiercut.pipeline.in_transit import LATE_S
from tiercut.pipeline.intake import Arrived, Intake
from tiercut.pipeline.jobs import Job
from tiercut.pipeline.outlet import BusOutlet
from tiercut.pipeline.peers import Peers
from tiercut.pipeline.processor import Processor
from tiercut.pipeline.segment_runner import SegmentRunner
from tiercut.pipeline.worker import Worker
from tiercut.plan import Tier
from tiercut.protocol.frames import Stage
from tiercut.protocol.topics import WORK
from tiercut.repository.store import ModelStore

#: How long frames in hand may take to finish after SIGTERM; with the goodbye a node is gone within 5 s.
DRAIN_S = 2.0
#: How long their outcomes may take to the cloud's broker then.
CLOUD_DRAIN_S = 1.0
#: How often to give up messages whose missing chunks will not come, while there are any.
EXPIRE_EVERY_S = 1.0


class FramePipeline(Part):
    """Takes frames in, has them worked on, and sends them on.

    Args:
        context: The node's.
        tier: Its tier.
        models: Its models.
        peers: The nodes that it can send to.
        clocks: The other nodes' clocks.
        publish: Puts an outcome on the home bus.
        sends_to_cloud: It may send to the cloud's bus itself.

    Attributes:
        intake: Makes frames of deliveries.
        segments: Runs segments of models.
        processor: What its threads do with them.
        outlet: Where they go.
        cloud: Takes outcomes to the cloud's bus.
        worker: Carries them from one to the other.
        late: Set when a frame has been in transit, or a segment running, for `LATE_S`.
    """

    def __init__(
        self,
        context: NodeContext,
        tier: Tier,
        *,
        models: ModelStore,
        peers: Peers,
        clocks: Clocks,
        publish: Callable[[Message, Callable[[], None]], None],
        sends_to_cloud: bool,
    ) -> None:
        settings, clock, counters = context.settings, context.clock, context.counters
        self._context = context
        self._clocks = clocks
        self._stopping = False
        self.late = asyncio.Event()
        #: set while messages wait for chunks
        self._chunks = asyncio.Event()
        self.intake = Intake(clock=clock, counters=counters)
        self.cloud = CloudOutcomes(node=settings.node, bus=lambda: context.buses.uplink, counters=counters)
        self.outlet = BusOutlet(
            names=context.names,
            buses=context.buses,
            clock=clock,
            offsets=clocks.offsets,
            peers=peers,
            cloud=self.cloud,
            publish=publish,
            sends_to_cloud=sends_to_cloud,
        )
        self.segments = SegmentRunner(
            models,
            clock,
            slowdown=settings.emulated_slowdown,
            profiled_slowdown=settings.emulated_slowdown if settings.emulated_profile else None,
        )
        self.processor = Processor(
            tier=tier,
            node=settings.node,
            clock=clock,
            models=models,
            segments=self.segments,
            offsets=clocks.offsets,
            reachable=self.outlet.reachable,
            counters=counters,
            may_fall_back=settings.fall_back,
        )
        self.worker = Worker(
            node=settings.node,
            processor=self.processor,
            outlet=self.outlet,
            counters=counters,
            threads=settings.workers,
            may_fall_back=settings.fall_back,
            soon=self._soon,
        )

    def _soon(self, call: Callable[[], None]) -> None:
        self._context.buses.home.soon(call)  # which is not open yet when the worker is made

    def tasks(self) -> Tasks:
        """Tasks for frames that are stuck; they sleep while there are no frames."""
        return [("watch", self._watch), ("expire", self._expire)]

    async def _watch(self) -> None:
        """Look after the frames in hand.

        Those in transit to a node that has gone are taken back (`Worker.withdraw_unreachable`), those that have waited
        for others go on, and what takes long is noted for the hub.
        """
        while True:
            await self.worker.came.wait()
            await asyncio.sleep(LATE_S)
            self.worker.withdraw_unreachable()
            self.worker.resume()
            if self.outlet.in_transit.late() or self.segments.running():
                self.late.set()
            if not self.worker.in_hand:
                self.worker.came.clear()

    async def _expire(self) -> None:
        while True:
            await self._chunks.wait()
            await asyncio.sleep(EXPIRE_EVERY_S)
            self.intake.expire()
            if not self.intake.unfinished:
                self._chunks.clear()

    def stop(self) -> None:
        """Take no more frames: they are not acknowledged, so the broker keeps them."""
        self._stopping = True
        self._context.log.info("stopping", extra={"waiting": self.worker.waiting})

    async def drain(self) -> None:
        """Finish the frames in hand, as far as `DRAIN_S` allows."""
        given_up = await self.worker.drain(DRAIN_S)
        if away := await self.cloud.drain(CLOUD_DRAIN_S):
            self._context.log.warning("outcomes not in the cloud, nor told to their devices", extra={"outcomes": away})
        lost = sum(bus.early_unfinished for bus in self._context.buses)
        if given_up or lost:
            kept = max(given_up - lost, 0)
            self._context.log.warning("frames not finished", extra={"kept_by_broker": kept, "lost": lost})

    def receive(self, delivery: Delivery) -> None:
        """Feed the worker: the handler of a subscription to work topics."""
        if self._stopping:
            return
        arrived = self.intake.take(delivery)
        if arrived is None:
            if self.intake.unfinished:
                self._chunks.set()
            return
        try:
            self._clocks.ask_sender(arrived.work)
        except Exception:  # a clock that is not asked costs a figure, no frame
            self._context.counters["faults"] += 1
            self._context.log.exception("clock not asked")
        self.worker.submit(self._job(arrived))  # last: from here on the frame is the worker's to acknowledge

    def _job(self, arrived: Arrived) -> Job:
        work, wire = arrived.work, None
        offset = self._clocks.offsets.offset(work.sent.clock_id, arrived.received_s)
        if offset is not None:
            wire_s = max(arrived.received_s - (work.sent.seconds + offset.seconds), 0.0)
            if wire_s <= MAX_SECONDS:  # beyond that a clock lied
                wire = Stage(self._context.settings.node, "wire", wire_s, work.emulated, arrived.payload_bytes)
        return Job(work=work, arrived_s=arrived.received_s, ack=arrived.ack, wire=wire)


class WorkTopic(Part):
    """The frames that others send to a node; a device has none."""

    def __init__(self, context: NodeContext, frames: FramePipeline) -> None:
        self._context = context
        self._frames = frames

    async def subscribe(self) -> None:
        """Take frames in."""
        topic = WORK.filter(**self._context.asked_as)
        await self._context.buses.home.subscribe(topic, handler=self._frames.receive)
