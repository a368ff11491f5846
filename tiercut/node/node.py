"""What the nodes of all three tiers have in common: buses, presence, clocks, and a `Worker` fed from the bus.

`iot_node`, `edge_node` and `cloud_node` are this with tasks of their own.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AsyncExitStack
from functools import partial
from typing import ClassVar, Protocol

from msgspec import structs

from tiercut import __version__
from tiercut.bus import Bus, Delivery, ManagedBus
from tiercut.clock import Clock, SystemClock
from tiercut.clocks.exchange import ClockService
from tiercut.clocks.offsets import ClockOffsets
from tiercut.declared import encode_json
from tiercut.heartbeat import Heartbeat
from tiercut.limits import MAX_SECONDS
from tiercut.model.bundle import Bundle
from tiercut.node.emulation import Emulation
from tiercut.node.identity import client_tls
from tiercut.node.link_probes import Measuring
from tiercut.node.load import Condition
from tiercut.node.preparation import Preparation, find_profile
from tiercut.node.presence import Presence
from tiercut.node.refusals import REFUSED, Refusals
from tiercut.node.return_path import Returns
from tiercut.node.settings import NodeSettings
from tiercut.node.stopping import Stopped, unless
from tiercut.pipeline.intake import Arrived, Intake
from tiercut.pipeline.jobs import Job
from tiercut.pipeline.outlet import Sending
from tiercut.pipeline.peers import Peers
from tiercut.pipeline.processor import Processor
from tiercut.pipeline.worker import Worker
from tiercut.plan import Tier
from tiercut.profiling.wire import encode_profile
from tiercut.protocol.frames import Stage, Work
from tiercut.protocol.nodes import NodeState, NodeStatus, PrepareSegment
from tiercut.protocol.topics import CLOCK, ECHO, PREPARE, PROBE, PROFILE, RETURN, STATUS
from tiercut.repository.fetch import ModelFetcher
from tiercut.repository.store import ModelStore
from tiercut.settings import masked_url

#: How long frames in hand may take to finish after SIGTERM; with the goodbye a node is gone within 5 s.
DRAIN_S = 2.0
#: How often frames are looked for that are being sent to a node that is gone.
LINK_CHECK_S = 0.1
#: How often messages are given up whose missing chunks will not come.
EXPIRE_EVERY_S = 1.0
#: Clocks that wait to be asked; the others are asked with a later frame.
MAX_CLOCKS_TO_ASK = 64
#: Requests to load segments that may wait.
MAX_ASKED = 256


#: Named tasks of a node, started when all of them are known.
Tasks = list[tuple[str, Callable[[], Coroutine[None, None, None]]]]


class OpenBus(Protocol):
    """Opens a bus: MQTT in programs, in memory in tests."""

    def __call__(self, url: str, *, will: tuple[str, bytes]) -> ManagedBus:
        """A bus to the broker at ``url`` that leaves ``will`` (topic, retained payload) when it breaks off."""
        ...


class Node:
    """A node of one tier.

    Its *home* bus carries its own work and status: the site's bus for devices and edges, the cloud's for cloud nodes.
    Its *uplink* bus leads to the cloud: another connection, or the home bus again where there is one broker.

    Args:
        settings: Its settings.
        open_bus: How to reach a broker.
        clock: Its clock.
        models: The models of another node of this process, to share.
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
    ) -> None:
        self.settings = settings
        self.clock: Clock = clock or SystemClock()
        self.counters: Counter[str] = Counter()
        self.log = logging.getLogger(settings.node)
        self.models = models or ModelStore(
            settings.bundles, threads=settings.threads, cache_bytes=settings.segment_cache_mb * 1024 * 1024
        )
        self.offsets = ClockOffsets(self.clock.id)
        self.peers = Peers()
        self._names = {"site": settings.site, "tier": self.tier, "node": settings.node}
        self._sending = Sending(names=self._names, clock=self.clock, offsets=self.offsets, peers=self.peers)
        self._processor = Processor(
            tier=self.tier,
            node=settings.node,
            clock=self.clock,
            models=self.models,
            offsets=self.offsets,
            reachable=self._sending.reachable,
            counters=self.counters,
            may_fall_back=settings.fall_back,
            slowdown=settings.emulated_slowdown,
        )
        self.worker = Worker(
            node=settings.node,
            processor=self._processor,
            outlets=self._sending,
            counters=self.counters,
            threads=settings.workers,
            may_fall_back=settings.fall_back,
        )
        self.intake = Intake(clock=self.clock, counters=self.counters)
        self._clocks = ClockService(
            own_topic=CLOCK.of(**self._names),
            clock=self.clock,
            offsets=self.offsets,
            clocks_of=self.peers.clocks,
            counters=self.counters,
        )
        self._open_bus = open_bus
        self._refusals = Refusals(counters=self.counters, clock=self.clock, logger=self.log)
        self._presence = Presence(
            topic=STATUS.of(**self._names),
            peers=self.peers,
            refusals=self._refusals,
            counters=self.counters,
            logger=self.log,
        )
        self._fetcher = ModelFetcher(
            settings.hub_url, self.models, on_new=self._model_came, tls=client_tls(settings), counters=self.counters
        )
        #: bundles of which no profile was announced yet
        self._unprofiled: asyncio.Queue[Bundle] = asyncio.Queue()
        self._heartbeat = Heartbeat(settings.heartbeat, settings.node)
        self._measuring = Measuring(
            names=self._names,
            clocks=self._clocks,
            sending=self._sending,
            processor=self._processor,
            refusals=self._refusals,
            counters=self.counters,
        )
        self._preparation = Preparation(
            tier=self.tier,
            node=settings.node,
            models=self.models,
            site=self.served_site,
            refuses=self.refuses,
            refusals=self._refusals,
            counters=self.counters,
        )
        #: requests to load a segment
        self._asked: asyncio.Queue[Delivery] = asyncio.Queue(MAX_ASKED)
        #: clock topics to be asked
        self._ask_queue: asyncio.Queue[str] = asyncio.Queue(MAX_CLOCKS_TO_ASK)
        self._stopping = False
        self._returns = Returns(site=settings.site, counters=self.counters, refusals=self._refusals)
        self._buses: list[ManagedBus] = []
        self._emulation = Emulation(
            settings.emulation, processor=self._processor, buses=self._buses, clock=self.clock, logger=self.log
        )
        self._instance = uuid.uuid4().hex
        self.condition = Condition(
            worker=self.worker,
            processor=self._processor,
            buses=self._buses,
            clock=self.clock,
            counters=self.counters,
            workers=settings.workers,
            power_watts=settings.power_watts,
            profiled_slowdown=settings.emulated_slowdown if settings.emulated_profile else 1.0,
        )
        #: other nodes of this process that share its models
        self.siblings: list[Node] = []
        self.home: Bus
        self.uplink: Bus

    # ------------------------------------------------------------------ life

    async def run(self, stop: asyncio.Event) -> None:
        """Work until ``stop`` is set, then finish what is in hand and say goodbye."""
        async with AsyncExitStack() as stack:
            try:
                await unless(stop, self._open(stack))
                await self._work(stop, await unless(stop, self.tasks()))
            except Stopped:
                self.log.info("stopped before its broker was there")
            # closing says goodbye: a bus publishes its will
            await asyncio.gather(*(bus.close() for bus in self._buses))

    async def _open(self, stack: AsyncExitStack) -> None:
        will = (STATUS.of(**self._names), encode_json(self._status("offline")))
        urls = [self.home_url] if self.uplink_url == self.home_url else [self.home_url, self.uplink_url]
        for url in urls:
            bus = self._open_bus(url, will=will)
            await stack.enter_async_context(bus)
            self._buses.append(bus)
        self.home, self.uplink = self._sending.home, self._sending.uplink = self._buses[0], self._buses[-1]

    async def _work(self, stop: asyncio.Event, tasks: Tasks) -> None:
        async with asyncio.TaskGroup() as group:
            running = [group.create_task(start(), name=name) for name, start in tasks]
            home = masked_url(self.home_url)
            self.log.info("ready", extra={"site": self.settings.site, "tier": self.tier, "home": home})
            await stop.wait()
            self._stopping = True
            self.log.info("stopping", extra={"waiting": self.worker.waiting})
            for task in running:
                task.cancel()
        given_up = await self.worker.drain(DRAIN_S)
        lost = sum(bus.early_unfinished for bus in self._buses)
        if given_up or lost:
            kept = max(given_up - lost, 0)
            self.log.warning("frames not finished", extra={"kept_by_broker": kept, "lost": lost})

    @property
    def home_url(self) -> str:
        """The broker of the home bus."""
        return self.settings.broker_url

    @property
    def uplink_url(self) -> str:
        """The broker that leads to the cloud."""
        return self.settings.cloud_broker_url or self.settings.broker_url

    @property
    def served_site(self) -> str | None:
        """The site it works for; ``None`` for any."""
        return self.settings.site

    @property
    def reaches_cloud(self) -> bool:
        """Cloud nodes are on its uplink bus: one was heard of there."""
        return self.peers.any("cloud")

    async def tasks(self) -> Tasks:
        """Subscribe on the home bus, and name the tasks of this node's life. A tier adds its own."""
        home = self.home
        await home.subscribe(STATUS.filter(site=self.settings.site), handler=self._presence.hear)
        await home.subscribe(PREPARE.of(**self._names), handler=self._prepare_asked)
        await home.subscribe(PROBE.of(**self._names), qos=0, handler=self._measuring.asked)
        tasks: Tasks = [("clock", partial(self._listen_for_clocks, home))]
        tasks.append(("cloud", self._hear_clouds if self.uplink is home else self._serve_uplink))
        self._announce("online")
        return [
            ("presence", partial(self._presence.keep, home, taken=self._heartbeat.beat)),
            *(("presence", partial(self._presence.keep, bus)) for bus in self._buses if bus is not home),
            *tasks,
            ("profiles", self._announce_profiles),
            ("models", self._fetcher.keep),
            ("status", self._report),
            ("links", self._watch_links),
            ("expire", self._expire),
            ("ask clocks", self._ask_clocks),
            ("prepare", self._answer_prepare),
            ("probes", self._measuring.answer),
            ("progress", self._measuring.report),
            ("emulation", partial(self._emulation.follow, partial(self._announce, "online"))),
        ]

    async def _serve_uplink(self) -> None:
        """What comes over the way to the cloud; a task of its own, as a site goes on while that way is cut or refused.

        The way back is first: who is there is not known before, so that nothing is sent that could not come back.
        """
        async with asyncio.TaskGroup() as group:
            group.create_task(self._listen_for_clocks(self.uplink), name="clock on the uplink")
            returned = await self._refusals.subscribe(self.uplink, RETURN.of(**self._names))
            group.create_task(self._returns.serve(self.home, aiter(returned)), name="returns")
            await self._hear_clouds()

    async def _hear_clouds(self) -> None:
        await self._refusals.subscribe(self.uplink, STATUS.filter(tier="cloud"), handler=self._presence.hear)

    async def _listen_for_clocks(self, bus: Bus) -> None:
        clocks = await self._refusals.subscribe(bus, CLOCK.filter(**self.asked_as), qos=0)
        echoes = await self._refusals.subscribe(bus, ECHO.filter(**self.asked_as), qos=0)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._clocks.listen(bus, aiter(clocks)), name="clock")
            group.create_task(self._clocks.listen(bus, aiter(echoes)), name="echo")

    @property
    def asked_as(self) -> Mapping[str, str]:
        """The names under which others ask for this node's clock."""
        return self._names

    # ------------------------------------------------------------------ getting ready

    def refuses(self, asked: PrepareSegment) -> str | None:
        """Why a segment is not to be run here; a tier may have reasons."""
        del asked
        return None

    def _prepare_asked(self, delivery: Delivery) -> None:
        try:
            self._asked.put_nowait(delivery)
        except asyncio.QueueFull:  # the hub waits in vain, and says so
            delivery.ack()
            self.counters["prepares_dropped"] += 1

    async def _answer_prepare(self) -> None:
        while True:
            await self._preparation.answer(self.home, await self._asked.get())

    async def _announce_profiles(self) -> None:
        """Say how fast this node is with each of its models; measuring or predicting takes a while, on a thread."""
        settings = self.settings
        for bundle in self.models.bundles():
            self._unprofiled.put_nowait(bundle)
        while True:
            bundle = await self._unprofiled.get()
            profile = await asyncio.to_thread(
                find_profile, bundle, settings.profiles, threads=settings.threads, measure_s=settings.measure_s
            )
            if profile is not None:
                topic = PROFILE.of(**self._names, model=bundle.model)
                try:
                    await self.home.announce(topic, encode_profile(profile))
                except REFUSED as error:
                    self._refusals.note("profile", error)

    def _model_came(self, bundle: Bundle) -> None:
        """A model was fetched from a hub."""
        for node in (self, *self.siblings):
            node._unprofiled.put_nowait(bundle)  # noqa: SLF001 - a node like this one
            node._announce("online")  # noqa: SLF001

    # ------------------------------------------------------------------ presence

    def _status(self, state: NodeState) -> NodeStatus:
        return NodeStatus(
            node=self.settings.node,
            tier=self.tier,
            state=state,
            version=__version__,
            clock_id=self.clock.id,
            models=self.models.names(),
            load=self.condition.figures() if state == "online" else {},
            emulated_link=self._emulation.told(),
            reaches_cloud=self.reaches_cloud,
            power_watts=self.condition.power_watts,
            instance=self._instance,
            sent_unix_s=self.clock.unix_s() if state == "online" else 0.0,
            gateway=self.gateway,
        )

    def _announce(self, state: NodeState) -> None:
        self._presence.say(self._status(state))

    async def _report(self) -> None:
        while True:
            await asyncio.sleep(self.settings.status_every_s)
            await self.condition.measure()
            self._announce("online")

    async def _expire(self) -> None:
        while True:
            await asyncio.sleep(EXPIRE_EVERY_S)
            self.intake.expire()

    async def _watch_links(self) -> None:
        """Frames on their way to a node that has gone are taken back: see `Worker.withdraw_unreachable`."""
        while True:
            await asyncio.sleep(LINK_CHECK_S)
            self.worker.withdraw_unreachable()
            self.worker.resume()

    # ------------------------------------------------------------------ frames in

    def receive_work(self, delivery: Delivery) -> None:
        """Feed the worker: the handler of a subscription to work topics."""
        if self._stopping:  # not acknowledged, so the broker keeps it
            return
        arrived = self.intake.take(delivery)
        if arrived is None:
            return
        try:
            self._ask_clock(arrived.work)
        except Exception:  # a clock that is not asked costs a figure, no frame
            self.counters["faults"] += 1
            self.log.exception("clock not asked")
        self.worker.submit(self._job(arrived))  # last: from here on the frame is the worker's to acknowledge

    def _job(self, arrived: Arrived) -> Job:
        work = arrived.work
        offset = self.offsets.offset(work.sent.clock_id, arrived.received_s)
        if offset is not None:
            wire_s = max(arrived.received_s - (work.sent.seconds + offset.seconds), 0.0)
            if wire_s <= MAX_SECONDS:  # beyond that a clock lied
                wire = Stage(self.settings.node, "wire", wire_s, work.emulated, arrived.payload_bytes)
                work = structs.replace(work, stages=(*work.stages, wire))
        return Job(work=work, arrived_s=arrived.received_s, ack=arrived.ack)

    def _ask_clock(self, work: Work) -> None:
        """Ask the node that sent a frame for its clock, when there is need."""
        start = next((start for start, to in work.plan.hops if to == self.tier), None)
        node = None if start is None else work.plan.node(start)
        if start is None or node is None or self._ask_queue.full():
            return
        if self._clocks.wants(work.sent.clock_id):
            self._ask_queue.put_nowait(CLOCK.of(site=work.site, tier=start, node=node))

    async def _ask_clocks(self) -> None:
        while True:
            topic = await self._ask_queue.get()
            await self._clocks.ask(self.home, topic)
