"""The hub: publishes the plans given by hand, and lets the coordinator choose the others."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import AsyncExitStack

from msgspec import structs

from broker.coordination.goals import plan_by_hand
from broker.coordination.shell import CoordinatorShell
from broker.embedded.server import EmbeddedBroker
from broker.http.access import ListedIdentities
from broker.http.server import HubServer
from broker.http.streams import StreamsApi
from broker.last_results import LastResults
from broker.mosquitto.rules_keeper import RulesKeeper
from broker.registry.api import RegistryApi
from broker.registry.core import Registry
from broker.registry.events import ModelsFound, StreamFixed
from broker.registry.followers import Discovery, Last
from broker.registry.shell import Follower, RegistryShell
from broker.settings import Settings
from tiercut.bus import Bus
from tiercut.bus.node_buses import OpenBus
from tiercut.clock import Clock
from tiercut.coordinator.core import Coordinator
from tiercut.declared import encode_json
from tiercut.errors import BusError, SettingsError
from tiercut.heartbeat import Heartbeat
from tiercut.model.bundle import Bundle
from tiercut.node.context import NodeContext
from tiercut.node.identity import identity_of
from tiercut.node.stopping import Stopped, unless
from tiercut.protocol.nodes import NodeState, NodeStatus
from tiercut.protocol.topics import PLAN, STATUS
from tiercut.repository.store import ModelStore
from tiercut.security.identity_list import LIST_FILE
from tiercut.settings import masked_url

#: How often the bundles folder is read.
MODELS_EVERY_S = 2.0


class Hub:
    """The hub of a site.

    Raises:
        BundleError: a plan's or a stream's model is not in the bundles folder.
        SettingsError: a plan is wrong.
    """

    def __init__(self, settings: Settings, *, open_bus: OpenBus, clock: Clock | None = None) -> None:
        self.context = NodeContext.of(settings, "hub", open_bus=open_bus, clock=clock)
        self.settings = settings
        self._models = models = ModelStore(settings.bundles)
        self.plans = [plan_by_hand(wanted, models.named(wanted.model)) for wanted in settings.plans]
        self.coordinator = Coordinator(
            settings.site, lines=[each.line() for each in settings.lines], as_one=settings.as_one
        )
        self.registry = Registry(by_hand=frozenset(plan.stream for plan in settings.plans))
        self.registry.handle(ModelsFound(self._bundles()))
        for wanted in settings.streams:
            models.named(wanted.model)
            self.registry.handle(StreamFixed(wanted))
        self._heartbeat = Heartbeat(settings.heartbeat, settings.node)
        self._topic = STATUS.of(**self.context.names)

    @property
    def counters(self) -> Counter[str]:
        """All its counters."""
        return self.context.counters

    async def run(self, stop: asyncio.Event) -> None:
        """Publish the plans given by hand, choose the others, until ``stop`` is set. The plans stay on the bus."""
        async with AsyncExitStack() as stack:
            broker = self._broker()
            if broker is not None:
                stack.enter_context(broker)
            will = (self._topic, encode_json(self._status("offline")))
            await self.context.buses.open(stack, will=will)
            last, shell, registry = self._on_the_buses()
            server = self._server(
                RegistryApi(
                    site=self.settings.site,
                    registry=self.registry,
                    shell=registry,
                    clock=self.context.clock,
                    home=self.context.buses.home,
                )
            )
            if server is not None:
                await stack.enter_async_context(server)
            async with asyncio.TaskGroup() as group:
                tasks = [] if broker is None else [group.create_task(broker.watch(), name="embedded broker")]
                try:
                    await unless(stop, self._set_up(shell, registry))
                except Stopped:
                    self.context.log.info("stopped before its broker was there")
                else:
                    tasks += [group.create_task(task, name=name) for name, task in shell.tasks()]
                    tasks.append(group.create_task(self._report(), name="status"))
                    tasks.append(group.create_task(registry.run(), name="registry"))
                    tasks.append(group.create_task(registry.keep_right(), name="retained"))
                    tasks.append(group.create_task(last.keep(), name="last results"))
                    tasks.append(group.create_task(self._look_for_models(), name="models"))
                    counts = {"plans": len(self.plans), "streams": len(self.settings.streams)}
                    home = masked_url(self.context.buses.home_url)
                    self.context.log.info("ready", extra={"broker": home, **counts})
                    await stop.wait()
                for task in tasks:
                    task.cancel()

    def _on_the_buses(self) -> tuple[LastResults, CoordinatorShell, RegistryShell]:
        """What works on the buses, now that they are open."""
        site, context = self.settings.site, self.context
        home, uplink = context.buses.home, context.buses.uplink
        last = LastResults(site=site, bus=home, counters=context.counters, refusals=context.refusals)
        shell = CoordinatorShell(
            site=site,
            coordinator=self.coordinator,
            clock=context.clock,
            home=home,
            uplink=uplink,
            counters=context.counters,
            also=last.heard,
        )
        registry = RegistryShell(
            site=site,
            registry=self.registry,
            models=self._bundles,
            coordination=shell,
            clock=context.clock,
            home=home,
            counters=context.counters,
            refusals=context.refusals,
            followers=self._followers(home, last, cloud_here=uplink is home),
        )
        return last, shell, registry

    async def _set_up(self, shell: CoordinatorShell, registry: RegistryShell) -> None:
        home = self.context.buses.home
        await self._discovery.subscribe()
        await registry.subscribe()
        await shell.subscribe()
        for plan in self.plans:
            numbered = structs.replace(plan, plan=structs.replace(plan.plan, epoch=shell.next_epoch(plan)))
            await home.announce(PLAN.of(site=self.settings.site, stream=plan.stream), encode_json(numbered))
        await home.announce(self._topic, encode_json(self._status("online")))

    async def _report(self) -> None:
        while True:
            await asyncio.sleep(self.settings.status_every_s)
            try:
                await self.context.buses.home.announce(self._topic, encode_json(self._status("online")))
                self._heartbeat.beat()
            except BusError as error:
                self.context.log.warning("status not published", extra={"reason": str(error)})

    async def _look_for_models(self) -> None:
        """Read the bundles folder again and again, on a thread: a large model takes a while to be checked."""
        while True:
            await asyncio.to_thread(self._models.refresh)
            await asyncio.sleep(MODELS_EVERY_S)

    def _followers(self, home: Bus, last: LastResults, *, cloud_here: bool) -> tuple[Follower, ...]:
        """What follows from a change of the registry; access first, as nodes act on the rest at once."""
        settings = self.settings
        self._discovery = Discovery(
            home,
            site=settings.site,
            hub=settings.node,
            prefix=settings.home_assistant_prefix,
            on=settings.home_assistant,
            refusals=self.context.refusals,
        )
        kept = Last(last, home, site=settings.site, refusals=self.context.refusals)
        if settings.acl_file is None:
            return kept, self._discovery
        if settings.identity is None:
            raise SettingsError(
                "the hub cannot write access rules",
                expected="an identity, whose folder has the list of the site's identities",
                came="acl_file without identity",
                fix="set identity to the hub's folder that 'tiercut certs' has written",
            )
        access = RulesKeeper(
            settings.acl_file,
            identity=settings.identity,
            site=settings.site,
            cloud_here=cloud_here,
            home_assistant=settings.home_assistant_prefix,
        )
        return access, kept, self._discovery

    def _server(self, streams: StreamsApi) -> HubServer | None:
        if not self.settings.listen:
            return None
        identity = identity_of(self.settings)
        tls = None if identity is None else identity.server_context()
        listed = None if identity is None else ListedIdentities(identity.folder / LIST_FILE)
        return HubServer(
            self.settings.listen,
            site=self.settings.site,
            models=self._models,
            streams=streams,
            tls=tls,
            listed=listed,
        )

    def _bundles(self) -> dict[str, Bundle]:
        """The bundle of each name; the first where there are several."""
        return {each.name: each for each in reversed(self._models.bundles())}

    def _broker(self) -> EmbeddedBroker | None:
        settings = self.settings
        if not settings.embedded_broker:
            return None
        return EmbeddedBroker.at(settings.broker_url, port_v311=settings.embedded_port_v311)

    def _status(self, state: NodeState) -> NodeStatus:
        counted = {name: float(count) for name, count in sorted(self.counters.items())}
        return self.context.status(state, models=self._models.names(), load=counted)
