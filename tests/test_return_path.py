"""Outcomes from the cloud come back to the site's bus, and nothing else does."""

from __future__ import annotations

import json
from pathlib import Path

from tests.aio import async_test, until
from tests.refusing import guard
from tests.sites import CLOUD_URL, SITE_URL, new_site
from tiercut.bus import Message
from tiercut.bus.memory import MemoryBus
from tiercut.protocol.events import CONTENT_TYPE, DROPPED_TYPE, RESULT_TYPE, event_source
from tiercut.protocol.topics import RESULT, RETURN

TO_EDGE = RETURN.of(site="home", tier="edge", node="e")


def outcome(seq: int, stream: str = "cam") -> bytes:
    return json.dumps({"stream": stream, "seq": seq}).encode()


def said(kind: str = RESULT_TYPE, stream: str = "cam", **more: str) -> dict[str, str]:
    """The attributes of an outcome."""
    source = event_source("home", stream, kind)
    return {"specversion": "1.0", "id": "1", "source": source, "type": kind, "time": "2026-11-21T12:00:00Z"} | more


async def give(cloud: MemoryBus, payload: bytes, attributes: dict[str, str]) -> None:
    """Publish as a cloud node does, and one attribute that is none of an outcome's."""
    properties = [*attributes.items(), ("stranger", "x")]
    await cloud.publish(Message(TO_EDGE, payload, properties=properties, content_type=CONTENT_TYPE))


@async_test
async def test_outcomes_of_frames_forwarded_before_a_restart_are_published(bundles: Path) -> None:
    site = new_site(bundles, two_brokers=True)
    async with site.running(site.edge()) as outcomes, MemoryBus(site.brokers[CLOUD_URL]) as cloud:
        for seq in range(5):  # this edge, just started, has forwarded none of them
            await give(cloud, outcome(seq), said())
        await give(cloud, outcome(5), said(DROPPED_TYPE))
        await outcomes.until(results=5, dropped=1)
    assert outcomes.seqs() == list(range(5))
    assert dict(outcomes.deliveries[0].properties) == said()
    assert outcomes.deliveries[0].content_type == CONTENT_TYPE


@async_test
async def test_attributes_that_an_outcome_may_have_besides_are_handed_on(bundles: Path) -> None:
    site = new_site(bundles, two_brokers=True)
    async with site.running(site.edge()) as outcomes, MemoryBus(site.brokers[CLOUD_URL]) as cloud:
        await give(cloud, outcome(0), said(subject="front.jpg", dataschema="urn:example:1"))
        await outcomes.until(results=1)
    assert dict(outcomes.deliveries[0].properties) == said(subject="front.jpg", dataschema="urn:example:1")


@async_test
async def test_returned_messages_that_are_no_outcome_are_set_aside(bundles: Path) -> None:
    site = new_site(bundles, two_brokers=True)
    edge = site.edge()
    async with site.running(edge) as outcomes, MemoryBus(site.brokers[CLOUD_URL]) as cloud:
        await give(cloud, outcome(0), said() | {"type": "com.example.other"})
        await give(cloud, outcome(0), said(id=""))
        await give(cloud, outcome(0), said(source="/tiercut/home/yard"))  # the payload says another stream
        await give(cloud, outcome(0), said(specversion="0.3"))
        await give(cloud, b"{}", said())
        await give(cloud, outcome(0, stream="a/+/b"), said())
        await give(cloud, outcome(1), said())
        await outcomes.until(results=1)
    assert outcomes.seqs() == [1]
    assert {name: n for name, n in edge.counters.items() if name.startswith("bad.")} == {
        "bad.bad_return": 4,
        "bad.bad_outcome": 1,
        "bad.bad_name": 1,
    }


@async_test
async def test_outcome_that_the_sites_broker_refuses_is_counted_and_the_next_is_published(bundles: Path) -> None:
    site = new_site(bundles, two_brokers=True)
    edge = site.edge()
    secret = RESULT.of(site="home", stream="secret")
    buses = guard(site, edge, {SITE_URL: lambda topic: topic == secret})
    async with site.running(edge) as outcomes, MemoryBus(site.brokers[CLOUD_URL]) as cloud:
        await give(cloud, outcome(0, stream="secret"), said(stream="secret"))
        await give(cloud, outcome(1), said())
        await outcomes.until(results=1)
        await until(lambda: not buses[CLOUD_URL]._unacked)
    assert edge.counters["refused.outcome"] == 1
