"""A broker that refuses a message or a subscription is told of, and does not end a node."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from cloud_node.node import CloudNode
from cloud_node.settings import Settings as CloudSettings
from tests.aio import async_test, until
from tests.brokers import Mosquitto
from tests.refusing import guard
from tests.sites import CLOUD_URL, SITE_URL, by_hand, new_site, noise
from tiercut.bus import Message
from tiercut.bus.memory import MemoryBus
from tiercut.bus.mqtt import MqttBus
from tiercut.bus.settings import MqttSettings
from tiercut.clock import SystemClock
from tiercut.declared import encode_json
from tiercut.model.bundle import Bundle
from tiercut.node.program import MqttOpener
from tiercut.protocol.nodes import PrepareSegment
from tiercut.protocol.topics import PREPARE, PROFILE, READY, RETURN, STATUS


def request(bundle: Bundle, *, site: str = "home") -> bytes:
    """A hub's request to load the whole model."""
    asked = PrepareSegment(site=site, stream="cam", epoch=1, model=bundle.model, start=0, stop=bundle.end)
    return encode_json(asked)


@async_test
async def test_edge_sets_aside_a_request_for_a_foreign_site(bundles: Path, chain: Bundle) -> None:
    site = new_site(bundles)
    edge = site.edge()
    async with site.running(edge) as outcomes, MemoryBus(site.brokers[SITE_URL]) as stranger:
        for asked in (request(chain, site="elsewhere"), request(chain)):
            await stranger.publish(Message(PREPARE.of(site="home", tier="edge", node="e"), asked))
        await until(lambda: bool(outcomes.deliveries))
    assert [delivery.topic for delivery in outcomes.deliveries] == [READY.of(site="home", stream="cam")]
    assert edge.counters["bad.wrong_site"] == 1


@async_test
async def test_cloud_node_answers_requests_of_any_site(bundles: Path, chain: Bundle) -> None:
    site = new_site(bundles)
    async with site.running(site.cloud()) as outcomes, MemoryBus(site.brokers[SITE_URL]) as hub:
        for name in ("home", "elsewhere"):
            await hub.publish(Message(PREPARE.of(site="cloud", tier="cloud", node="c"), request(chain, site=name)))
        await until(lambda: len(outcomes.deliveries) == 2)
    assert {delivery.topic.split("/")[2] for delivery in outcomes.deliveries} == {"home", "elsewhere"}


@async_test
async def test_refused_answer_to_a_request_is_counted_and_the_node_goes_on(bundles: Path, chain: Bundle) -> None:
    site = new_site(bundles)
    cloud = site.cloud()
    foreign = READY.of(site="elsewhere", stream="cam")
    guard(site, cloud, {SITE_URL: lambda topic: topic == foreign})
    async with site.running(cloud) as outcomes, MemoryBus(site.brokers[SITE_URL]) as hub:
        for name in ("elsewhere", "home"):
            await hub.publish(Message(PREPARE.of(site="cloud", tier="cloud", node="c"), request(chain, site=name)))
        await until(lambda: bool(outcomes.deliveries))
    assert cloud.counters["refused.ready"] == 1


@async_test
async def test_refused_answer_at_a_real_broker_leaves_the_node_online(chain: Bundle, tmp_path: Path) -> None:
    rules = tmp_path / "acl"
    rules.write_text("topic readwrite tiercut/v1/cloud/#\n", encoding="utf-8")
    with Mosquitto(tmp_path, f"acl_file {rules}") as broker:
        folder = chain.folder.parent
        settings = CloudSettings(site="cloud", node="c", broker_url=broker.url, bundles=folder, status_every_s=0.1)
        cloud = CloudNode(settings, open_bus=MqttOpener(settings, "cloud"))
        stop = asyncio.Event()
        async with MqttBus(MqttSettings(url=broker.url), clock=SystemClock()) as hub:
            running = asyncio.create_task(cloud.run(stop))
            statuses = aiter(await hub.subscribe(STATUS.filter(tier="cloud")))
            await anext(statuses)
            await hub.publish(Message(PREPARE.of(site="cloud", tier="cloud", node="c"), request(chain)))
            await until(lambda: running.done() or cloud.counters["refused.ready"] == 1)
            status = json.loads((await anext(statuses)).payload)
            while not status["load"].get("refused.ready"):
                status = json.loads((await anext(statuses)).payload)
            stop.set()
            await running
    assert status["state"] == "online"


@async_test
async def test_refused_profiles_are_counted_and_the_node_goes_on(bundles: Path, chain: Bundle) -> None:
    site = new_site(bundles)
    edge = site.edge()
    guard(site, edge, {SITE_URL: lambda topic: PROFILE.parse(topic) is not None})
    nodes = site.hub(by_hand(chain)), site.cloud(), edge, site.device(noise(chain))
    async with site.running(*nodes) as outcomes:
        await until(lambda: edge.counters["refused.profile"] == 2)  # one per model
        await outcomes.until(results=10)


@async_test
async def test_refused_status_on_the_uplink_leaves_the_site_as_it_is(bundles: Path) -> None:
    site = new_site(bundles, two_brokers=True)
    edge = site.edge()
    guard(site, edge, {CLOUD_URL: lambda topic: STATUS.parse(topic) is not None})
    async with MemoryBus(site.brokers[SITE_URL]) as hub, site.running(edge):
        statuses = aiter(await hub.subscribe(STATUS.filter(site="home")))
        for _ in range(4):
            status = json.loads((await anext(statuses)).payload)
    assert status["state"] == "online"
    assert edge.counters["refused.status"] >= 2


def is_status(topic: str) -> bool:
    return topic == STATUS.filter(tier="cloud")


def is_return(topic: str) -> bool:
    return RETURN.parse(topic) is not None


@pytest.mark.parametrize("refused", [is_status, is_return])
def test_edge_whose_uplink_refuses_a_subscription_works_alone_until_it_is_granted(
    bundles: Path, chain: Bundle, refused: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tiercut.node.refusals.ASK_AGAIN_FIRST_S", 0.1)

    @async_test
    async def run() -> None:
        site = new_site(bundles, two_brokers=True)
        edge = site.edge()
        buses = guard(site, edge, {CLOUD_URL: refused})
        device = site.device(noise(chain, frames=None, fps=50))
        async with site.running(site.hub(by_hand(chain)), site.cloud(), edge, device) as outcomes:
            await outcomes.until(results=5)
            assert {result["finished_by"] for result in outcomes.results} == {"e"}
            await until(lambda: edge.counters["refused.subscription"] >= 2)
            buses[CLOUD_URL].refuses = lambda _topic: False
            await until(lambda: outcomes.results[-1]["finished_by"] == "c")

    run()


@async_test
async def test_node_whose_only_broker_hides_the_clouds_works_alone(bundles: Path, chain: Bundle) -> None:
    site = new_site(bundles)
    edge = site.edge()
    guard(site, edge, {SITE_URL: is_status})
    async with site.running(site.hub(by_hand(chain)), site.cloud(), edge, site.device(noise(chain))) as outcomes:
        await outcomes.until(results=10)
    assert {result["finished_by"] for result in outcomes.results} == {"e"}
