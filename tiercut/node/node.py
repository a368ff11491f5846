"""What the nodes of all three tiers have in common: an order of parts that share a context, and a life.

`iot_node`, `edge_node` and `cloud_node` are this with parts of their own.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import AsyncExitStack
from typing import ClassVar

from tiercut.bus import Delivery
from tiercut.bus.node_buses import OpenBus
from tiercut.clock import Clock
from tiercut.model.bundle import Bundle
from tiercut.node.clocks import Clocks
from tiercut.node.context import NodeContext
from tiercut.node.emulation import Emulation
from tiercut.node.frame_pipeline import FramePipeline
from tiercut.node.link_probes import LinkProbes
from tiercut.node.load import Load
from tiercut.node.model_updates import ModelUpdates
from tiercut.node.part import Part, Tasks
from tiercut.node.preparation import Preparation
from tiercut.node.presence import Presence
from tiercut.node.profiles import Profiles
from tiercut.node.return_path import ReturnPath
from tiercut.node.settings import NodeSettings
from tiercut.node.status_report import StatusReport
from tiercut.node.stopping import Stopped, unless
from tiercut.node.uplink import Uplink
from tiercut.pipeline.peers import Peers
from tiercut.plan import Tier
from tiercut.protocol.nodes import PrepareSegment
from tiercut.repository.store import ModelStore
from tiercut.settings import masked_url


class Node:
    """A node of one tier.

    Args:
        settings: Its settings.
        open_bus: How to reach a broker.
        clock: Its clock.
        models: The models of another node of this process, to share.
        sends_to_cloud: It may send to cloud nodes without an edge between.

    Attributes:
        context: What its parts share.
        models: Its models.
        peers: The nodes that it hears of.
        presence: Says who has come and gone.
        clocks: Their clocks.
        frames: Its frames.
        return_path: Puts outcomes from elsewhere on the site's bus.
        load: How much it has to do.
        updates: Models that come while it runs.
        parts: In the order in which they subscribe; a tier adds its own.
    """

    tier: ClassVar[Tier]
    gateway: ClassVar[bool] = False

    def __init__(
        self,
        settings: NodeSettings,
        *,
        open_bus: OpenBus,
        clock: Clock | None = None,
        models: ModelStore | None = None,
        sends_to_cloud: bool = True,
    ) -> None:
        self.context = context = NodeContext.of(settings, self.tier, open_bus=open_bus, clock=clock)
        self.models = models or ModelStore(
            settings.bundles,
            threads=settings.threads,
            cache_bytes=settings.segment_cache_mb * 1024 * 1024,
            memory_mb=settings.memory_mb,
        )
        self.peers = Peers()
        self.clocks = Clocks(context, self.peers)
        self.return_path = ReturnPath(context, self.peers)
        self.frames = FramePipeline(
            context,
            self.tier,
            models=self.models,
            peers=self.peers,
            clocks=self.clocks,
            publish=self.return_path.publish,
            sends_to_cloud=sends_to_cloud,
        )
        self.load = Load(context, self.frames)
        self.updates = ModelUpdates(context, self.models)
        self.updates.listeners.append(self.model_came)
        segments = self.frames.segments
        self._profiles = Profiles(context, self.models, found=segments.profiled)
        self.presence = presence = Presence(context, self.peers)
        self._status = StatusReport(
            context,
            presence,
            self.load,
            models=self.models,
            peers=self.peers,
            segments=segments,
            sends_to_cloud=sends_to_cloud,
            gateway=self.gateway,
        )
        self.parts: list[Part] = [
            presence,
            Preparation(context, self.models, refuses=self.refuses),
            LinkProbes(context, exchange=self.clocks.exchange, frames=self.frames),
            self.clocks,
            Uplink(
                context,
                clocks=self.clocks,
                presence=presence,
                returned=self.returned,
                hears_clouds=sends_to_cloud,
            ),
            self._profiles,
            self.updates,
            self._status,
            self.frames,
            Emulation(context, segments, changed=self._status.announce),
        ]

    @property
    def counters(self) -> Counter[str]:
        """All that it counts."""
        return self.context.counters

    def refuses(self, asked: PrepareSegment) -> str | None:
        """Why a segment is not to be run here; a tier may have reasons."""
        del asked
        return None

    def returned(self, delivery: Delivery) -> None:
        """What became of a frame that this node has sent on; a tier may have its own use for it."""
        self.return_path.hear(delivery)

    def model_came(self, bundle: Bundle) -> None:
        """A model is there that was not at the start: say so, and how fast this node is with it."""
        self._profiles.add(bundle)
        self._status.announce()

    async def run(self, stop: asyncio.Event) -> None:
        """Work until ``stop`` is set, then finish what is in hand and say goodbye."""
        buses = self.context.buses
        async with AsyncExitStack() as stack:
            try:
                await unless(stop, buses.open(stack, will=self._status.will()))
                await self._work(stop, await unless(stop, self._subscribed()))
            except Stopped:
                self.context.log.info("stopped before its broker was there")
            await buses.close()

    async def _subscribed(self) -> Tasks:
        """The tasks of all parts, when all have subscribed."""
        for part in self.parts:
            await part.subscribe()
        self._status.announce()
        return [task for part in self.parts for task in part.tasks()]

    async def _work(self, stop: asyncio.Event, tasks: Tasks) -> None:
        async with asyncio.TaskGroup() as group:
            running = [group.create_task(start(), name=name) for name, start in tasks]
            home = masked_url(self.context.buses.home_url)
            self.context.log.info("ready", extra={"site": self.context.settings.site, "tier": self.tier, "home": home})
            await stop.wait()
            self.frames.stop()
            for task in running:
                task.cancel()
        await self.frames.drain()
