"""What the nodes of all three tiers have in common: buses, presence, clocks, and a `Worker` fed from the bus.

`iot_node`, `edge_node` and `cloud_node` are this with tasks of their own.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import ClassVar, Protocol

from tiercut import __version__, results
from tiercut.bus import Bus, Delivery, ManagedBus
from tiercut.bus.linked import LinkedBus
from tiercut.chunks import split
from tiercut.clock import Clock, SystemClock
from tiercut.clock_service import ClockService
from tiercut.clocksync import ClockOffsets
from tiercut.errors import BadMessage
from tiercut.frame import Forward
from tiercut.intake import Arrived, Intake
from tiercut.jsonwire import decode_node_status, encode_dropped, encode_node_status
from tiercut.messages import ClockStamp, Dropped, NodeState, NodeStatus, PrepareSegment, Stage, Work, refuse
from tiercut.node_settings import NodeSettings
from tiercut.peers import Peers
from tiercut.plan import Tier
from tiercut.preparation import Preparation, find_profile
from tiercut.processing import Job, Processor
from tiercut.profile_wire import encode_profile
from tiercut.returns import Returns
from tiercut.settings import masked_url
from tiercut.stopping import Stopped, unless
from tiercut.store import ModelStore
from tiercut.topics import CLOCK, DROPPED, PREPARE, PROFILE, RESULT, RETURN, STATUS, WORK
from tiercut.wire import encode_work
from tiercut.worker import Worker

#: How long frames in hand may take to finish after SIGTERM; with the goodbye a node is gone within 5 s.
DRAIN_S = 2.0
#: A frame of a ``latest`` stream is of no use to anybody after this long in a broker.
LATEST_EXPIRY_S = 10
#: How often frames are looked for that are being sent to a node that is gone.
LINK_CHECK_S = 0.1


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
    """

    tier: ClassVar[Tier]

    def __init__(self, settings: NodeSettings, *, open_bus: OpenBus, clock: Clock | None = None) -> None:
        self.settings = settings
        self.clock: Clock = clock or SystemClock()
        self.counters: Counter[str] = Counter()
        self.log = logging.getLogger(settings.node)
        self.models = ModelStore(
            settings.bundles, threads=settings.threads, cache_bytes=settings.segment_cache_mb * 1024 * 1024
        )
        self.offsets = ClockOffsets(self.clock.id)
        self.peers = Peers()
        self._processor = Processor(
            tier=self.tier,
            node=settings.node,
            clock=self.clock,
            models=self.models,
            offsets=self.offsets,
            reachable=self.reachable,
            counters=self.counters,
            may_fall_back=settings.fall_back,
            slowdown=settings.emulated_slowdown,
        )
        self.worker = Worker(
            node=settings.node,
            processor=self._processor,
            outlets=self,
            counters=self.counters,
            threads=settings.workers,
            may_fall_back=settings.fall_back,
        )
        self.intake = Intake(clock=self.clock, counters=self.counters)
        self._names = {"site": settings.site, "tier": self.tier, "node": settings.node}
        self._clocks = ClockService(own_topic=CLOCK.of(**self._names), clock=self.clock, offsets=self.offsets)
        self._open_bus = open_bus
        self._preparation = Preparation(node=settings.node, models=self.models, refuses=self.refuses)
        #: requests to load a segment
        self._asked: asyncio.Queue[Delivery] = asyncio.Queue()
        #: clock topics to be asked
        self._ask_queue: asyncio.Queue[str] = asyncio.Queue()
        self._stopping = False
        self._busy_before_s = (self.clock.monotonic_s(), 0.0)
        self._returns = Returns(site=settings.site, counters=self.counters)
        self._buses: list[ManagedBus] = []
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
        will = (STATUS.of(**self._names), encode_node_status(self._status("offline")))
        urls = [self.home_url] if self.uplink_url == self.home_url else [self.home_url, self.uplink_url]
        for url in urls:
            bus = self._open_bus(url, will=will)
            await stack.enter_async_context(bus)
            self._buses.append(bus)
        self.home, self.uplink = self._buses[0], self._buses[-1]

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
        if given_up:
            self.log.warning("frames not finished: the broker keeps them", extra={"frames": given_up})

    @property
    def home_url(self) -> str:
        """The broker of the home bus."""
        return self.settings.broker_url

    @property
    def uplink_url(self) -> str:
        """The broker that leads to the cloud."""
        return self.settings.cloud_broker_url or self.settings.broker_url

    @property
    def reaches_cloud(self) -> bool:
        """Cloud nodes are on its uplink bus: one was heard of there."""
        return self.peers.any("cloud")

    async def tasks(self) -> Tasks:
        """Subscribe on the home bus, and name the tasks of this node's life. A tier adds its own."""
        home = self.home
        await home.subscribe(STATUS.filter(site=self.settings.site), handler=self._peer_heard)
        await home.subscribe(PREPARE.of(**self._names), handler=self._prepare_asked)
        clocks = await home.subscribe(self.clock_filter, qos=0)
        tasks: Tasks = [("clock", lambda: self._clocks.listen(home, aiter(clocks)))]
        if self.uplink is home:
            await home.subscribe(STATUS.filter(tier="cloud"), handler=self._peer_heard)
        else:
            tasks.append(("uplink", self._serve_uplink))
        await self._announce("online")
        return [
            *tasks,
            ("profiles", self._announce_profiles),
            ("status", self._report),
            ("links", self._watch_links),
            ("ask clocks", self._ask_clocks),
            ("prepare", self._answer_prepare),
            ("emulation", self._emulate),
        ]

    async def _serve_uplink(self) -> None:
        """What comes over the way to the cloud; a task of its own, as a site goes on while that way is cut."""
        await self.uplink.subscribe(STATUS.filter(tier="cloud"), handler=self._peer_heard)
        clocks = await self.uplink.subscribe(self.clock_filter, qos=0)
        returned = await self.uplink.subscribe(RETURN.of(**self._names))
        async with asyncio.TaskGroup() as group:
            group.create_task(self._clocks.listen(self.uplink, aiter(clocks)), name="clock on the uplink")
            group.create_task(self._returns.serve(self.home, aiter(returned)), name="returns")

    @property
    def clock_filter(self) -> str:
        """Where others ask for this node's clock."""
        return CLOCK.of(**self._names)

    # ------------------------------------------------------------------ getting ready

    def refuses(self, asked: PrepareSegment) -> str | None:
        """Why a segment is not to be run here; a tier may have reasons."""
        del asked
        return None

    def _prepare_asked(self, delivery: Delivery) -> None:
        self._asked.put_nowait(delivery)

    async def _answer_prepare(self) -> None:
        while True:
            await self._preparation.answer(self.home, await self._asked.get())

    async def _announce_profiles(self) -> None:
        """Say how fast this node is with each of its models; measuring or predicting takes a while, on a thread."""
        settings = self.settings
        for bundle in self.models.bundles():
            profile = await asyncio.to_thread(
                find_profile, bundle, settings.profiles, threads=settings.threads, measure_s=settings.measure_s
            )
            if profile is not None:
                topic = PROFILE.of(**self._names, model=bundle.model)
                await self.home.announce(topic, encode_profile(profile))

    # ------------------------------------------------------------------ presence

    def _status(self, state: NodeState) -> NodeStatus:
        return NodeStatus(
            node=self.settings.node,
            tier=self.tier,
            state=state,
            version=__version__,
            clock_id=self.clock.id,
            models=self.models.names(),
            load=self.load() if state == "online" else {},
            emulated_link=self._emulated(),
            reaches_cloud=self.reaches_cloud,
            power_watts=self.settings.power_watts,
        )

    def _emulated(self) -> str | None:
        """What of this node is not real, in words."""
        link = self._buses[-1].emulated if self._buses else None
        slowdown = self._processor.slowdown
        words = [link, f"emulated slowdown: {slowdown:g}" if slowdown > 1 else None]
        return "; ".join(word for word in words if word) or None

    async def _emulate(self) -> None:
        """Change what is emulated when its time has come."""
        start_s = self.clock.monotonic_s()
        for step in sorted(self.settings.emulation, key=lambda each: each.at_s):
            await asyncio.sleep(max(0.0, start_s + step.at_s - self.clock.monotonic_s()))
            if step.slowdown is not None:
                self._processor.slowdown = step.slowdown
            for bus in self._buses:
                if isinstance(bus, LinkedBus):
                    link = bus.link.settings
                    delay_s = link.delay_s if step.delay_ms is None else step.delay_ms / 1e3
                    bus.link.settings = replace(link, rate_mbps=step.mbps or link.rate_mbps, delay_s=delay_s)
            self.log.warning("emulation changed", extra={"now": self._emulated()})
            await self._announce("online")

    def load(self) -> dict[str, float]:
        """Figures of now: frames waiting, the share of thread time used since the last call, all counters."""
        now_s, busy_s = self.clock.monotonic_s(), self.worker.busy_s
        then_s, busy_then_s = self._busy_before_s
        self._busy_before_s = (now_s, busy_s)
        period_s = max(now_s - then_s, 1e-9) * self.settings.workers
        figures = {"waiting": float(self.worker.waiting), "busy": round(min((busy_s - busy_then_s) / period_s, 1.0), 4)}
        return figures | {name: float(count) for name, count in sorted(self.counters.items())}

    async def _announce(self, state: NodeState) -> None:
        payload = encode_node_status(self._status(state))
        for bus in self._buses:
            await bus.announce(STATUS.of(**self._names), payload)

    async def _report(self) -> None:
        while True:
            await asyncio.sleep(self.settings.status_every_s)
            self.intake.expire()
            await self._announce("online")

    async def _watch_links(self) -> None:
        """Frames on their way to a node that has gone are taken back: see `Worker.withdraw_unreachable`."""
        while True:
            await asyncio.sleep(LINK_CHECK_S)
            self.worker.withdraw_unreachable()

    def _peer_heard(self, delivery: Delivery) -> None:
        delivery.ack()
        try:
            status = decode_node_status(delivery.payload)
            names = STATUS.parse(delivery.topic)
            if names is None or (names["tier"], names["node"]) != (status.tier, status.node):
                raise refuse("bad_status", expected=f"the node of {delivery.topic}", came=(status.tier, status.node))
        except BadMessage as error:
            self.counters[f"bad.{error.reason}"] += 1
            return
        before = self.peers.heard(status)
        if before is None or before.state != status.state:
            self.log.info("peer", extra={"tier": status.tier, "peer": status.node, "state": status.state})

    # ------------------------------------------------------------------ frames in

    def receive_work(self, delivery: Delivery) -> None:
        """Feed the worker: the handler of a subscription to work topics."""
        if self._stopping:  # not acknowledged, so the broker keeps it
            return
        arrived = self.intake.take(delivery)
        if arrived is not None:
            self.worker.submit(self._job(arrived))
            self._ask_clock(arrived.work)

    def _job(self, arrived: Arrived) -> Job:
        work = arrived.work
        offset = self.offsets.offset(work.sent.clock_id, arrived.received_s)
        if offset is not None:
            wire_s = max(arrived.received_s - (work.sent.seconds + offset.seconds), 0.0)
            wire = Stage(self.settings.node, "wire", wire_s, work.emulated, arrived.payload_bytes)
            work = replace(work, stages=(*work.stages, wire))
        return Job(work=work, arrived_s=arrived.received_s, ack=arrived.ack)

    def _ask_clock(self, work: Work) -> None:
        """Ask the node that sent a frame for its clock, when there is need."""
        start = next((start for start, to in work.plan.hops if to == self.tier), None)
        node = None if start is None else work.plan.node(start)
        if start is not None and node is not None and self._clocks.wants(work.sent.clock_id):
            self._ask_queue.put_nowait(CLOCK.of(site=work.site, tier=start, node=node))

    async def _ask_clocks(self) -> None:
        while True:
            topic = await self._ask_queue.get()
            await self._clocks.ask(self.home, topic)

    # ------------------------------------------------------------------ frames out (worker.Outlets)

    def reachable(self, tier: Tier, node: str) -> bool:
        """Its bus is connected and its last word was that it is online."""
        bus = self.uplink if tier == "cloud" else self.home
        return bus.connected and self.peers.online(tier, node)

    async def forward(self, work: Work, to: Forward) -> None:
        """Send a frame to the next node, in chunks where the broker's packets are smaller."""
        bus = self.uplink if to.tier == "cloud" else self.home
        now_s = self.clock.monotonic_s()
        captured = work.captured
        if (offset := self.offsets.offset(captured.clock_id, now_s)) is not None:
            captured = ClockStamp(self.clock.id, captured.seconds + offset.seconds)  # the next node asks only us
        return_to = None
        if bus is not self.home:
            return_to = RETURN.of(**self._names)
            self._returns.forwarded(work.stream)
        work = replace(
            work,
            captured=captured,
            sent=ClockStamp(self.clock.id, now_s),
            return_to=return_to,
            emulated=bus.emulated is not None,
        )
        expiry_s = LATEST_EXPIRY_S if work.delivery == "latest" else None
        if work.deadline_s is not None and expiry_s is not None:
            expiry_s = min(expiry_s, math.ceil(work.deadline_s))
        topic = WORK.of(site=work.site, tier=to.tier, node=to.node)
        first, *others = split(encode_work(work), bus.max_payload_bytes)
        if others:
            await asyncio.gather(*(bus.publish(topic, part, expiry_s=expiry_s) for part in (first, *others)))
        else:
            await bus.publish(topic, first, expiry_s=expiry_s)

    async def finish(self, work: Work, result: bytes) -> None:
        """Publish a result where it belongs: on the stream's topic, or back to the node that forwarded the frame."""
        topic = work.return_to or RESULT.of(site=work.site, stream=work.stream)
        await self._publish_outcome(topic, result, work, results.RESULT_TYPE)

    async def drop(self, work: Work, dropped: Dropped) -> None:
        """Publish that there is no result."""
        topic = work.return_to or DROPPED.of(site=work.site, stream=work.stream)
        await self._publish_outcome(topic, encode_dropped(dropped), work, results.DROPPED_TYPE)

    async def _publish_outcome(self, topic: str, payload: bytes, work: Work, kind: str) -> None:
        attributes = results.attributes(work, kind=kind, unix_s=self.clock.unix_s())
        await self.home.publish(topic, payload, properties=attributes, content_type=results.CONTENT_TYPE)
