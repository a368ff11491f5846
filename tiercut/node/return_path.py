"""What the cloud made of a node's frames, put on the site's bus by the node that had forwarded them."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator

from tiercut.bus import Bus, Delivery, Message
from tiercut.errors import BadMessage, refuse
from tiercut.node.refusals import REFUSED, Refusals
from tiercut.protocol import events
from tiercut.protocol.results import read_outcome
from tiercut.protocol.topics import DROPPED, RESULT

_TOPICS = {events.RESULT_TYPE: RESULT, events.DROPPED_TYPE: DROPPED}


class Returns:
    """Republishes outcomes on topics of its own site, with the attributes that an outcome has and no others.

    It remembers nothing of the frames: they may have been forwarded before this node started again.

    Args:
        site: The node's site.
        counters: Counts ``bad.<reason>``.
        refusals: Counts outcomes that the site's broker does not take.
    """

    def __init__(self, *, site: str, counters: Counter[str], refusals: Refusals) -> None:
        self._site = site
        self._counters = counters
        self._refusals = refusals

    async def serve(self, home: Bus, returned: AsyncIterator[Delivery]) -> None:
        """Put outcomes on the site's bus until the subscription ends."""
        async for delivery in returned:
            try:
                await self._republish(home, delivery)
            except BadMessage as error:
                self._counters[f"bad.{error.reason}"] += 1
            except REFUSED as error:  # the next one may be taken
                self._refusals.note("outcome", error)
            delivery.ack()

    async def _republish(self, home: Bus, delivery: Delivery) -> None:
        kind = dict(delivery.properties).get("type")
        topic = _TOPICS.get(kind or "")
        if topic is None:
            raise refuse("bad_return", expected=f"a type of {list(_TOPICS)}", came=kind)
        stream, _ = read_outcome(delivery.payload)
        attributes = events.read_attributes(delivery.properties, site=self._site, stream=stream)
        await home.publish(
            Message(
                topic.of(site=self._site, stream=stream),
                delivery.payload,
                properties=attributes,
                content_type=events.CONTENT_TYPE,
            )
        )
