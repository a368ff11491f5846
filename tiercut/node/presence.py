"""Presence: a node says how it is on each of its buses, and hears the others say so."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable

from tiercut.bus import Bus, Delivery
from tiercut.declared import decode_json, encode_json
from tiercut.errors import BadMessage, refuse
from tiercut.node.refusals import REFUSED, Refusals
from tiercut.pipeline.peers import Peers
from tiercut.protocol.nodes import NodeStatus
from tiercut.protocol.topics import STATUS


class Presence:
    """A node's own status on its buses, and what it hears of the others.

    Args:
        topic: The node's status topic.
        peers: Takes in what is heard.
        refusals: Counts statuses that a broker does not take.
        counters: Counts ``bad.<reason>``.
        logger: The node's log.
    """

    def __init__(
        self, *, topic: str, peers: Peers, refusals: Refusals, counters: Counter[str], logger: logging.Logger
    ) -> None:
        self._topic = topic
        self._peers = peers
        self._refusals = refusals
        self._counters = counters
        self._log = logger
        #: the newest status
        self._payload = b""
        #: one per bus: there is a newer status than the last one published there
        self._news: list[asyncio.Event] = []

    def say(self, status: NodeStatus) -> None:
        """Have a status published on every bus; where the one before is still under way, only the newest follows."""
        self._payload = encode_json(status)
        for news in self._news:
            news.set()

    async def keep(self, bus: Bus, *, taken: Callable[[], None] = lambda: None) -> None:
        """Publish on one bus what is said; a task for each bus, so that a silent one does not stop the others.

        Args:
            bus: Where.
            taken: Told each time that the broker has taken a status.
        """
        news = asyncio.Event()
        self._news.append(news)
        if self._payload:
            news.set()
        while True:
            await news.wait()
            news.clear()
            try:
                await bus.announce(self._topic, self._payload)
            except REFUSED as error:
                self._refusals.note("status", error)
            else:
                taken()

    def hear(self, delivery: Delivery) -> None:
        """Another node's status: the handler of subscriptions to status topics."""
        delivery.ack()
        try:
            status = decode_json(NodeStatus, delivery.payload)
            names = STATUS.parse(delivery.topic)
            if names is None or (names["tier"], names["node"]) != (status.tier, status.node):
                raise refuse("bad_status", expected=f"the node of {delivery.topic}", came=(status.tier, status.node))
        except BadMessage as error:
            self._counters[f"bad.{error.reason}"] += 1
            return
        before = self._peers.heard(status, site=names["site"])
        if before is None or before.state != status.state:
            self._log.info("peer", extra={"tier": status.tier, "peer": status.node, "state": status.state})
