"""What the cloud made of a node's frames, put on the site's bus by the node that had forwarded them."""

from __future__ import annotations

import logging
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator

from tiercut import results
from tiercut.bus import Bus, Delivery
from tiercut.errors import BadMessage, BusError
from tiercut.messages import refuse
from tiercut.topics import DROPPED, RESULT

log = logging.getLogger(__name__)

#: Streams remembered as forwarded; a node serves fewer.
MAX_STREAMS = 4096
_TOPICS = {results.RESULT_TYPE: RESULT, results.DROPPED_TYPE: DROPPED}


class Returns:
    """Republishes outcomes; only of streams that this node has forwarded, and nothing else that comes with them.

    Args:
        site: The node's site.
        counters: Counts ``bad.<reason>`` and ``returns_refused``.
    """

    def __init__(self, *, site: str, counters: Counter[str]) -> None:
        self._site = site
        self._counters = counters
        self._forwarded: OrderedDict[str, None] = OrderedDict()

    def forwarded(self, stream: str) -> None:
        """A frame of a stream was sent on: its outcome may come back here."""
        self._forwarded[stream] = None
        self._forwarded.move_to_end(stream)
        if len(self._forwarded) > MAX_STREAMS:
            self._forwarded.popitem(last=False)

    async def serve(self, home: Bus, returned: AsyncIterator[Delivery]) -> None:
        """Put outcomes on the site's bus until the subscription ends."""
        async for delivery in returned:
            try:
                await self._republish(home, delivery)
            except BadMessage as error:
                self._counters[f"bad.{error.reason}"] += 1
            except BusError as error:  # the site's broker does not take this one; the next may be taken
                self._counters["returns_refused"] += 1
                log.warning("outcome not published", extra={"reason": str(error)})
            delivery.ack()

    async def _republish(self, home: Bus, delivery: Delivery) -> None:
        attributes = {name: value for name, value in delivery.properties if name in results.ATTRIBUTES}
        topic = _TOPICS.get(attributes.get("type", ""))
        if topic is None:
            raise refuse("bad_return", expected=f"a type of {list(_TOPICS)}", came=attributes.get("type"))
        stream, _ = results.read_outcome(delivery.payload)
        if stream not in self._forwarded:
            raise refuse("bad_return", expected="a stream that this node has forwarded", came=stream)
        await home.publish(
            topic.of(site=self._site, stream=stream),
            delivery.payload,
            properties=list(attributes.items()),
            content_type=results.CONTENT_TYPE,
        )
