"""The frames of a node, from their deliveries to their outcomes: `tiercut.pipeline`, put together."""

from __future__ import annotations

import asyncio

from tiercut.bus import Delivery
from tiercut.limits import MAX_SECONDS
from tiercut.node.clocks import Clocks
from tiercut.node.context import NodeContext
from tiercut.node.part import Part, Tasks
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
#: How often to look for frames that are being sent to a node that is gone.
LINK_CHECK_S = 0.1
#: How often to give up messages whose missing chunks will not come.
EXPIRE_EVERY_S = 1.0


class FramePipeline(Part):
    """Takes frames in, has them worked on, and sends them on.

    Args:
        context: The node's.
        tier: Its tier.
        models: Its models.
        peers: The nodes that it can send to.
        clocks: The other nodes' clocks.

    Attributes:
        intake: Makes frames of deliveries.
        segments: Runs segments of models.
        processor: What its threads do with them.
        outlet: Where they go.
        worker: Carries them from one to the other.
    """

    def __init__(self, context: NodeContext, tier: Tier, *, models: ModelStore, peers: Peers, clocks: Clocks) -> None:
        settings, clock, counters = context.settings, context.clock, context.counters
        self._context = context
        self._clocks = clocks
        self._stopping = False
        self.intake = Intake(clock=clock, counters=counters)
        self.outlet = BusOutlet(
            names=context.names, buses=context.buses, clock=clock, offsets=clocks.offsets, peers=peers
        )
        self.segments = SegmentRunner(models, clock, slowdown=settings.emulated_slowdown)
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
        )

    def tasks(self) -> Tasks:
        """Tasks for frames that are stuck."""
        return [("links", self._watch_links), ("expire", self._expire)]

    async def _watch_links(self) -> None:
        """Frames in transit to a node that has gone are taken back: see `Worker.withdraw_unreachable`."""
        while True:
            await asyncio.sleep(LINK_CHECK_S)
            self.worker.withdraw_unreachable()
            self.worker.resume()

    async def _expire(self) -> None:
        while True:
            await asyncio.sleep(EXPIRE_EVERY_S)
            self.intake.expire()

    def stop(self) -> None:
        """Take no more frames: they are not acknowledged, so the broker keeps them."""
        self._stopping = True
        self._context.log.info("stopping", extra={"waiting": self.worker.waiting})

    async def drain(self) -> None:
        """Finish the frames in hand, as far as `DRAIN_S` allows."""
        given_up = await self.worker.drain(DRAIN_S)
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
