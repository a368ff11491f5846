"""The registry's shell: feeds it from the site's bus, and carries out what it says."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

import msgspec

from broker.coordination.shell import CoordinatorShell
from broker.registry import reconcile
from broker.registry.core import Registry
from broker.registry.entries import Action, Assign, PlanStream, Remove, SayStatus, Unplan
from tiercut.bus import Delivery, ManagedBus, Message
from tiercut.clock import Clock
from tiercut.declared import decode_json, encode_json
from tiercut.errors import SettingsError
from tiercut.node.message_guard import Hearing
from tiercut.node.refusals import REFUSED, Refusals
from tiercut.protocol.nodes import NodeStatus
from tiercut.protocol.stream_settings import StreamSettings
from tiercut.protocol.streams import SourceReport, decode_assigned, encode_assigned, encode_wanted
from tiercut.protocol.topics import EXPLAIN, PLAN, SOURCE, STATUS, STREAM_STATUS, STREAMS, WANTED, Topic
from tiercut.settings import from_table, to_table

log = logging.getLogger(__name__)

#: How often the registry is looked at.
TICK_S = 0.25
#: How long an added stream may take to be spoken of.
ANSWER_S = 5.0


class Follower(Protocol):
    """Is told which streams there are, whenever that changes."""

    async def streams_changed(self, registry: Registry) -> None:
        """Act on it; must not raise."""
        ...

    def stale(self) -> bool:
        """Whether something else has changed that it depends on; cheap."""
        ...


class Registrar:
    """Connects the registry with the site's bus; the hub's `http_streams.StreamsApi`.

    Args:
        site: The site.
        registry: What decides.
        shell: Plans the streams.
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
        shell: CoordinatorShell,
        clock: Clock,
        home: ManagedBus,
        counters: Counter[str],
        refusals: Refusals,
        followers: tuple[Follower, ...] = (),
    ) -> None:
        self._site = site
        self._registry = registry
        self._shell = shell
        self._clock = clock
        self._home = home
        self._refusals = refusals
        self._followers = followers
        self._hearing = Hearing(counters, clock)
        self._followed: object = None
        #: a look at the registry was carried out: what is retained for nodes is our own from then on
        self._started = False
        #: streams that were removed, and of which a node may still speak
        self._removed: set[str] = set()
        #: of which one has spoken
        self._late: set[str] = set()
        #: set when something was heard: it is looked at now, not at the next tick
        self._news = asyncio.Event()

    async def subscribe(self) -> None:
        """Listen; what is retained comes first."""
        site = self._site
        await self._listen(WANTED.filter(site=site), self._wanted)
        for tier in ("edge", "device"):
            await self._listen(STATUS.filter(site=site, tier=tier), self._status)
        await self._listen(STREAMS.filter(site=site, tier="device"), self._assigned)
        await self._listen(SOURCE.filter(site=site), self._source)

    async def run(self) -> None:
        """Look at the registry whenever something was heard, and a few times a second, for ever."""
        while True:
            actions = self._registry.tick(self._clock.monotonic_s(), self._clock.unix_s())
            self._started = True
            await self._tell_followers()  # access first: nodes act on the rest at once
            for action in actions:
                await self._carry_out(action)
            for stream in list(self._late):
                self._late.discard(stream)
                await self._clear(stream, (SOURCE,))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TICK_S):
                    await self._news.wait()
            self._news.clear()

    async def keep_right(self) -> None:
        """What is retained has to be what we have said, after the start and each reconnect; see `retained`."""
        seen = -1
        while True:
            connections = self._home.counters["reconnects"]
            if self._home.connected and self._started and seen != connections:
                seen = connections
                before = reconcile.Said.by(self._registry, self._shell)
                kept = await reconcile.look(self._home, self._site, self._refusals)
                for name in await reconcile.set_right(before, kept, self._home, self._registry, self._shell):
                    await self._carry_out(Remove(name))
                self._news.set()
            await asyncio.sleep(TICK_S)

    # ------------------------------------------------------------------ in

    async def _listen(self, topic_filter: str, handler: Callable[[Delivery], None]) -> None:
        def taken(delivery: Delivery) -> None:
            handler(delivery)
            self._news.set()

        await self._refusals.subscribe(self._home, topic_filter, handler=self._hearing.guarded(taken))

    def _wanted(self, delivery: Delivery) -> None:
        names = WANTED.parse(delivery.topic)
        if names is None:
            return
        self._registry.wanted_heard(names["stream"], delivery.payload)

    def _status(self, delivery: Delivery) -> None:
        if not delivery.payload:
            return
        status = decode_json(NodeStatus, delivery.payload)
        names = STATUS.check(delivery.topic, tier=status.tier, node=status.node)
        if names["tier"] == "edge":
            self._registry.edge_heard(status.node)
        else:
            self._registry.status_heard(status, self._clock.monotonic_s())

    def _assigned(self, delivery: Delivery) -> None:
        names = STREAMS.parse(delivery.topic)
        if names is None or not delivery.retain or self._started:  # later ones are its own
            return
        good, _ = decode_assigned(delivery.payload)  # what cannot be read is said anew
        self._registry.assigned_heard(names["node"], good)

    def _source(self, delivery: Delivery) -> None:
        if not delivery.payload:
            return
        report = decode_json(SourceReport, delivery.payload)
        SOURCE.check(delivery.topic, stream=report.stream)
        self._registry.report_heard(report)
        if report.stream in self._removed and report.stream not in self._registry.entries:
            self._late.add(report.stream)  # its node did not know yet

    # ------------------------------------------------------------------ out

    async def _tell_followers(self) -> None:
        streams = self._registry.streams()
        changed, self._followed = streams != self._followed, streams
        for follower in self._followers:
            if changed or follower.stale():
                await follower.streams_changed(self._registry)

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
                    self._shell.want(goal)
                case Unplan(stream):
                    self._shell.unwant(stream)
                    await self._clear(stream, (PLAN, EXPLAIN))
                case Remove(stream):
                    self._shell.unwant(stream)
                    self._removed.add(stream)
                    await self._clear(stream, reconcile.OF_STREAMS)
        except REFUSED as error:
            self._refusals.note("registry", error)
            if isinstance(action, Assign):
                self._registry.readers[action.node].told = None  # tried again

    async def _clear(self, stream: str, topics: Iterable[Topic]) -> None:
        """Nothing of a stream stays retained on these topics."""
        for topic in topics:
            await self._home.publish(Message(topic.of(site=self._site, stream=stream), b"", retain=True))

    # ------------------------------------------------------------------ the hub's HTTP API

    def listing(self) -> list[dict[str, Any]]:
        """The status of each stream, by name."""
        said = (entry.said for _, entry in sorted(self._registry.entries.items()))
        return [msgspec.to_builtins(status) for status in said if status is not None]

    def show(self, name: str) -> dict[str, Any] | None:
        """A stream's status and settings; ``None`` where there is none."""
        entry = self._registry.entries.get(name)
        if entry is None:
            return None
        status = {} if entry.said is None else msgspec.to_builtins(entry.said)
        return status | {"settings": None if entry.settings is None else to_table(entry.settings)}

    async def add(self, name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Add a stream, or change it.

        Returns:
            Its status.

        Raises:
            SettingsError: it does not fit; nothing is changed.
            BusError: the broker does not take it.
        """
        wanted = from_table(StreamSettings, {"name": name} | dict(settings), where=f"the stream '{name}'")
        self._registry.check(wanted)
        await self._home.publish(Message(WANTED.of(site=self._site, stream=name), encode_wanted(wanted), retain=True))
        self._registry.wanted_heard(name, encode_wanted(wanted))
        self._news.set()
        return await self._spoken_of(name, wanted)

    async def _spoken_of(self, name: str, wanted: StreamSettings) -> dict[str, Any]:
        until_s = self._clock.monotonic_s() + ANSWER_S
        while self._clock.monotonic_s() < until_s:
            entry = self._registry.entries.get(name)
            said = None if entry is None or entry.settings != wanted else entry.said
            if said is not None and said.state != "waiting":
                break
            await asyncio.sleep(TICK_S)
        return self.show(name) or {}

    async def remove(self, name: str) -> bool:
        """Remove a stream; false where there is none.

        Raises:
            SettingsError: it stands in the hub's settings.
            BusError: the broker does not take it.
        """
        entry = self._registry.entries.get(name)
        if entry is None:
            return False
        if entry.fixed:
            raise SettingsError(
                f"the stream '{name}' cannot be removed",
                expected="a stream that was added while the hub ran",
                came="one that stands in the hub's settings",
                fix="remove it there, and start the hub again",
            )
        await self._home.publish(Message(WANTED.of(site=self._site, stream=name), b"", retain=True))
        self._registry.wanted_heard(name, b"")
        self._news.set()
        return True
