"""Plans that run at once, over a real broker: shares, order, a node that dies, changes, and the same answers."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from broker.embedded.server import EmbeddedBroker
from tests.aio import async_test, until
from tests.mixing import live, mix, until_online, way_of
from tests.sites import noise
from tiercut.bus import Delivery, Message
from tiercut.bus.mqtt import MqttBus
from tiercut.bus.settings import MqttSettings
from tiercut.clock import SystemClock
from tiercut.declared import encode_json
from tiercut.launch.processes import Processes
from tiercut.model.bundle import Bundle
from tiercut.protocol.events import seq_of
from tiercut.protocol.stream_settings import StreamSettings
from tiercut.protocol.topics import PLAN, RESULT

SHARES = {"device": 0.5, "edge": 0.3, "cloud": 0.2}


def every(bundle: Bundle, frames: int, **more: Any) -> StreamSettings:
    return noise(bundle, frames=frames, width=16, height=16, timeout_s=2.0, **more)


@async_test
async def test_every_frame_of_a_mix_has_a_result_in_order_and_each_plan_its_share(bundles: Path, chain: Bundle) -> None:
    with EmbeddedBroker() as broker:
        async with live(broker.url, bundles, every(chain, 300), "e", "c") as site:
            await site.follow(mix(chain, SHARES))
            await site.until_results(300)
            await until(lambda: site.device.counters["frames_done"] == 300)
            report = site.stream.report()
    assert site.seqs == list(range(300))
    for count in range(1, 301):
        done = Counter(way_of(each) for each in site.results[:count])
        assert max(abs(done[name] - count * share) for name, share in SHARES.items()) < 1
    assert [plan.frames for plan in report.plans] == [site.ways()[name] for name in SHARES]  # type: ignore[union-attr]
    assert [plan.share for plan in report.plans] == pytest.approx([0.5, 0.3, 0.2])  # type: ignore[union-attr]
    assert not site.dropped
    properties = [dict(each.properties) for each in site.deliveries]
    assert [each["id"].split("-")[0] for each in properties] == [str(seq) for seq in range(300)]
    assert {each["source"] for each in properties} == {"/tiercut/home/cam"}
    assert {len(each) for each in properties} == {5}


@async_test
async def test_same_frames_have_the_same_answers_whichever_way_they_go(bundles: Path, chain: Bundle) -> None:
    said = []
    with EmbeddedBroker() as broker:
        for shares in ({"device": 1.0}, {"edge": 0.4, "all": 0.2, "cloud": 0.2, "device": 0.2}):
            async with live(broker.url, bundles, every(chain, 40), "e", "c") as site:
                await site.follow(mix(chain, shares))
                await site.until_results(40)
            assert len(site.ways()) == len(shares)
            said.append([(each["seq"], each["labels"]) for each in site.results])
    for (seq, alone), (other_seq, mixed) in zip(*said, strict=True):
        assert seq == other_seq
        for one, other in zip(alone, mixed, strict=True):
            assert one["class"] == other["class"]
            assert one["score"] == pytest.approx(other["score"], abs=1e-4)


@async_test
async def test_share_of_a_killed_node_moves_at_once_and_nothing_is_lost(
    bundles: Path, chain: Bundle, tmp_path: Path
) -> None:
    with EmbeddedBroker() as broker:
        settings = {"node": "x", "bundles": str(bundles), "broker_url": broker.url, "status_every_s": 0.2}
        async with (
            Processes(tmp_path, {"x": ("edge_node", settings)}) as processes,
            live(broker.url, bundles, every(chain, 900, fps=150.0), "e") as site,
        ):
            await processes.start("x")
            await until_online(site.bus, {"x"})
            await until(lambda: site.device.peers.online("edge", "x"))
            await site.follow(mix(chain, {"device": 0.2, "edge": 0.4, "other edge": 0.4}))
            await site.until_results(150)
            before = site.device.counters["frames_captured"]
            await processes.kill("x")
            await site.until_results(450)
            assert site.ways(before + 100)["other edge"] == 0
            assert [plan.works for plan in site.stream.report().plans] == [True, True, False]  # type: ignore[union-attr]
            await processes.start("x")  # it gets frames again that others have done meanwhile
            await site.until_results(900)
            await until(lambda: site.device.counters["frames_done"] == 900)
    assert site.seqs == list(range(900))
    assert site.ways(before + 100)["other edge"] > 50
    assert not site.dropped


@async_test
async def test_changes_from_plans_to_plans_keep_the_order(bundles: Path, chain: Bundle) -> None:
    changes: list[dict[str, float]] = [
        {"cloud": 1.0},
        SHARES,
        {"all": 0.5, "device": 0.5},
        {"edge": 1.0},
        {"edge": 0.4, "device": 0.6},
        {"device": 1.0},
    ]
    with EmbeddedBroker() as broker:
        async with live(broker.url, bundles, every(chain, 600), "e", "c") as site:
            for epoch, shares in enumerate(changes, 1):
                await site.follow(mix(chain, shares, epoch=epoch))
                await site.until_results(100 * epoch)
            await site.until_results(600)
    assert site.seqs == list(range(600))
    assert {each["plan"]["epoch"] for each in site.results} == {1, 2, 3, 4, 5, 6}
    assert not site.dropped


@async_test
async def test_broker_that_starts_again_costs_no_frame_of_every(bundles: Path, chain: Bundle) -> None:
    broker = EmbeddedBroker()
    with broker:
        async with live(broker.url, bundles, every(chain, 300, fps=100.0), "e") as site:
            await site.follow(mix(chain, {"device": 0.5, "edge": 0.5}))
            await site.until_results(100)
            broker.stop()  # it forgets all sessions, and the frames in them
            await asyncio.sleep(0.3)
            broker.start()
            await until(lambda: site.device.counters["frames_done"] == 300)
            await asyncio.sleep(0.2)
    assert site.seqs == sorted(site.seqs)
    missing = {*range(300)} - {*site.seqs}  # published while this test was not subscribed
    assert len(missing) < 100


@async_test
async def test_outcome_comes_home_from_a_cloud_on_another_broker(bundles: Path, chain: Bundle) -> None:
    with EmbeddedBroker() as home, EmbeddedBroker() as cloud:
        settings = every(chain, 100)
        async with live(home.url, bundles, settings, "e", "c", cloud_url=cloud.url) as site:
            await site.follow(mix(chain, {"all": 0.4, "device": 0.3, "cloud": 0.3}))
            await site.until_results(100)
    assert site.seqs == list(range(100))
    assert set(site.ways()) == {"all", "device", "cloud"}
    assert {tuple(sorted(name for name, _ in each.properties)) for each in site.deliveries} == {
        ("id", "source", "specversion", "time", "type")
    }


@async_test
async def test_latest_goes_on_by_the_plans_that_have_room(bundles: Path, chain: Bundle) -> None:
    settings = noise(chain, frames=None, delivery="latest", fps=200.0, width=16, height=16)
    with EmbeddedBroker() as broker:
        async with live(broker.url, bundles, settings, "e") as site:
            await site.follow(mix(chain, {"device": 0.5, "edge": 0.5}))
            await until(lambda: len(site.results) >= 100)
            assert set(site.ways()) == {"device", "edge"}
    assert not any("outcomes" in each for each in site.results)


@async_test
async def test_stream_whose_device_is_killed_goes_on_in_order_when_it_is_back(
    bundles: Path, chain: Bundle, tmp_path: Path
) -> None:
    stream = {"name": "cam", "model": "chain", "sensor": "noise", "delivery": "every", "fps": 50.0}
    with EmbeddedBroker() as broker:
        settings = {"node": "d", "bundles": str(bundles), "broker_url": broker.url, "streams": [stream]}
        results: list[tuple[str, int]] = []

        def hear(delivery: Delivery) -> None:
            delivery.ack()
            event = dict(delivery.properties)["id"]
            results.append((event, seq_of(event)))

        async with (
            Processes(tmp_path, {"d": ("iot_node", settings)}) as processes,
            MqttBus(MqttSettings(url=broker.url), clock=SystemClock()) as bus,
        ):
            await bus.subscribe(RESULT.of(site="home", stream="cam"), handler=hear)
            await processes.start("d")
            plan = mix(chain, {"device": 0.5, "edge": 0.5})  # there is no edge: its share moves
            await bus.publish(Message(PLAN.of(site="home", stream="cam"), encode_json(plan), retain=True))
            await until(lambda: len(results) > 20)
            await processes.kill("d")
            before = len(results)
            await processes.start("d")
            await until(lambda: len(results) > before + 20)
    assert [seq for _, seq in results[:before]] == list(range(before))
    assert [seq for _, seq in results[before:]] == list(range(len(results) - before))


@async_test
async def test_latest_in_order_is_in_order_and_says_what_it_leaves_out(bundles: Path, chain: Bundle) -> None:
    settings = noise(chain, frames=400, delivery="latest", ordered=True, fps=150.0, width=16, height=16)
    with EmbeddedBroker() as broker:
        async with live(broker.url, bundles, settings, "e", "c") as site:
            await site.follow(mix(chain, SHARES, fps=100))
            await until(lambda: site.device.counters["frames_captured"] == 400)
            await until(lambda: _accounted(site.stream.report().frames) == 400)
            frames = site.stream.report().frames
            await until(lambda: len(site.results) == frames["done"])
    assert site.seqs == sorted({*site.seqs})
    assert set(site.ways()) == set(SHARES)
    assert frames["captured"] == 400
    assert frames["dropped.beyond_rate"] > 50


def _accounted(frames: Mapping[str, int]) -> int:
    """Frames whose end a report knows."""
    return sum(count for name, count in frames.items() if name == "done" or name.startswith("dropped."))


@async_test
async def test_answers_of_an_edges_cache_come_in_order_too(bundles: Path, chain: Bundle, tmp_path: Path) -> None:
    cached = {"cache_frames": 8, "cache_distance": 1.0, "cache_s": 60.0}
    with EmbeddedBroker() as broker:
        settings = {"node": "x", "bundles": str(bundles), "broker_url": broker.url, "status_every_s": 0.2, **cached}
        async with (
            Processes(tmp_path, {"x": ("edge_node", settings)}) as processes,
            live(broker.url, bundles, every(chain, 200), "c") as site,
        ):
            await processes.start("x")
            await until_online(site.bus, {"x"})
            await until(lambda: site.device.peers.online("edge", "x"))
            await site.follow(mix(chain, {"cloud": 0.4, "other edge": 0.6}))
            await site.until_results(200)
    assert site.seqs == list(range(200))
    assert sum(each.get("cached", False) for each in site.results if way_of(each) == "other edge") > 50


@async_test
async def test_answer_that_an_edge_knows_waits_for_no_frame_of_another_plan_through_it(
    bundles: Path, chain: Bundle, tmp_path: Path
) -> None:
    cached = {"cache_frames": 8, "cache_distance": 1.0, "cache_s": 60.0}
    settings = noise(chain, frames=None, width=16, height=16, fps=50.0, delivery="latest")
    with EmbeddedBroker() as broker:
        # two brokers by name, so that frames to the cloud take the slow link
        urls = {"broker_url": broker.url, "cloud_broker_url": broker.url.replace("localhost", "127.0.0.1")}
        edge = {"node": "x", "bundles": str(bundles), "status_every_s": 0.2, "emulated_delay_ms": 150.0}
        async with (
            Processes(tmp_path, {"x": ("edge_node", {**edge, **urls, **cached})}) as processes,
            live(broker.url, bundles, settings, "c") as site,
        ):
            await processes.start("x")
            await until_online(site.bus, {"x"})
            await until(lambda: site.device.peers.online("edge", "x"))
            offered = mix(chain, {"all": 0.5, "other edge": 0.5})
            await site.follow(structs.replace(offered, plan=structs.replace(offered.plan, edge="x")))
            await until(lambda: site.ways()["all"] > 30 and site.ways()["other edge"] > 30)
            _, at_edge = site.stream.report().plans  # type: ignore[misc]
            known = [each for each in site.results if way_of(each) == "other edge"]
    assert len(known) > 0.8 * at_edge.frames
    assert sum(each.get("cached", False) for each in known) > 0.8 * len(known)
    assert sorted(each["latency_ms"] for each in known)[len(known) // 2] < 150.0
