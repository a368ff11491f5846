"""The hub: publishes the plans given by hand, and lets the coordinator choose the others."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import replace

from broker.embedded import EmbeddedBroker
from broker.goals import goal_of, plan_by_hand
from broker.settings import Settings
from broker.shell import CoordinatorShell
from tiercut import __version__
from tiercut.bus import Bus
from tiercut.clock import Clock, SystemClock
from tiercut.coordinator.core import Coordinator
from tiercut.errors import BusError
from tiercut.jsonwire import encode_node_status, encode_stream_plan
from tiercut.node import OpenBus
from tiercut.settings import masked_url
from tiercut.stopping import Stopped, unless
from tiercut.store import ModelStore
from tiercut.talk import NodeState, NodeStatus
from tiercut.topics import PLAN, STATUS


class Hub:
    """The hub of a site.

    Raises:
        BundleError: a plan's or a stream's model is not in the bundles folder.
        SettingsError: a plan is wrong.
    """

    def __init__(self, settings: Settings, *, open_bus: OpenBus, clock: Clock | None = None) -> None:
        self.settings = settings
        self.clock: Clock = clock or SystemClock()
        self.log = logging.getLogger(settings.node)
        models = ModelStore(settings.bundles)
        self.plans = [plan_by_hand(wanted, models.named(wanted.model)) for wanted in settings.plans]
        self.coordinator = Coordinator(settings.site)
        for wanted in settings.streams:
            self.coordinator.stream_wanted(goal_of(wanted, models.named(wanted.model)))
        self.counters: Counter[str] = Counter()
        self._instance = uuid.uuid4().hex
        self._models = models
        self._open_bus = open_bus
        self._topic = STATUS.of(site=settings.site, tier="hub", node=settings.node)

    async def run(self, stop: asyncio.Event) -> None:
        """Publish the plans given by hand, choose the others, until ``stop`` is set. The plans stay on the bus."""
        async with AsyncExitStack() as stack:
            broker = self._broker()
            if broker is not None:
                stack.enter_context(broker)
            will = (self._topic, encode_node_status(self._status("offline")))
            home = await stack.enter_async_context(self._open_bus(self.settings.broker_url, will=will))
            uplink, cloud_url = home, self.settings.cloud_broker_url
            if cloud_url and cloud_url != self.settings.broker_url:
                uplink = await stack.enter_async_context(self._open_bus(cloud_url, will=will))
            shell = CoordinatorShell(
                site=self.settings.site,
                coordinator=self.coordinator,
                clock=self.clock,
                home=home,
                uplink=uplink,
                counters=self.counters,
            )
            async with asyncio.TaskGroup() as group:
                tasks = [] if broker is None else [group.create_task(broker.watch(), name="embedded broker")]
                try:
                    await unless(stop, self._set_up(home, shell))
                except Stopped:
                    self.log.info("stopped before its broker was there")
                else:
                    tasks += [group.create_task(task, name=name) for name, task in shell.tasks()]
                    tasks.append(group.create_task(self._report(home), name="status"))
                    counts = {"plans": len(self.plans), "streams": len(self.settings.streams)}
                    self.log.info("ready", extra={"broker": masked_url(self.settings.broker_url), **counts})
                    await stop.wait()
                for task in tasks:
                    task.cancel()

    async def _set_up(self, home: Bus, shell: CoordinatorShell) -> None:
        await shell.subscribe()
        for plan in self.plans:
            numbered = replace(plan, plan=replace(plan.plan, epoch=shell.next_epoch(plan)))
            await home.announce(PLAN.of(site=self.settings.site, stream=plan.stream), encode_stream_plan(numbered))
        await home.announce(self._topic, encode_node_status(self._status("online")))

    async def _report(self, home: Bus) -> None:
        while True:
            await asyncio.sleep(self.settings.status_every_s)
            try:
                await home.announce(self._topic, encode_node_status(self._status("online")))
            except BusError as error:
                self.log.warning("status not published", extra={"reason": str(error)})

    def _broker(self) -> EmbeddedBroker | None:
        return EmbeddedBroker.at(self.settings.broker_url) if self.settings.embedded_broker else None

    def _status(self, state: NodeState) -> NodeStatus:
        return NodeStatus(
            node=self.settings.node,
            tier="hub",
            state=state,
            version=__version__,
            clock_id=self.clock.id,
            models=self._models.names(),
            load={name: float(count) for name, count in sorted(self.counters.items())} if state == "online" else {},
            instance=self._instance,
            sent_unix_s=self.clock.unix_s() if state == "online" else 0.0,
        )
