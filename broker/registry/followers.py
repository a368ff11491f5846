"""What follows from the registry beside plans and access rules: Home Assistant's entities, last results."""

from __future__ import annotations

from collections.abc import Sequence

from broker import home_assistant
from broker.last_results import LastResults
from broker.registry.answers import RunningStream
from tiercut.bus import Bus, Delivery, Message
from tiercut.node.refusals import REFUSED, Refusals
from tiercut.protocol.topics import LAST, RESULT


class Discovery:
    """Announces streams to Home Assistant, and takes that back.

    Args:
        bus: The site's bus.
        site: The site.
        hub: The hub's node id.
        prefix: Home Assistant's discovery prefix.
        on: Whether to announce; else what an earlier hub has announced is taken back.
        refusals: What the broker refuses.
    """

    def __init__(self, bus: Bus, *, site: str, hub: str, prefix: str, on: bool, refusals: Refusals) -> None:
        self._bus = bus
        self._site = site
        self._hub = hub
        self._prefix = prefix
        self._on = on
        self._refusals = refusals
        #: topic → what is retained there
        self._said: dict[str, bytes] = {}

    async def subscribe(self) -> None:
        """Hear what an earlier hub has announced."""
        topics = home_assistant.topic(self._site, "+", prefix=self._prefix)
        await self._refusals.subscribe(self._bus, topics, handler=self._heard)

    def _heard(self, delivery: Delivery) -> None:
        delivery.ack()
        if delivery.retain and delivery.payload:
            self._said.setdefault(delivery.topic, delivery.payload)

    def stale(self) -> bool:
        """Nothing else counts."""
        return False

    async def streams_changed(self, streams: Sequence[RunningStream]) -> None:
        """Announce those that may run, and no others."""
        wanted: dict[str, bytes] = {}
        for each in streams if self._on else ():
            wanted |= home_assistant.discovery(
                self._site, each.settings, each.bundle, hub=self._hub, prefix=self._prefix
            )
        for topic in (self._said.keys() | wanted.keys()) - {t for t in wanted if self._said.get(t) == wanted[t]}:
            try:
                await self._bus.publish(Message(topic, wanted.get(topic, b""), retain=True))
            except REFUSED as error:
                self._refusals.note("discovery", error)
        self._said = wanted


class Last:
    """Tells `LastResults` which streams want it.

    Args:
        results: Copies them.
        bus: The site's bus.
        site: The site.
        refusals: What the broker refuses.
    """

    def __init__(self, results: LastResults, bus: Bus, *, site: str, refusals: Refusals) -> None:
        self._results = results
        self._bus = bus
        self._site = site
        self._refusals = refusals
        self._told = self._certain = False

    def stale(self) -> bool:
        """Nothing else counts."""
        return False

    async def streams_changed(self, streams: Sequence[RunningStream]) -> None:
        """Those with ``retain_last``; what an earlier hub has retained of others goes."""
        wanted = [each.settings.name for each in streams if each.settings.retain_last]
        self._results.want(wanted)
        if wanted and not self._certain:
            await self._be_certain()
        if not self._told:
            self._told = True
            await self._refusals.subscribe(self._bus, LAST.filter(site=self._site), handler=self._results.left)

    async def _be_certain(self) -> None:
        """Results come with QoS 1 from now on: that of a stream which seldom has one must not be lost.

        A broker knows one subscription per filter, so this raises that of `CoordinatorShell`, which hands them on.
        """
        self._certain = True
        await self._refusals.subscribe(self._bus, RESULT.filter(site=self._site), handler=_taken)


def _taken(delivery: Delivery) -> None:
    delivery.ack()
