"""Results that the cloud waits for are on its bus, whoever finishes the frame, over a site's broker and the cloud's."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.aio import async_test, until
from tests.brokers import Mosquitto
from tests.cloud_brokers import Heard, two_brokers
from tests.mixing import Live, live, mix
from tests.sites import noise
from tiercut.bus import Delivery, Message
from tiercut.declared import encode_json
from tiercut.model.bundle import Bundle
from tiercut.pipeline import cloud_outcomes
from tiercut.pipeline.cloud_outcomes import CloudOutcomes
from tiercut.protocol.nodes import NodeStatus
from tiercut.protocol.stream_settings import StreamSettings
from tiercut.protocol.topics import RELAY, STATUS


def to_cloud(bundle: Bundle, **more: Any) -> StreamSettings:
    return noise(bundle, width=16, height=16, results_to="cloud", timeout_s=2.0, **more)


async def until_the_edge_leads_to_the_cloud(site: Live) -> None:
    """The edge knows of the cloud node, and the device of the edge."""
    ready = asyncio.Event()

    def hear(delivery: Delivery) -> None:
        delivery.ack()
        if json.loads(delivery.payload).get("reaches_cloud"):
            ready.set()

    await site.bus.subscribe(STATUS.of(site="home", tier="edge", node="e"), handler=hear)
    await ready.wait()
    await until(lambda: site.device.peers.relays == {"e": True})


@pytest.fixture
def climbed(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Outcomes that each node publishes on the cloud's bus."""
    counts, send = Counter[str](), CloudOutcomes.send

    def counted(self: CloudOutcomes, outcome: Any, then: Any) -> None:
        counts[self._node] += 1
        send(self, outcome, then)

    monkeypatch.setattr(CloudOutcomes, "send", counted)
    return counts


@pytest.mark.parametrize(
    ("plan", "direct", "publishes"),
    [
        ("device", False, "e"),
        ("device", True, "d"),
        ("edge", False, "e"),
        ("all", False, "c"),
        ("cloud", True, "c"),
    ],
)
@async_test
async def test_result_is_on_the_clouds_bus_once_and_its_device_hears_of_it(
    plan: str, direct: bool, publishes: str, *, bundles: Path, chain: Bundle, tmp_path: Path, climbed: Counter[str]
) -> None:
    settings = to_cloud(chain, frames=40)
    async with two_brokers(tmp_path, bundles, settings, "e", "c", direct=direct) as (site, heard, _):
        await until_the_edge_leads_to_the_cloud(site)
        await site.follow(mix(chain, {plan: 1.0}))
        await until(lambda: site.device.counters["frames_done"] == 40)
        await until(lambda: len(heard.results) == 40)
    assert heard.results == list(range(40))
    assert set(heard.names.values()) == {1}
    assert site.seqs == list(range(40))
    assert not site.dropped
    assert climbed == {publishes: 40}


@async_test
async def test_results_of_several_plans_are_on_the_clouds_bus_once_each(
    bundles: Path, chain: Bundle, tmp_path: Path
) -> None:
    shares = {"device": 0.4, "edge": 0.3, "all": 0.3}
    async with two_brokers(tmp_path, bundles, to_cloud(chain, frames=100), "e", "c") as (site, heard, _):
        await until_the_edge_leads_to_the_cloud(site)
        await site.follow(mix(chain, shares))
        await until(lambda: site.device.counters["frames_done"] == 100)
        await until(lambda: len(heard.results) == 100)
    assert site.seqs == list(range(100))  # in order at the site
    assert sorted(heard.results) == list(range(100))
    assert set(heard.names.values()) == {1}
    assert set(site.ways()) == set(shares)


async def until_some_are_there(site: Live, heard: Heard) -> None:
    await until(lambda: len(heard.results) >= 20 and len(heard.results) == len(site.results))


@pytest.mark.parametrize("plan", ["device", "edge"])
@async_test
async def test_every_frame_is_in_the_cloud_after_its_broker_was_away(
    plan: str, bundles: Path, chain: Bundle, tmp_path: Path
) -> None:
    settings = to_cloud(chain, frames=60, fps=20)
    async with two_brokers(tmp_path, bundles, settings, "e", "c") as (site, heard, cloud):
        await until_the_edge_leads_to_the_cloud(site)
        await site.follow(mix(chain, {plan: 1.0}))
        await until_some_are_there(site, heard)
        await cloud.away(1.5)
        await until(lambda: {*heard.results} == {*range(60)})
        await until(lambda: site.device.counters["frames_done"] == 60)
    assert sorted({*site.seqs}) == list(range(60))
    assert not site.dropped


