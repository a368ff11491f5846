"""A device: its streams, and the worker that runs their head segments."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import ClassVar

from iot_node.privacy import sends_too_clear, sends_too_early
from iot_node.settings import Settings
from iot_node.stream import Stream
from iot_node.stream_manager import StreamManager
from tiercut.bus import Delivery, Handler, Message
from tiercut.bus.base import nothing
from tiercut.bus.node_buses import OpenBus
from tiercut.clock import Clock
from tiercut.declared import decode_json
from tiercut.errors import BadMessage, SettingsError, TiercutError
from tiercut.model.bundle import Bundle
from tiercut.node.context import NodeContext
from tiercut.node.node import Node
from tiercut.node.part import Part, Tasks
from tiercut.node.preparation import NotHere
from tiercut.pipeline.dispatch import Posted, Taken
from tiercut.plan import Plan, Tier
from tiercut.protocol.events import event_id, id_and_source, seq_of
from tiercut.protocol.frames import Work
from tiercut.protocol.nodes import PrepareSegment, StreamPlan
from tiercut.protocol.results import read_outcome
from tiercut.protocol.stream_settings import StreamSettings
from tiercut.protocol.topics import RETURN, STREAMS
from tiercut.repository.store import ModelStore

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

    def __init__(
        self, settings: Settings, *, open_bus: OpenBus, clock: Clock | None = None, models: ModelStore | None = None
    ) -> None:
        super().__init__(
            settings, open_bus=open_bus, clock=clock, models=models, sends_to_cloud=settings.direct_to_cloud
        )
        self._owner = settings
        context = self.context
        self.manager = StreamManager(
            site=settings.site,
            node=settings.node,
            models=self.models,
            bus=lambda: context.buses.home,
            clock=context.clock,
            counters=context.counters,
            refusals=context.refusals,
            open_stream=self._open_assigned,
            follow=self._follow_plans,
            heard=self._outcome_heard,
        )
        for stream in settings.streams:
            to_come = settings.hub_url and stream.model not in self.models.names()
            opened = None if to_come else self._open_stream(stream, self.models.named(stream.model))
            self.manager.own(stream, opened)
        self.parts.append(AssignedStreams(context, self.manager, returned=self.returned))
        self.frames.outlet.keeps = self._keep
        self.presence.listeners.append(self._nodes_changed)

    @property
    def streams(self) -> Mapping[str, Stream]:
        """The streams whose sensors are open, by name."""
        return self.manager.streams

    def _open_assigned(self, stream: StreamSettings, bundle: Bundle) -> Stream:
        """A stream of the hub's, as far as this device's owner lets it."""
        if stream in self._owner.streams:
            return self._open_stream(stream, bundle)
        if not self._owner.allows(stream):
            raise SettingsError(
                f"'{self._owner.node}' does not read the sensor of stream '{stream.name}'",
                expected=f"one of {', '.join(self._owner.assigned_sensors)} (assigned_sensors)",
                came=f"'{stream.sensor}'",
                fix="let its owner allow it in the device's settings",
            )
        least = max(stream.min_first_cut, self._owner.assigned_min_first_cut)
        return self._open_stream(replace(stream, min_first_cut=least), bundle)

    def _open_stream(self, stream: StreamSettings, bundle: Bundle) -> Stream:
        return Stream(
            stream,
            site=self._owner.site,
            node=self._owner.node,
            bundle=bundle,
            clock=self.context.clock,
            counters=self.counters,
            submit=self.frames.worker.submit,
            publish=self.return_path.publish,
            reachable=self._reachable,
        )

    def _reachable(self, plan: Plan) -> bool:
        """Whether the nodes of a plan are there, as far as this device knows."""
        first, *others = [(tier, plan.node(tier) or "") for _, tier in plan.hops] or [("device", "")]
        if first[0] == "device":
            return True
        return self.frames.outlet.reachable(*first) and not any(self.peers.gone(*other) for other in others)

    def refuses(self, asked: PrepareSegment) -> str | None:
        """A plan that would send raw frames of a stream that keeps them here."""
        stream = self.streams.get(asked.stream)
        if stream is None:
            return NotHere(f"device '{self._owner.node}' has no stream '{asked.stream}'")
        return sends_too_early(asked.stop, stream.settings.min_first_cut) or sends_too_clear(
            asked.codec, stream.settings.min_noise
        )

    async def _follow_plans(self, stream: Stream, plans: AsyncIterator[Delivery]) -> None:
        async for delivery in plans:
            delivery.ack()
            if not delivery.payload:  # taken back: the stream is removed
                continue
            try:
                offered = decode_json(StreamPlan, delivery.payload)
                if self._is_old(stream, offered):
                    continue
                stream.check(offered)
                for plan, _ in offered.mix:
                    self._check_route(plan)
                for plan, _ in offered.mix:
                    await asyncio.to_thread(self.models.segment, stream.bundle.model, 0, plan.first_cut, plan.exit)
            except TiercutError as error:
                self.counters["plans_refused"] += 1
                self.context.log.error("plan refused", extra={"stream": stream.settings.name, "reason": str(error)})  # noqa: TRY400 - the sentence says it all
                continue
            if stream.plan is None:
                await self._wait_for_next(offered.plan)
            stream.new_plan(offered)

    def _is_old(self, stream: Stream, offered: StreamPlan) -> bool:
        """A plan for another node that reads the sensor, before this one or after it."""
        return stream.settings.from_bus and offered.plan.device != self._owner.node

    def _check_route(self, plan: Plan) -> None:
        if not self._owner.direct_to_cloud and ("device", "cloud") in plan.hops:
            raise SettingsError(
                "a plan is refused",
                expected="an edge between this device and the cloud (direct_to_cloud = false)",
                came=f"device to cloud '{plan.cloud}'",
                fix="name an edge in the plan, or let the device send to the cloud itself",
            )

    async def _wait_for_next(self, plan: Plan) -> None:
        """At the start, retained statuses may come after the plan: wait a little before falling back forever."""
        until_s = self.context.clock.monotonic_s() + FIRST_PEER_S
        for _, tier in plan.hops[:1]:
            node = plan.node(tier)
            while node is not None and not self.peers.online(tier, node) and self.context.clock.monotonic_s() < until_s:  # noqa: ASYNC110 - statuses come to a table
                await asyncio.sleep(FIRST_PEER_POLL_S)

    def _nodes_changed(self) -> None:
        for stream in self.streams.values():
            stream.nodes_changed()

    def returned(self, delivery: Delivery) -> None:
        """An outcome that this device puts in order; one of a stream that it does not have goes out at once."""
        message = self.return_path.read(delivery)
        if message is None:
            return
        stream_name, _ = read_outcome(message.payload)
        stream, (event, source) = self.streams.get(stream_name), id_and_source(message.properties)
        if stream is None or event is None:
            self.return_path.publish(message, delivery.ack)
            return
        try:
            seq = seq_of(event)
        except BadMessage as error:
            self.context.set_aside(error)
            delivery.ack()
            return
        stream.came_home(seq, event, message, delivery.ack, dropped=source == stream.dropped_source)

    def _keep(self, work: Work, message: Message, taken: Taken) -> Posted | None:
        """The outcome of a frame that ends on this device, which puts it in order."""
        stream = self.streams.get(work.stream)
        if stream is None:
            return None
        return asyncio.get_running_loop().call_soon(self._kept, stream, work, message, taken)

    def _kept(self, stream: Stream, work: Work, message: Message, taken: Taken) -> None:
        taken(None)
        event, source = event_id(work.seq, work.captured_unix_s), dict(message.properties)["source"]
        stream.came_home(work.seq, event, message, nothing, dropped=source == stream.dropped_source)

    def _outcome_heard(self, stream: Stream, delivery: Delivery, *, dropped: bool) -> None:
        """A result, or why there is none: only its id and source are read, where it has these."""
        delivery.ack()
        event, source = id_and_source(delivery.properties)
        try:
            if event is None or source is None:  # published by other software
                name, seq = read_outcome(delivery.payload)
                is_own = name == stream.settings.name
            else:
                seq = seq_of(event)
                is_own = source == (stream.dropped_source if dropped else stream.result_source)
        except BadMessage as error:
            self.context.set_aside(error)
            return
        if is_own:
            stream.outcome(seq, event, dropped=dropped)


class AssignedStreams(Part):
    """The streams of a device: its own, and those that the hub has it read.

    Args:
        context: The device's.
        manager: Runs them.
        returned: Takes outcomes that the device is to put in order.
    """

    def __init__(self, context: NodeContext, manager: StreamManager, *, returned: Handler) -> None:
        self._context = context
        self._manager = manager
        self._returned = returned

    async def subscribe(self) -> None:
        """Hear which streams the hub assigns, and what became of frames whose outcomes are put in order here."""
        names, home, refusals = self._context.names, self._context.buses.home, self._context.refusals
        await refusals.subscribe(home, STREAMS.of(**names), handler=self._manager.assigned)
        await refusals.subscribe(home, RETURN.of(**names), handler=self._returned)

    def tasks(self) -> Tasks:
        """One, that runs them all."""
        return [("streams", self._manager.run)]
