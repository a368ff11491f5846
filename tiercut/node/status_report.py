"""What a node says of itself: models, load, what is emulated, and whether it reaches the cloud."""

from __future__ import annotations

import asyncio

from msgspec import UNSET, UnsetType

from tiercut.heap import resident_mb
from tiercut.node.context import NodeContext
from tiercut.node.emulation import emulated
from tiercut.node.load import Load
from tiercut.node.part import Part, Tasks
from tiercut.node.presence import Presence
from tiercut.pipeline.peers import Peers
from tiercut.pipeline.segment_runner import SegmentRunner
from tiercut.protocol.nodes import NodeState, NodeStatus
from tiercut.repository.store import ModelStore


class StatusReport(Part):
    """Says a node's status, every ``status_every_s`` and whenever something has changed.

    Args:
        context: The node's.
        presence: Publishes it.
        load: Its figures.
        models: Its models.
        peers: The nodes that it hears of.
        segments: What may be slowed on purpose.
        sends_to_cloud: It may send to cloud nodes without an edge between.
        gateway: It is a device inside an edge.
    """

    def __init__(
        self,
        context: NodeContext,
        presence: Presence,
        load: Load,
        *,
        models: ModelStore,
        peers: Peers,
        segments: SegmentRunner,
        sends_to_cloud: bool,
        gateway: bool,
    ) -> None:
        self._context = context
        self._presence = presence
        self._load = load
        self._models = models
        self._peers = peers
        self._segments = segments
        self._sends_to_cloud = sends_to_cloud
        self._gateway = gateway
        self._resident_mb = resident_mb()

    def tasks(self) -> Tasks:
        """One, that says it again and again."""
        return [("status", self._repeat)]

    def announce(self) -> None:
        """Say that the node is online, and how it is."""
        self._presence.say(self._status("online"))

    def will(self) -> tuple[str, bytes]:
        """What a bus says when it ends: topic and payload."""
        return self._presence.will(self._status("offline"))

    async def _repeat(self) -> None:
        while True:
            await asyncio.sleep(self._context.settings.status_every_s)
            await self._load.measure()
            self.announce()

    def _status(self, state: NodeState) -> NodeStatus:
        return self._context.status(
            state,
            models=self._models.names(),
            load=self._load.figures() if state == "online" else {},
            emulated=emulated(self._context.buses, self._segments),
            reaches_cloud=self._sends_to_cloud and self._peers.any("cloud"),
            power_watts=self._load.power_watts,
            gateway=self._gateway,
            mixes=self._context.tier == "device",
            relays=self._context.tier == "edge" and self._context.buses.are_two,
            memory_used_mb=self._grown_mb(),
        )

    def _grown_mb(self) -> float | UnsetType:
        """What the program takes more than when it had no model yet, where that is limited."""
        now_mb = resident_mb() if self._context.settings.memory_mb is not None else None
        if now_mb is None or self._resident_mb is None:
            return UNSET
        return round(max(0.0, now_mb - self._resident_mb), 1)