@pytest.mark.parametrize("plan", ["device", "edge"])
@async_test
async def test_frames_of_latest_have_a_reason_while_the_clouds_broker_is_away(
    plan: str, bundles: Path, chain: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cloud_outcomes, "PATIENCE_S", 0.3)
    settings = to_cloud(chain, frames=None, fps=30, delivery="latest", in_flight=3)
    async with two_brokers(tmp_path, bundles, settings, "e", "c") as (site, heard, cloud):
        await until_the_edge_leads_to_the_cloud(site)
        await site.follow(mix(chain, {plan: 1.0}))
        await until_some_are_there(site, heard)
        await cloud.away(1.5)
        before = len(site.results)
        await until(lambda: len(site.results) >= before + 20)
        await until(lambda: {*site.seqs[:-5]} <= {*heard.results})
        counters = site.device.counters
        done, out = counters["frames_done"], len({*site.seqs}) + len(site.dropped)
    without = [each for each in site.dropped if each["reason"] == "cloud_away"]
    assert len(without) >= 6
    assert {each["where"] for each in without} == {"e"}
    assert {each["reason"] for each in site.dropped} <= {"cloud_away", "newer_frame"}  # which wait on a busy machine
    assert not {*site.seqs} & {each["seq"] for each in site.dropped}
    assert not counters["dropped.lost"]
    assert abs(done - out) <= 3


@async_test
async def test_results_are_dropped_with_a_reason_while_no_edge_leads_to_the_cloud(
    bundles: Path, chain: Bundle, tmp_path: Path
) -> None:
    settings = to_cloud(chain, frames=None, delivery="latest", fps=50)
    gone = NodeStatus(node="x", tier="edge", state="offline", version="0", relays=True)
    async with two_brokers(tmp_path, bundles, settings) as (site, heard, _):
        topic = STATUS.of(site="home", tier="edge", node="x")
        await site.bus.publish(Message(topic, encode_json(gone), retain=True))
        await until(lambda: site.device.peers.relays == {"x": False})
        await site.follow(mix(chain, {"device": 1.0}))
        await until(lambda: len(site.dropped) >= 5)
        counters = site.device.counters
    assert {each["reason"] for each in site.dropped} == {"cloud_away"}
    assert counters["dropped.cloud_away"] >= 5
    assert not site.results
    assert not heard.results


@async_test
async def test_result_that_the_clouds_broker_refuses_is_a_drop_with_that_reason(
    bundles: Path, chain: Bundle, tmp_path: Path
) -> None:
    rules = tmp_path / "acl"
    rules.write_text("topic readwrite tiercut/v1/+/+/+/status\ntopic readwrite tiercut/v1/+/+/+/work/+\n")
    settings = to_cloud(chain, frames=5)
    with Mosquitto(tmp_path) as at_site, Mosquitto(tmp_path, f"acl_file {rules}") as at_cloud:
        async with live(at_site.url, bundles, settings, "e", cloud_url=at_cloud.url) as site:
            await site.follow(mix(chain, {"edge": 1.0}))
            await until(lambda: len(site.dropped) == 5)
            await until(lambda: site.device.counters["frames_done"] == 5)
    assert {each["reason"] for each in site.dropped} == {"refused"}
    assert not site.results


@async_test
async def test_with_one_broker_for_all_nothing_changes(
    bundles: Path, chain: Bundle, tmp_path: Path, climbed: Counter[str]
) -> None:
    with Mosquitto(tmp_path) as broker:
        async with live(broker.url, bundles, to_cloud(chain, frames=60), "e", "c") as site:
            await site.follow(mix(chain, {"device": 0.4, "edge": 0.3, "all": 0.3}))
            await until(lambda: site.device.counters["frames_done"] == 60)
            assert site.device.peers.relays == {}
    assert site.seqs == list(range(60))
    assert not climbed


@async_test
async def test_edge_passes_on_no_outcome_of_another_stream_than_the_topic_names(
    bundles: Path, chain: Bundle, tmp_path: Path
) -> None:
    async with two_brokers(tmp_path, bundles, to_cloud(chain, frames=1), "e") as (site, heard, _):
        attributes = {"specversion": "1.0", "id": "1-1", "type": "tiercut.result.v1", "time": "2026-11-21T12:00:00Z"}
        for stream in ("yard", "cam"):
            properties = [*attributes.items(), ("source", f"/tiercut/home/{stream}")]
            topic = RELAY.of(site="home", tier="edge", node="e", stream="cam")
            payload = json.dumps({"stream": stream, "seq": 1}).encode()
            await site.bus.publish(Message(topic, payload, properties=properties))
        await until(lambda: bool(heard.results))
        await until(lambda: bool(site.results))
    assert heard.names == {("/tiercut/home/cam", "1-1"): 1}
    assert site.seqs == [1]


def test_device_waits_for_longer_than_the_nodes_that_wait_for_the_clouds_broker() -> None:
    here: dict[str, Any] = {"name": "cam", "model": "m", "timeout_s": 2.0}
    assert StreamSettings(**here, results_to="cloud").patience_s > 2 * cloud_outcomes.PATIENCE_S
    assert StreamSettings(**here).patience_s == 2.0
    assert StreamSettings(**{**here, "timeout_s": 60.0}, results_to="cloud").patience_s == 60.0
