"""The hub: publishes the streams' plans, retained, and keeps an eye on who is there."""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack, nullcontext

from broker.embedded import EmbeddedBroker
from broker.settings import PlanSettings, Settings
from tiercut import __version__
from tiercut.bundle import Bundle
from tiercut.bus import Bus, Subscription
from tiercut.bus.settings import MqttSettings
from tiercut.clock import Clock, SystemClock
from tiercut.codecs import codec
from tiercut.cut_names import resolve_cut
from tiercut.errors import BadMessage
from tiercut.jsonwire import decode_node_status, encode_node_status, encode_stream_plan
from tiercut.messages import NodeState, NodeStatus, StreamPlan
from tiercut.node import OpenBus
from tiercut.peers import Peers
from tiercut.plan import Plan
from tiercut.stopping import Stopped, unless
from tiercut.store import ModelStore
from tiercut.topics import PLAN, STATUS


def plan_by_hand(wanted: PlanSettings, bundle: Bundle) -> StreamPlan:
    """The plan that the settings ask for, checked against the model.

    Raises:
        CutError: a cut that the model does not have.
        SettingsError: a plan that does not hold together, or a codec that there is none of.
    """
    for name in wanted.codecs:
        codec(name)
    first = resolve_cut(bundle, wanted.first_cut)
    second = resolve_cut(bundle, wanted.second_cut)
    plan = Plan(
        epoch=1,
        first_cut=first,
        second_cut=second,
        device=wanted.device,
        edge=wanted.edge,
        cloud=wanted.cloud,
        codecs=wanted.codecs,
    )
    plan.check_fits(bundle.end, model=bundle.name)
    return StreamPlan(stream=wanted.stream, model=bundle.model, model_name=bundle.name, plan=plan)


class Hub:
    """The hub of a site.

    Raises:
        BundleError: a plan's model is not in the bundles folder.
        SettingsError: a plan is wrong.
    """

    def __init__(self, settings: Settings, *, open_bus: OpenBus, clock: Clock | None = None) -> None:
        self.settings = settings
        self.clock: Clock = clock or SystemClock()
        self.log = logging.getLogger(settings.node)
        self.peers = Peers()
        models = ModelStore(settings.bundles)
        self.plans = [plan_by_hand(wanted, models.named(wanted.model)) for wanted in settings.plans]
        self._models = models
        self._open_bus = open_bus
        self._topic = STATUS.of(site=settings.site, tier="hub", node=settings.node)

    async def run(self, stop: asyncio.Event) -> None:
        """Publish the plans, watch the nodes, until ``stop`` is set. The plans stay on the bus."""
        async with AsyncExitStack() as stack:
            stack.enter_context(self._broker())
            will = (self._topic, encode_node_status(self._status("offline")))
            bus = await stack.enter_async_context(self._open_bus(self.settings.broker_url, will=will))
            try:
                statuses = await unless(stop, self._set_up(bus))
            except Stopped:
                self.log.info("stopped before its broker was there")
                return
            async with asyncio.TaskGroup() as group:
                watching = group.create_task(self._watch(statuses), name="statuses")
                self.log.info("ready", extra={"broker": self.settings.broker_url, "plans": len(self.plans)})
                await stop.wait()
                watching.cancel()

    async def _set_up(self, bus: Bus) -> Subscription:
        for plan in self.plans:
            await bus.announce(PLAN.of(site=self.settings.site, stream=plan.stream), encode_stream_plan(plan))
        statuses = await bus.subscribe(STATUS.filter())
        await bus.announce(self._topic, encode_node_status(self._status("online")))
        return statuses

    def _broker(self) -> EmbeddedBroker | nullcontext[None]:
        if not self.settings.embedded_broker:
            return nullcontext()
        address = MqttSettings(url=self.settings.broker_url)
        return EmbeddedBroker(address.port, host=address.host)

    def _status(self, state: NodeState) -> NodeStatus:
        return NodeStatus(
            node=self.settings.node,
            tier="hub",
            state=state,
            version=__version__,
            clock_id=self.clock.id,
            models=self._models.names(),
        )

    async def _watch(self, statuses: Subscription) -> None:
        async for delivery in statuses:
            delivery.ack()
            try:
                status = decode_node_status(delivery.payload)
            except BadMessage as error:
                self.log.warning("status set aside", extra={"topic": delivery.topic, "reason": str(error)})
                continue
            before = self.peers.heard(status)
            if before is None or before.state != status.state:
                self.log.info("node", extra={"tier": status.tier, "peer": status.node, "state": status.state})
