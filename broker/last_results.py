"""The last result of streams that want it kept: a retained copy on the stream's ``last`` topic."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable

from tiercut.bus import Bus, Delivery, Message
from tiercut.errors import BadMessage
from tiercut.node.refusals import REFUSED, Refusals
from tiercut.protocol import events
from tiercut.protocol.topics import LAST

#: Seconds between two copies for one stream: to get every result, subscribe to the results.
EVERY_S = 1.0


class LastResults:
    """Copies results, attributes and all, at most one per stream and `EVERY_S`; the newest one is always copied.

    Args:
        site: The hub's site.
        bus: The site's bus.
        counters: Counts ``bad.<reason>``.
        refusals: Counts copies that the broker does not take.
        every_s: Seconds between two copies of a stream.
    """

    def __init__(
        self, *, site: str, bus: Bus, counters: Counter[str], refusals: Refusals, every_s: float = EVERY_S
    ) -> None:
        self._site = site
        self._bus = bus
        self._counters = counters
        self._refusals = refusals
        self._every_s = every_s
        self._wanted: frozenset[str] = frozenset()
        #: stream → its newest result that is not copied yet; ``None``: the retained copy is to be cleared
        self._newest: dict[str, Delivery | None] = {}
        self._news = asyncio.Event()

    def want(self, streams: Iterable[str]) -> None:
        """Keep the last result of these streams and of no others."""
        before, self._wanted = self._wanted, frozenset(streams)
        for stream in before - self._wanted:
            self._put(stream, None)

    def heard(self, stream: str, delivery: Delivery) -> None:
        """A result of a stream has come; cheap for streams that do not want it."""
        if stream in self._wanted:
            self._put(stream, delivery)

    def left(self, delivery: Delivery) -> None:
        """A retained result was there before us: it goes where its stream does not want it any more.

        The handler of a subscription to ``last`` topics, made when the wanted streams are known.
        """
        delivery.ack()
        names = LAST.parse(delivery.topic)
        if names is not None and delivery.payload and names["stream"] not in self._wanted:
            self._put(names["stream"], None)

    def _put(self, stream: str, delivery: Delivery | None) -> None:
        self._newest[stream] = delivery
        self._news.set()

    async def keep(self) -> None:
        """Copy what has come, forever."""
        while True:
            await self._news.wait()
            self._news.clear()
            newest, self._newest = self._newest, {}
            for stream, delivery in newest.items():
                await self._copy(stream, delivery)
            await asyncio.sleep(self._every_s)

    async def _copy(self, stream: str, delivery: Delivery | None) -> None:
        topic = LAST.of(site=self._site, stream=stream)
        try:
            if delivery is None:
                await self._bus.publish(Message(topic, b"", retain=True))
                return
            attributes = events.read_attributes(delivery.properties, site=self._site, stream=stream)
            await self._bus.publish(
                Message(topic, delivery.payload, retain=True, properties=attributes, content_type=events.CONTENT_TYPE)
            )
        except BadMessage as error:
            self._counters[f"bad.{error.reason}"] += 1
        except REFUSED as error:
            self._refusals.note("last", error)
