"""What the nodes of all three tiers have in common: buses, presence, clocks, and a `Worker` fed from the bus.

`iot_node`, `edge_node` and `cloud_node` are this with tasks of their own.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import Counter
from collections.abc import AsyncIterator, Coroutine
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import replace
from typing import ClassVar, Protocol

from tiercut import __version__, results
from tiercut.bus import Bus, Delivery
from tiercut.chunks import split
from tiercut.clock import Clock, SystemClock
from tiercut.clock_service import ClockService
from tiercut.clocksync import ClockOffsets
from tiercut.errors import BadMessage
from tiercut.frame import Forward
from tiercut.intake import Arrived, Intake
from tiercut.jsonwire import decode_node_status, encode_node_status
from tiercut.messages import ClockStamp, Dropped, NodeState, NodeStatus, Stage, Work, refuse
from tiercut.node_settings import NodeSettings
from tiercut.peers import Peers
from tiercut.plan import Tier
from tiercut.processing import Job, Processor
from tiercut.stopping import Stopped, unless
from tiercut.store import ModelStore
from tiercut.topics import CLOCK, DROPPED, RESULT, RETURN, STATUS, WORK
from tiercut.wire import encode_work
from tiercut.worker import Worker

#: How long frames in hand may take to finish after SIGTERM; with the goodbye a node is gone within 5 s.
DRAIN_S = 3.0
#: A frame of a ``latest`` stream is of no use to anybody after this long in a broker.
LATEST_EXPIRY_S = 10
#: How often frames are looked for that are being sent to a node that is gone.
LINK_CHECK_S = 0.1


class OpenBus(Protocol):
    """Opens a bus: MQTT in programs, in memory in tests."""

    def __call__(self, url: str, *, will: tuple[str, bytes]) -> AbstractAsyncContextManager[Bus]:
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
        processor = Processor(
            tier=self.tier,
            node=settings.node,
            clock=self.clock,
            models=self.models,
            offsets=self.offsets,
            reachable=self.reachable,
            counters=self.counters,
            may_fall_back=settings.fall_back,
        )
        self.worker = Worker(
            node=settings.node,
            processor=processor,
            outlets=self,
            counters=self.counters,
            threads=settings.workers,
            may_fall_back=settings.fall_back,
        )
        self.intake = Intake(clock=self.clock, counters=self.counters)
        self._names = {"site": settings.site, "tier": self.tier, "node": settings.node}
        self._clocks = ClockService(own_topic=CLOCK.of(**self._names), clock=self.clock, offsets=self.offsets)
        self._open_bus = open_bus
        #: clock topics to be asked
        self._ask_queue: asyncio.Queue[str] = asyncio.Queue()
        self._stopping = False
        self._busy_before_s = (self.clock.monotonic_s(), 0.0)
        self.home: Bus
        self.uplink: Bus

    # ------------------------------------------------------------------ life

    async def run(self, stop: asyncio.Event) -> None:
        """Work until ``stop`` is set, then finish what is in hand and say goodbye."""
        async with AsyncExitStack() as stack:
            will = (STATUS.of(**self._names), encode_node_status(self._status("offline")))
            self.home = await stack.enter_async_context(self._open_bus(self.home_url, will=will))
            self.uplink = self.home
            if self.uplink_url != self.home_url:
                self.uplink = await stack.enter_async_context(self._open_bus(self.uplink_url, will=will))
            try:
                await self._work(stop, await unless(stop, self.tasks()))
            except Stopped:
                self.log.info("stopped before its broker was there")
            # closing the buses says goodbye: they publish their will

    async def _work(self, stop: asyncio.Event, tasks: list[tuple[str, Coroutine[None, None, None]]]) -> None:
        async with asyncio.TaskGroup() as group:
            running = [group.create_task(task, name=name) for name, task in tasks]
            self.log.info("ready", extra={"site": self.settings.site, "tier": self.tier, "home": self.home_url})
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

    async def tasks(self) -> list[tuple[str, Coroutine[None, None, None]]]:
        """Subscribe, and name the tasks of this node's life. A tier adds its own."""
        tasks = await self._answer_clock(self.home)
        site = await self.home.subscribe(STATUS.filter(site=self.settings.site))
        clouds = await self.uplink.subscribe(STATUS.filter(tier="cloud"))
        tasks += [
            ("peers of the site", self._watch_peers(aiter(site))),
            ("peers in the cloud", self._watch_peers(aiter(clouds))),
        ]
        if self.uplink is not self.home:
            returned = await self.uplink.subscribe(RETURN.of(**self._names))
            tasks.append(("returns", self._republish(aiter(returned))))
            tasks += await self._answer_clock(self.uplink)
        await self._announce("online")
        tasks += [("status", self._report()), ("links", self._watch_links()), ("ask clocks", self._ask_clocks())]
        return tasks

    async def _answer_clock(self, bus: Bus) -> list[tuple[str, Coroutine[None, None, None]]]:
        probes = await bus.subscribe(self.clock_filter, qos=0)
        side = "home" if bus is self.home else "uplink"
        return [(f"clock on {side}", self._clocks.listen(bus, aiter(probes)))]

    @property
    def clock_filter(self) -> str:
        """Where others ask for this node's clock."""
        return CLOCK.of(**self._names)

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
            emulated_link=str(link) if (link := self.settings.emulated_link) else None,
        )

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
        for bus in {id(bus): bus for bus in (self.home, self.uplink)}.values():
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

    async def _watch_peers(self, statuses: AsyncIterator[Delivery]) -> None:
        async for delivery in statuses:
            delivery.ack()
            try:
                status = decode_node_status(delivery.payload)
            except BadMessage as error:
                self.counters[f"bad.{error.reason}"] += 1
                continue
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
        work = replace(
            work,
            captured=captured,
            sent=ClockStamp(self.clock.id, now_s),
            return_to=RETURN.of(**self._names) if bus is not self.home else None,
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
        await self._publish_outcome(topic, results.build_dropped(dropped), work, results.DROPPED_TYPE)

    async def _republish(self, returned: AsyncIterator[Delivery]) -> None:
        """Put on the site's bus what the cloud made of this node's frames."""
        topics = {results.RESULT_TYPE: RESULT, results.DROPPED_TYPE: DROPPED}
        async for delivery in returned:
            topic = topics.get(dict(delivery.properties).get("type", ""))
            try:
                if topic is None:
                    raise refuse("bad_return", expected=f"a type of {list(topics)}", came=delivery.properties)
                stream, _ = results.read_outcome(delivery.payload)
            except BadMessage as error:
                self.counters[f"bad.{error.reason}"] += 1
                delivery.ack()
                continue
            await self.home.publish(
                topic.of(site=self.settings.site, stream=stream),
                delivery.payload,
                properties=delivery.properties,
                content_type=delivery.content_type,
            )
            delivery.ack()

    async def _publish_outcome(self, topic: str, payload: bytes, work: Work, kind: str) -> None:
        attributes = results.attributes(work, kind=kind, unix_s=self.clock.unix_s())
        await self.home.publish(topic, payload, properties=attributes, content_type=results.CONTENT_TYPE)
