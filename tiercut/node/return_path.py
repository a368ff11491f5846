"""What the cloud made of a node's frames, put on the site's bus by the node that had forwarded them."""

from __future__ import annotations

from collections.abc import AsyncIterator

from tiercut.bus import Delivery, Message
from tiercut.errors import BadMessage, refuse
from tiercut.node.context import NodeContext
from tiercut.node.refusals import REFUSED
from tiercut.protocol import events
from tiercut.protocol.results import read_outcome
from tiercut.protocol.topics import DROPPED, RESULT

_TOPICS = {events.RESULT_TYPE: RESULT, events.DROPPED_TYPE: DROPPED}


class ReturnPath:
    """Republishes outcomes on topics of its own site, with the attributes that an outcome has and no others.

    It remembers nothing of the frames: they may have been forwarded before this node started again.
    """

    def __init__(self, context: NodeContext) -> None:
        self._context = context

    async def serve(self, returned: AsyncIterator[Delivery]) -> None:
        """Put outcomes on the site's bus until the subscription ends."""
        async for delivery in returned:
            try:
                await self._republish(delivery)
            except BadMessage as error:
                self._context.set_aside(error)
            except REFUSED as error:  # the next one may be taken
                self._context.refusals.note("outcome", error)
            delivery.ack()

    async def _republish(self, delivery: Delivery) -> None:
        kind = dict(delivery.properties).get("type")
        topic = _TOPICS.get(kind or "")
        if topic is None:
            raise refuse("bad_return", expected=f"a type of {list(_TOPICS)}", came=kind)
        site = self._context.settings.site
        stream, _ = read_outcome(delivery.payload)
        attributes = events.read_attributes(delivery.properties, site=site, stream=stream)
        await self._context.buses.home.publish(
            Message(
                topic.of(site=site, stream=stream),
                delivery.payload,
                properties=attributes,
                content_type=events.CONTENT_TYPE,
            )
        )
