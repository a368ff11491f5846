"""Outcomes from the cloud come back to the site's bus, and nothing else does."""

from __future__ import annotations

import json
from pathlib import Path

from tests.aio import async_test, until
from tests.refusing import guard
from tests.sites import CLOUD_URL, SITE_URL, new_site
from tiercut.bus.memory import MemoryBus
from tiercut.results import CONTENT_TYPE, DROPPED_TYPE, RESULT_TYPE
from tiercut.topics import RESULT, RETURN

TO_EDGE = RETURN.of(site="home", tier="edge", node="e")


def outcome(seq: int, stream: str = "cam") -> bytes:
    return json.dumps({"stream": stream, "seq": seq}).encode()


async def give(cloud: MemoryBus, payload: bytes, kind: str = RESULT_TYPE) -> None:
    """Publish as a cloud node does, and one attribute that is none of an outcome's."""
    properties = [("type", kind), ("id", "1"), ("stranger", "x")]
    await cloud.publish(TO_EDGE, payload, properties=properties, content_type=CONTENT_TYPE)


@async_test
async def test_outcomes_of_frames_forwarded_before_a_restart_are_published(bundles: Path) -> None:
    site = new_site(bundles, two_brokers=True)
    async with site.running(site.edge()) as outcomes, MemoryBus(site.brokers[CLOUD_URL]) as cloud:
        for seq in range(5):  # this edge, just started, has forwarded none of them
            await give(cloud, outcome(seq))
        await give(cloud, outcome(5), DROPPED_TYPE)
        await outcomes.until(results=5, dropped=1)
    assert outcomes.seqs() == list(range(5))
    assert dict(outcomes.deliveries[0].properties) == {"type": RESULT_TYPE, "id": "1"}


@async_test
async def test_returned_messages_that_are_no_outcome_are_set_aside(bundles: Path) -> None:
    site = new_site(bundles, two_brokers=True)
    edge = site.edge()
    async with site.running(edge) as outcomes, MemoryBus(site.brokers[CLOUD_URL]) as cloud:
        await give(cloud, outcome(0), kind="com.example.other")
        await give(cloud, b"{}")
        await give(cloud, outcome(0, stream="a/+/b"))
        await give(cloud, outcome(1))
        await outcomes.until(results=1)
    assert outcomes.seqs() == [1]
    assert {name: n for name, n in edge.counters.items() if name.startswith("bad.")} == {
        "bad.bad_return": 1,
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
        await give(cloud, outcome(0, stream="secret"))
        await give(cloud, outcome(1))
        await outcomes.until(results=1)
        await until(lambda: not buses[CLOUD_URL]._unacked)
    assert edge.counters["refused.outcome"] == 1
