"""What the hub has retained on the site's bus, held against what the broker says that it keeps.

A broker may come back without its memory, or with that of a minute ago; a stream may have been removed while the hub
was away. So after each start and each reconnect the hub looks at what is retained, says again what is missing or old,
and clears what is left over.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

from broker.registry import Registry
from broker.registry_entries import Reader
from broker.shell import CoordinatorShell
from tiercut.bus import Bus, Delivery
from tiercut.jsonwire import encode_stream_plan
from tiercut.refusals import Refusals
from tiercut.stream_talk import encode_assigned
from tiercut.topics import CONTROL, EXPLAIN, LAST, PLAN, SOURCE, STREAM_STATUS, STREAMS, WANTED, Topic

log = logging.getLogger(__name__)

#: What a broker has retained comes within this after a subscription.
KEPT_S = 1.0
#: All that may be left over of a stream.
OF_STREAMS = (STREAM_STATUS, PLAN, EXPLAIN, SOURCE, LAST, CONTROL)


@dataclass(frozen=True, slots=True)
class Kept:
    """What a broker has retained of a site's streams.

    Attributes:
        payloads: By topic.
        site: The site.
    """

    payloads: dict[str, bytes]
    site: str

    def of(self, topic: Topic, stream: str) -> bytes | None:
        """The payload of a stream's topic, ``None`` where there is none."""
        return self.payloads.get(topic.of(site=self.site, stream=stream))

    def streams(self) -> set[str]:
        """Names of all streams of which the hub has retained something."""
        ours = (STREAM_STATUS, PLAN, EXPLAIN, LAST)
        found = (topic.parse(name) for topic in ours for name in self.payloads)
        return {names["stream"] for names in found if names is not None}


async def look(bus: Bus, site: str, refusals: Refusals) -> Kept:
    """Ask a broker what it has retained."""
    kept: dict[str, bytes] = {}

    def heard(delivery: Delivery) -> None:
        delivery.ack()
        if delivery.payload and delivery.retain:
            kept[delivery.topic] = delivery.payload

    filters = [topic.filter(site=site) for topic in (*OF_STREAMS, WANTED)]
    filters.append(STREAMS.filter(site=site, tier="device"))
    subscriptions = [await refusals.subscribe(bus, each, handler=heard) for each in filters]
    await asyncio.sleep(KEPT_S)
    for subscription in subscriptions:
        await subscription.close()
    return Kept(kept, site)


async def set_right(kept: Kept, bus: Bus, registry: Registry, shell: CoordinatorShell) -> set[str]:
    """Say again what is missing or old.

    Returns:
        Streams of which something is retained that nobody knows: they are to be cleared.
    """
    site, said = kept.site, 0
    for name, entry in list(registry.entries.items()):
        # What was taken back while the hub was away has come out of its session by now: this was forgotten.
        if not entry.fixed and kept.of(WANTED, name) is None:
            await bus.publish(WANTED.of(site=site, stream=name), entry.payload, retain=True)
            said += 1
        ours = shell.plan_of(name)
        if ours is not None and kept.of(PLAN, name) != encode_stream_plan(ours):
            await bus.publish(PLAN.of(site=site, stream=name), encode_stream_plan(ours), retain=True)
            said += 1
        if kept.of(STREAM_STATUS, name) is None:
            entry.said = None  # said anew at the next look
    for node, reader in registry.readers.items():
        said += await _assign_again(kept, bus, node, reader)
    if said:
        log.warning("the broker has forgotten some of what was retained: it is said again", extra={"messages": said})
    return kept.streams() - registry.entries.keys() - registry.by_hand


async def _assign_again(kept: Kept, bus: Bus, node: str, reader: Reader) -> int:
    topic = STREAMS.of(site=kept.site, tier="device", node=node)
    wanted = encode_assigned(reader.told) if reader.told else b""
    if reader.told is None or kept.payloads.get(topic, b"") == wanted:
        return 0
    await bus.publish(topic, wanted, retain=True)
    return 1
