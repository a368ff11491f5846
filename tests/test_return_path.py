"""Outcomes from the cloud come back to the site's bus, and nothing else does."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from tests.aio import async_test, until
from tests.refusing import guard
from tests.sites import CLOUD_URL, SITE_URL, new_site
from tiercut.bus import Delivery, Message
from tiercut.bus.memory import MemoryBus
from tiercut.codecs.encode import encode_tensor
from tiercut.declared import encode_json
from tiercut.model.bundle import Bundle
from tiercut.plan import Plan
from tiercut.protocol.envelope import encode_work
from tiercut.protocol.events import CONTENT_TYPE, DROPPED_TYPE, RESULT_TYPE, event_source
from tiercut.protocol.frames import ClockStamp, Work
from tiercut.protocol.nodes import NodeStatus
from tiercut.protocol.topics import RESULT, RETURN, STATUS, WORK

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


async def device_says(bus: MemoryBus, state: str) -> None:
    """A device comes or goes."""
    status = NodeStatus(node="d", tier="device", state=state, version="0")  # type: ignore[arg-type]
    topic = STATUS.of(site="home", tier="device", node="d")
    await bus.publish(Message(topic, encode_json(status), retain=True))


@async_test
async def test_outcome_that_a_device_puts_in_order_goes_to_it_while_it_is_there(bundles: Path) -> None:
    site, returned = new_site(bundles, two_brokers=True), list[Delivery]()
    edge = site.edge()
    async with (
        site.running(edge) as outcomes,
        MemoryBus(site.brokers[CLOUD_URL]) as cloud,
        MemoryBus(site.brokers[SITE_URL]) as home,
    ):
        await home.subscribe(RETURN.of(site="home", tier="device", node="d"), handler=returned.append)
        await device_says(home, "online")
        await until(lambda: edge.peers.online("device", "d"))
        await give(cloud, outcome(0), said() | {"device": "d"})
        await give(cloud, outcome(1), said(DROPPED_TYPE) | {"device": "d"})
        await until(lambda: len(returned) == 2)
        await device_says(home, "offline")
        await until(lambda: edge.peers.gone("device", "d"))
        await give(cloud, outcome(2), said() | {"device": "d"})
        await outcomes.until(results=1)
        await give(cloud, outcome(3), said() | {"device": "a/+/b"})
        await until(lambda: edge.counters["bad.bad_name"] == 1)
    assert [dict(each.properties) for each in returned] == [said(), said(DROPPED_TYPE)]
    assert (outcomes.seqs(), outcomes.dropped) == ([2], [])
    assert dict(outcomes.deliveries[-1].properties) == said()


@async_test
async def test_edge_gives_a_device_its_outcomes_while_it_is_there(bundles: Path, chain: Bundle) -> None:
    site, returned = new_site(bundles), list[Delivery]()
    edge, end = site.edge(), chain.end
    plan = Plan(epoch=1, first_cut=0, second_cut=end, device="d", edge="e", codecs=("raw",))
    async with site.running(edge) as outcomes, MemoryBus(site.brokers[SITE_URL]) as home:
        await home.subscribe(RETURN.of(site="home", tier="device", node="d"), handler=returned.append)

        async def send(seq: int) -> None:
            arrays = chain.to_inputs(np.zeros((16, 16, 3), np.uint8), "full")
            tensors = tuple(encode_tensor(name, array, "raw", {}) for name, array in arrays.items())
            stamp = ClockStamp("far", 1.0)
            work = Work(
                site="home",
                stream="cam",
                seq=seq,
                model=chain.model,
                plan=plan,
                delivery="every",
                cut=0,
                captured_unix_s=1.0,
                captured=stamp,
                sent=stamp,
                tensors=tensors,
                outcomes="device",
            )
            topic = WORK.of(site="home", tier="edge", node="e", stream="cam")
            await home.publish(Message(topic, encode_work(work)))

        await device_says(home, "online")
        await until(lambda: edge.peers.online("device", "d"))
        await send(0)
        await until(lambda: len(returned) == 1)
        await device_says(home, "offline")
        await until(lambda: edge.peers.gone("device", "d"))
        await send(1)
        await outcomes.until(results=1)
    assert outcomes.seqs() == [1]
    assert json.loads(returned[0].payload)["seq"] == 0
