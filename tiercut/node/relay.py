"""Outcomes of frames that end on a device, put on the cloud's bus by an edge: devices are on their site's bus only."""

from __future__ import annotations

from tiercut.bus import Delivery, Message
from tiercut.bus.base import nothing
from tiercut.errors import BadMessage
from tiercut.node.context import NodeContext
from tiercut.node.part import Part
from tiercut.node.return_path import ReturnPath
from tiercut.pipeline.cloud_outcomes import CloudOutcomes, Outcome
from tiercut.protocol import events
from tiercut.protocol.results import read_outcome
from tiercut.protocol.topics import RELAY


class Relay(Part):
    """Takes outcomes of the site's devices to the cloud's bus, and tells the site of each.

    They are acknowledged when they come, as one that waits for the cloud would hold up those of others: what is lost
    with this node has no outcome, so its device counts it, or sends it again.

    Args:
        context: The edge's.
        cloud: Takes outcomes to the cloud's bus.
        return_path: Puts outcomes on the site's bus.
    """

    def __init__(self, context: NodeContext, cloud: CloudOutcomes, return_path: ReturnPath) -> None:
        self._context = context
        self._cloud = cloud
        self._return_path = return_path

    async def subscribe(self) -> None:
        """Hear outcomes of devices, where the cloud's bus is another."""
        if self._context.buses.are_two:
            topic = RELAY.filter(**self._context.names)
            await self._context.refusals.subscribe(self._context.buses.home, topic, handler=self._hear)

    def _hear(self, delivery: Delivery) -> None:
        home = self._return_path.read(delivery)
        if home is None:
            return
        delivery.ack()
        try:
            stream, seq = read_outcome(home.payload)
            names = RELAY.check(delivery.topic, stream=stream)
        except BadMessage as error:
            self._context.set_aside(error)
            return
        waits = (events.DELIVERY, "every") in delivery.properties
        self._cloud.send(Outcome(site=names["site"], stream=stream, seq=seq, home=home, waits=waits), self._publish)

    def _publish(self, message: Message) -> None:
        self._return_path.publish(message, nothing)
