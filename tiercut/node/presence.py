"""Presence: a node publishes its status on each of its buses, and hears the others'."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

from tiercut.bus import Bus, Delivery
from tiercut.declared import decode_json, encode_json
from tiercut.errors import BadMessage, refuse
from tiercut.heartbeat import Heartbeat
from tiercut.node.context import NodeContext
from tiercut.node.part import Part, Tasks
from tiercut.node.refusals import REFUSED
from tiercut.pipeline.peers import Peers
from tiercut.protocol.nodes import NodeStatus
from tiercut.protocol.topics import STATUS


class Presence(Part):
    """A node's own status on its buses, and what it hears of the others.

    Args:
        context: The node's; its file for health checks is touched whenever the home broker has taken a status.
        peers: Takes in what is heard.

    Attributes:
        listeners: Called when another node has come or gone.
    """

    listeners: list[Callable[[], None]]

    def __init__(self, context: NodeContext, peers: Peers) -> None:
        self._context = context
        self._peers = peers
        self.listeners = []
        self._topic = STATUS.of(**context.names)
        self._heartbeat = Heartbeat(context.settings.heartbeat, context.settings.node)
        #: the newest status
        self._payload = b""
        #: one per bus: there is a newer status than the last one published there
        self._news: list[asyncio.Event] = []

    async def subscribe(self) -> None:
        """Hear of the site's nodes."""
        await self._context.buses.home.subscribe(STATUS.filter(site=self._context.settings.site), handler=self.hear)

    def tasks(self) -> Tasks:
        """One for each bus, so that a silent one does not stop the others."""
        home, *others = self._context.buses
        first = ("presence", partial(self._keep, home, taken=self._heartbeat.beat))
        return [first, *(("presence", partial(self._keep, bus)) for bus in others)]

    def will(self, status: NodeStatus) -> tuple[str, bytes]:
        """What a bus says when it ends: topic and payload of an offline status."""
        return self._topic, encode_json(status)

    def say(self, status: NodeStatus) -> None:
        """Have a status published on every bus; where the one before is still in transit, only the newest follows."""
        self._payload = encode_json(status)
        for news in self._news:
            news.set()

    async def _keep(self, bus: Bus, *, taken: Callable[[], None] = lambda: None) -> None:
        """Publish the status on one bus; ``taken`` is called each time that the broker has taken it."""
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
                self._context.refusals.note("status", error)
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
            self._context.set_aside(error)
            return
        before = self._peers.heard(status, site=names["site"])
        if before is None or before.state != status.state:
            self._context.log.info("peer", extra={"tier": status.tier, "peer": status.node, "state": status.state})
            for listener in self.listeners:
                listener()
