"""The registry's shell: feeds it from the site's bus, and carries out its actions."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from broker.coordination.shell import CoordinatorShell
from broker.registry import reconcile
from broker.registry.actions import Action, Assign, PlanStream, Remove, SayStatus, Unplan
from broker.registry.answers import RunningStream
from broker.registry.core import Registry
from broker.registry.events import (
    AssignmentFailed,
    AssignmentHeard,
    EdgeHeard,
    ModelsFound,
    PlanTroubles,
    ReaderHeard,
    ReportHeard,
    StreamWanted,
    Tick,
)
from tiercut.alarm import Alarm
from tiercut.bus import Delivery, ManagedBus, Message
from tiercut.clock import Clock
from tiercut.declared import decode_json, encode_json
from tiercut.model.bundle import Bundle
from tiercut.node.message_guard import MessageGuard
from tiercut.node.refusals import REFUSED, Refusals
from tiercut.protocol.nodes import NodeStatus
from tiercut.protocol.streams import SourceReport, decode_assigned, encode_assigned
from tiercut.protocol.topics import EXPLAIN, PLAN, SOURCE, STATUS, STREAM_STATUS, STREAMS, WANTED, Topic

log = logging.getLogger(__name__)

#: How often the registry is asked for actions: while a stream does not run as it should, and else.
TICK_S, CALM_S = 0.25, 1.0


class Follower(Protocol):
    """Is told which streams may run, whenever that changes."""

    async def streams_changed(self, streams: Sequence[RunningStream]) -> None:
        """Act on it; must not raise."""
        ...

    def stale(self) -> bool:
        """Whether something else has changed that it depends on; cheap."""
        ...


class RegistryShell:
    """Connects the registry with the site's bus.

    Args:
        site: The site.
        registry: What decides.
        models: Gives the hub's models by name; cheap.
        coordination: Plans the streams.
        clock: Its time.
        home: The site's bus.
        counters: Counts ``bad.<reason>``, ``streams_refused``.
        refusals: What the broker refuses.
        followers: Who is told of changes before a node is told to read a sensor: access, discovery.
    """

    def __init__(
        self,
        *,
        site: str,
        registry: Registry,
        models: Callable[[], Mapping[str, Bundle]],
        coordination: CoordinatorShell,
        clock: Clock,
        home: ManagedBus,
        counters: Counter[str],
        refusals: Refusals,
        followers: tuple[Follower, ...] = (),
    ) -> None:
        self._site = site
        self._registry = registry
        self._models = models
        self._coordination = coordination
        self._clock = clock
        self._home = home
        self._refusals = refusals
        self._followers = followers
        self._guard = MessageGuard(counters, clock)
        self._followed: Sequence[RunningStream] | None = None
        #: the models, and the troubles with plans, that the registry was told last
        self._told_models: Mapping[str, Bundle] = {}
        self._told_troubles: Mapping[str, str] = {}
        #: the registry's actions were carried out once: what is retained for nodes is our own from then on
        self._started = False
        #: streams that were removed, and of which a node may still speak
        self._removed: set[str] = set()
        #: those of which one has published
        self._late: set[str] = set()
        #: rings when something was heard: tick now, not at the next regular time
        self._alarm = Alarm()
        #: the connections after which what is retained was set right, and whether to look again
        self._seen = -1
        self._reconnected = asyncio.Event()

    async def subscribe(self) -> None:
        """Listen; what is retained comes first."""
        site = self._site
        await self._listen(WANTED.filter(site=site), self._wanted)
        for tier in ("edge", "device"):
            await self._listen(STATUS.filter(site=site, tier=tier), self._status)
        await self._listen(STREAMS.filter(site=site, tier="device"), self._assigned)
        await self._listen(SOURCE.filter(site=site), self._source)

    async def run(self) -> None:
        """Look at the registry whenever something was heard, and a few times a second, forever."""
        while True:
            self.look_for_models()
            self._look_for_troubles()
            actions = self._registry.handle(Tick(self._clock.monotonic_s(), self._clock.unix_s()))
            self._started = True
            await self._tell_followers()  # access first: nodes act on the rest at once
            for action in actions:
                await self._carry_out(action)
            for stream in list(self._late):
                self._late.discard(stream)
                await self._clear(stream, (SOURCE,))
            if self._home.connected and self._seen != self._home.counters["reconnects"]:
                self._reconnected.set()
            await self._alarm.rest(CALM_S if self._registry.settled else TICK_S)

    def wake(self) -> None:
        """Something is new: tick now, not at the next regular time."""
        self._alarm.wake()

    def look_for_models(self) -> None:
        """Tell the registry which models there are, where that has changed."""
        models = self._models()
        if models != self._told_models:
            self._told_models = models
            self._registry.handle(ModelsFound(models))

    def _look_for_troubles(self) -> None:
        """Tell it why streams have no better plan, where that has changed."""
        names = self._registry.names
        troubles = {name: why for name in names if (why := self._coordination.trouble_of(name))}
        if troubles != self._told_troubles:
            self._told_troubles = troubles
            self._registry.handle(PlanTroubles(troubles))

    async def keep_right(self) -> None:
        """What is retained has to be what we have said, after the start and each reconnect; see `retained`."""
        while True:
            await self._reconnected.wait()
            self._reconnected.clear()
            self._seen = self._home.counters["reconnects"]
            before = reconcile.Said.by(self._registry, self._coordination)
            kept = await reconcile.look(self._home, self._site, self._refusals)
            for name in await reconcile.set_right(before, kept, self._home, self._registry, self._coordination):
                await self._carry_out(Remove(name))
            self.wake()

    # ------------------------------------------------------------------ in

    async def _listen(self, topic_filter: str, handler: Callable[[Delivery], None]) -> None:
        def taken(delivery: Delivery) -> None:
            handler(delivery)
            self.wake()

        await self._refusals.subscribe(self._home, topic_filter, handler=self._guard.guarded(taken))

    def _wanted(self, delivery: Delivery) -> None:
        names = WANTED.parse(delivery.topic)
        if names is None:
            return
        self._registry.handle(StreamWanted(names["stream"], delivery.payload))

    def _status(self, delivery: Delivery) -> None:
        if not delivery.payload:
            return
        status = decode_json(NodeStatus, delivery.payload)
        names = STATUS.check(delivery.topic, tier=status.tier, node=status.node)
        if names["tier"] == "edge":
            self._registry.handle(EdgeHeard(status.node))
        else:
            self._registry.handle(ReaderHeard(status, self._clock.monotonic_s()))

    def _assigned(self, delivery: Delivery) -> None:
        names = STREAMS.parse(delivery.topic)
        if names is None or not delivery.retain or self._started:  # later ones are its own
            return
        good, _ = decode_assigned(delivery.payload)  # what cannot be read is published again
        self._registry.handle(AssignmentHeard(names["node"], tuple(good)))

    def _source(self, delivery: Delivery) -> None:
        if not delivery.payload:
            return
        report = decode_json(SourceReport, delivery.payload)
        SOURCE.check(delivery.topic, stream=report.stream)
        self._registry.handle(ReportHeard(report))
        self._coordination.source_heard(report)
        if report.stream in self._removed and self._registry.find(report.stream) is None:
            self._late.add(report.stream)  # its node did not know yet

    # ------------------------------------------------------------------ out

    async def _tell_followers(self) -> None:
        streams = self._registry.running
        changed, self._followed = streams != self._followed, streams
        for follower in self._followers:
            if changed or follower.stale():
                await follower.streams_changed(streams)

    async def _carry_out(self, action: Action) -> None:
        try:
            match action:
                case Assign(node, streams):
                    topic = STREAMS.of(site=self._site, tier="device", node=node)
                    names = ", ".join(each.settings.name for each in streams)
                    log.info("sensors given out", extra={"to": node, "streams": names})
                    await self._home.publish(Message(topic, encode_assigned(streams) if streams else b"", retain=True))
                    self._removed -= {each.settings.name for each in streams}
                case SayStatus(status):
                    topic = STREAM_STATUS.of(site=self._site, stream=status.stream)
                    await self._home.publish(Message(topic, encode_json(status), retain=True))
                case PlanStream(goal):
                    self._coordination.want(goal)
                case Unplan(stream):
                    self._coordination.unwant(stream)
                    await self._clear(stream, (PLAN, EXPLAIN))
                case Remove(stream):
                    self._coordination.unwant(stream)
                    self._removed.add(stream)
                    await self._clear(stream, reconcile.OF_STREAMS)
        except REFUSED as error:
            self._refusals.note("registry", error)
            if isinstance(action, Assign):
                self._registry.handle(AssignmentFailed(action.node))

    async def _clear(self, stream: str, topics: Iterable[Topic]) -> None:
        """Nothing of a stream stays retained on these topics."""
        for topic in topics:
            await self._home.publish(Message(topic.of(site=self._site, stream=stream), b"", retain=True))
