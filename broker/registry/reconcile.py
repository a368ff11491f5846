"""Compares what the hub has retained on the site's bus with what the broker has kept.

A broker may come back without its memory, or with that of a minute ago; a stream may have been removed while the hub
was away. So after each start and each reconnect the hub looks at what is retained, says again what is missing or old,
and clears what is left over.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from broker.coordination.shell import CoordinatorShell
from broker.registry.answers import Retained
from broker.registry.core import Registry
from broker.registry.events import StatusForgotten
from tiercut.bus import Bus, Delivery, Message
from tiercut.declared import encode_json
from tiercut.node.refusals import Refusals
from tiercut.protocol.nodes import StreamPlan
from tiercut.protocol.streams import encode_assigned
from tiercut.protocol.topics import CONTROL, EXPLAIN, LAST, PLAN, SOURCE, STREAM_STATUS, STREAMS, WANTED, Topic

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


@dataclass(frozen=True, slots=True)
class Said:
    """What the hub had retained at a moment.

    Attributes:
        registry: By the registry.
        plans: Stream → the plan it follows.
    """

    registry: Retained
    plans: Mapping[str, StreamPlan]

    @classmethod
    def by(cls, registry: Registry, coordination: CoordinatorShell) -> Self:
        """What they have said so far."""
        plans = {name: coordination.plan_of(name) for name in registry.names}
        return cls(registry.retained, {name: plan for name, plan in plans.items() if plan is not None})


async def set_right(before: Said, kept: Kept, bus: Bus, registry: Registry, coordination: CoordinatorShell) -> set[str]:
    """Publish again what is missing or old.

    Args:
        before: What had been said when the look at the broker began; what was said since is on its way there.
        kept: What the broker has.
        bus: The site's bus.
        registry: The streams.
        coordination: Their plans.

    Returns:
        Streams of which something is retained that nobody knows: they are to be cleared.
    """
    missing = _missing(before, Said.by(registry, coordination), kept)
    for topic, payload in missing.items():
        await bus.publish(Message(topic, payload, retain=True))
    for name in before.registry.statuses:
        if kept.of(STREAM_STATUS, name) is None:
            registry.handle(StatusForgotten(name))
    if missing:
        log.warning("the broker has forgotten what was retained: publishing it again", extra={"messages": len(missing)})
    return {name for name in kept.streams() if not registry.knows(name)}


def _missing(before: Said, now: Said, kept: Kept) -> dict[str, bytes]:
    """Payloads by topic that were published before and still hold, but that the broker does not have."""
    missing: dict[str, bytes] = {}
    for name, payload in before.registry.wanted.items():
        # What was taken back while the hub was away has come out of its session by now: this was forgotten.
        if now.registry.wanted.get(name) == payload and kept.of(WANTED, name) is None:
            missing[WANTED.of(site=kept.site, stream=name)] = payload
    for name, plan in before.plans.items():
        said = encode_json(plan)
        if now.plans.get(name) == plan and kept.of(PLAN, name) != said:
            missing[PLAN.of(site=kept.site, stream=name)] = said
    for node, streams in before.registry.told.items():
        topic = STREAMS.of(site=kept.site, tier="device", node=node)
        told = encode_assigned(streams) if streams else b""
        if now.registry.told.get(node) == streams and kept.payloads.get(topic, b"") != told:
            missing[topic] = told
    return missing
