"""Buses in memory that a test makes refuse topics, or fall silent."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

from tests.sites import Site
from tiercut.bus import Message, Posted, Subscription, Taken
from tiercut.bus.memory import MemoryBroker, MemoryBus
from tiercut.bus.posting import Pending
from tiercut.errors import BrokerRefused, PublishRefused
from tiercut.node.node import Node


def _words(what: str) -> dict[str, str]:
    return {"what": what, "expected": "'success'", "came": "'not authorized'", "fix": "check the access rules"}


class GuardedBus(MemoryBus):
    """A bus whose broker has access rules.

    Attributes:
        refuses: Whether the broker refuses to publish on a topic, or to subscribe to a filter.
        refused: How often, by topic or filter.
        answers: While cleared, announcements are not answered, and the connection seems to be there.
    """

    def __init__(self, broker: MemoryBroker, *, will: tuple[str, bytes], receive_maximum: int = 64) -> None:
        super().__init__(broker, will=will, receive_maximum=receive_maximum)
        self.refuses: Callable[[str], bool] = lambda _topic: False
        self.refused: Counter[str] = Counter()
        self.answers = asyncio.Event()
        self.answers.set()

    def post(self, message: Message, taken: Taken) -> Posted:
        try:
            self._check(message.topic, PublishRefused)
        except PublishRefused as error:
            posted = Pending(message, taken)
            asyncio.get_running_loop().call_soon(posted.end, error)
            return posted
        return super().post(message, taken)

    async def announce(self, topic: str, payload: bytes, **more: Any) -> None:
        await self.answers.wait()
        self._check(topic, PublishRefused)
        await super().announce(topic, payload, **more)

    async def subscribe(self, topic_filter: str, **more: Any) -> Subscription:
        self._check(topic_filter, BrokerRefused)
        return await super().subscribe(topic_filter, **more)

    def _check(self, topic: str, error: type[BrokerRefused | PublishRefused]) -> None:
        if self.refuses(topic):
            self.refused[topic] += 1
            raise error(**_words(f"not on {topic}"))


def guard(site: Site, node: Node, refuses: dict[str, Callable[[str], bool]] | None = None) -> dict[str, GuardedBus]:
    """Give a node such buses; they are in the dictionary by url when it has opened them."""
    buses: dict[str, GuardedBus] = {}

    def open_bus(url: str, *, will: tuple[str, bytes]) -> GuardedBus:
        bus = GuardedBus(site.brokers[url], will=will)
        bus.refuses = (refuses or {}).get(url, bus.refuses)
        buses[url] = bus
        return bus

    node.context.buses.open_bus = open_bus
    return buses
