"""What device, edge, cloud and hub do together, on buses in memory and with real models."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.aio import async_test
from tests.given_sensors import first_frame
from tests.sites import CLOUD_URL, SITE_URL, Outcomes, by_hand, new_site, noise
from tiercut.bus import Message
from tiercut.bus.emulated_link import EmulatedBus
from tiercut.bus.link_model import LinkSettings
from tiercut.bus.memory import MemoryBus
from tiercut.clock import SystemClock
from tiercut.declared import encode_json
from tiercut.errors import BundleError, CutError, SettingsError
from tiercut.model.bundle import Bundle
from tiercut.model.confidence import probabilities
from tiercut.pipeline.dispatch import Dispatch
from tiercut.plan import Plan
from tiercut.protocol.nodes import StreamPlan
from tiercut.protocol.stream_settings import StreamSettings
from tiercut.protocol.topics import PLAN, WORK
from tiercut.results.classes import top_labels


@async_test
async def test_frame_is_cut_twice_and_gives_the_whole_models_result(bundles: Path, chain: Bundle) -> None:
    site = new_site(bundles)
    nodes = site.hub(by_hand(chain)), site.cloud(), site.edge(), site.device(noise(chain))
    async with site.running(*nodes) as outcomes:
        await outcomes.until(results=10)
    frame = first_frame(noise(chain))
    whole = chain.segment(0, chain.end).run(chain.to_inputs(frame))
    expected = top_labels(probabilities(whole[chain.outputs[0].name]), chain.labels or ())
    first = outcomes.results[0]
    assert [label["label"] for label in first["labels"]] == [label.label for label in expected]
    assert np.allclose([x["score"] for x in first["labels"]], [x.score for x in expected], atol=1e-4)
    assert first["finished_by"] == "c"
    assert [s["where"] for s in first["stages"] if s["kind"] == "compute"] == ["d", "e", "c"]


@async_test
async def test_every_frame_has_one_result_in_order(bundles: Path, chain: Bundle) -> None:
    site = new_site(bundles)
    nodes = site.hub(by_hand(chain)), site.cloud(), site.edge(), site.device(noise(chain, frames=60))
    async with site.running(*nodes) as outcomes:
        await outcomes.until(results=60)
    assert outcomes.seqs() == list(range(60))
    assert not outcomes.dropped


@async_test
async def test_frames_that_were_sent_are_freed_without_the_garbage_collector(bundles: Path, chain: Bundle) -> None:
    site = new_site(bundles)
    nodes = site.hub(by_hand(chain)), site.cloud(), site.edge(), site.device(noise(chain))
    gc.collect()
    gc.disable()
    try:
        async with site.running(*nodes) as outcomes:
            await outcomes.until(results=10)
            left = [each for each in gc.get_objects() if type(each) is Dispatch]
    finally:
        gc.enable()
    assert len(left) <= 2  # of the last frame, whose acknowledgement may be under way


@async_test
async def test_result_comes_back_to_the_sites_bus_from_the_clouds(bundles: Path, chain: Bundle) -> None:
    site = new_site(bundles, two_brokers=True)
    nodes = site.hub(by_hand(chain)), site.cloud(), site.edge(), site.device(noise(chain))
    async with site.running(*nodes) as outcomes:
        await outcomes.until(results=10)
    assert outcomes.seqs() == list(range(10))
    assert {result["finished_by"] for result in outcomes.results} == {"c"}
    assert dict(outcomes.of_kind("result")[-1].properties)["type"] == "tiercut.result.v1"


@async_test
async def test_device_with_a_way_to_the_cloud_skips_the_edge(bundles: Path, chain: Bundle) -> None:
    site = new_site(bundles, two_brokers=True)
    straight = by_hand(chain, edge=None, first_cut="4", second_cut="4", codecs=("int8",))
    async with site.running(site.hub(straight), site.cloud(), site.device(noise(chain))) as outcomes:
        await outcomes.until(results=10)
    assert [s["where"] for s in outcomes.results[0]["stages"] if s["kind"] == "compute"] == ["d", "c"]


@async_test
async def test_device_alone_needs_nobody(bundles: Path, chain: Bundle) -> None:
    site = new_site(bundles)
    end = str(chain.end)
    alone = by_hand(chain, edge=None, cloud=None, first_cut=end, second_cut=end, codecs=())
    async with site.running(site.hub(alone), site.device(noise(chain))) as outcomes:
        await outcomes.until(results=10)
    assert {result["finished_by"] for result in outcomes.results} == {"d"}


@async_test
async def test_two_streams_with_two_models_share_the_nodes(bundles: Path, chain: Bundle, residual: Bundle) -> None:
    site = new_site(bundles)
    hub = site.hub(by_hand(chain), by_hand(residual, "door", codecs=("fp16", "int8+zstd")))
    device = site.device(noise(chain, frames=30), noise(residual, "door", frames=30))
    async with site.running(hub, site.cloud(workers=2), site.edge(workers=2), device) as outcomes:
        await outcomes.until(results=60)
    assert outcomes.seqs("cam") == outcomes.seqs("door") == list(range(30))
    door = next(result for result in outcomes.results if result["stream"] == "door")
    assert door["outputs"][0]["values"]


@async_test
async def test_latest_stream_drops_old_frames_and_counts_them(bundles: Path, chain: Bundle) -> None:
    site = new_site(bundles)
    device = site.device(noise(chain, frames=300, fps=2000, delivery="latest", in_flight=1))
    async with site.running(site.hub(by_hand(chain)), site.cloud(), site.edge(), device) as outcomes:
        await outcomes.until(results=5)
        await _until(lambda: device.counters["frames_captured"] == 300)
        await _until(lambda: len(outcomes.results) + device.counters["dropped.newer_frame"] == 300)
    assert outcomes.seqs() == sorted(outcomes.seqs())
    assert device.counters["dropped.newer_frame"] > 0


@async_test
async def test_edge_finishes_alone_while_the_cloud_is_gone_and_hands_on_again_after(
    bundles: Path, chain: Bundle
) -> None:
    site = new_site(bundles, two_brokers=True)
    device = site.device(noise(chain, frames=None, fps=100, timeout_s=0.5))
    async with site.running(site.hub(by_hand(chain)), site.cloud(), site.edge(), device) as outcomes:
        await _until_finished_by(outcomes, "c")
        site.brokers[CLOUD_URL].cut(site.buses["c", CLOUD_URL])  # its will says that it is offline
        await _until_finished_by(outcomes, "e")
        assert outcomes.results[-1]["fallback"] == "cloud 'c' is not reachable"
        site.brokers[CLOUD_URL].restore(site.buses["c", CLOUD_URL])
        await _until_finished_by(outcomes, "c")
        newest = max(outcomes.seqs())
        await _until(lambda: set(outcomes.seqs()) >= set(range(newest + 1)))  # none is missing


@async_test
async def test_edge_finishes_alone_while_its_uplink_is_cut(bundles: Path, chain: Bundle) -> None:
    site = new_site(bundles, two_brokers=True)
    device = site.device(noise(chain, frames=None, fps=100, delivery="latest", timeout_s=1.0))
    async with site.running(site.hub(by_hand(chain)), site.cloud(), site.edge(), device) as outcomes:
        await _until_finished_by(outcomes, "c")
        site.brokers[CLOUD_URL].cut(site.buses["e", CLOUD_URL])
        await _until_finished_by(outcomes, "e")
        site.brokers[CLOUD_URL].restore(site.buses["e", CLOUD_URL])
        await _until_finished_by(outcomes, "c")


@async_test
async def test_large_frames_travel_in_chunks_through_small_packets(bundles: Path, chain: Bundle) -> None:
    site = new_site(bundles, max_payload_bytes=3000)
    plan = by_hand(chain, first_cut="3", second_cut="3", codecs=("raw", "raw"))
    assert chain.cuts[3].bytes > 3000
    async with site.running(site.hub(plan), site.cloud(), site.edge(), site.device(noise(chain))) as outcomes:
        await outcomes.until(results=10)
    assert outcomes.seqs() == list(range(10))


@async_test
async def test_bad_messages_are_counted_and_stop_nothing(bundles: Path, chain: Bundle) -> None:
    site = new_site(bundles)
    edge = site.edge()
    topic = WORK.of(site="home", tier="edge", node="e", stream="cam")
    nodes = site.hub(by_hand(chain)), site.cloud(), edge, site.device(noise(chain))
    async with MemoryBus(site.brokers[SITE_URL]) as stranger, site.running(*nodes) as outcomes:
        for payload in (b"", b"\xc1", b"\x80", b"hello", b"\xdf\xff\xff\xff\xff", b"\xc1" * 100):
            await stranger.publish(Message(topic, payload))
        await outcomes.until(results=10)
        await _until(lambda: sum(n for name, n in edge.counters.items() if name.startswith("bad.")) == 6)
    assert outcomes.seqs() == list(range(10))


@async_test
async def test_frame_of_an_unknown_model_is_dropped_with_its_reason(
    bundles: Path, chain: Bundle, tmp_path: Path
) -> None:
    site = new_site(bundles)
    edge = site.edge(bundles=tmp_path)  # no bundle there
    async with site.running(site.hub(by_hand(chain)), site.cloud(), edge, site.device(noise(chain))) as outcomes:
        await outcomes.until(dropped=10)
    assert {drop["reason"] for drop in outcomes.dropped} == {"unknown_model"}
    assert outcomes.dropped[0]["where"] == "e"
    assert "bundles folder" in outcomes.dropped[0]["message"]
    assert edge.counters["dropped.unknown_model"] == 10


@async_test
async def test_frame_past_its_deadline_is_dropped(bundles: Path, chain: Bundle) -> None:
    site = new_site(bundles)
    device = site.device(noise(chain, deadline_ms=0.001))
    async with site.running(site.hub(by_hand(chain)), site.cloud(), site.edge(), device) as outcomes:
        await outcomes.until(dropped=10)
    assert {drop["reason"] for drop in outcomes.dropped} == {"past_deadline"}


@async_test
async def test_device_refuses_a_plan_that_does_not_fit_and_keeps_the_last(bundles: Path, chain: Bundle) -> None:
    site = new_site(bundles)
    device = site.device(noise(chain, frames=None, fps=100))
    wrong = Plan(epoch=2, first_cut=1, second_cut=999, device="d", edge="e", cloud="c", codecs=("raw", "raw"))
    offered = StreamPlan(stream="cam", model=chain.model, model_name="chain", plan=wrong)
    nodes = site.hub(by_hand(chain)), site.cloud(), site.edge(), device
    async with MemoryBus(site.brokers[SITE_URL]) as stranger, site.running(*nodes) as outcomes:
        await outcomes.until(results=1)
        for payload in (encode_json(offered), b"{}", b"no json"):
            await stranger.publish(Message(PLAN.of(site="home", stream="cam"), payload))
        await _until(lambda: device.counters["plans_refused"] == 3)
        seen = len(outcomes.results)
        await outcomes.until(results=seen + 3)
    assert {result["plan"]["epoch"] for result in outcomes.results} == {1}


@async_test
async def test_emulated_link_is_told_in_status_and_results(bundles: Path, chain: Bundle) -> None:
    site = new_site(bundles)
    device = site.device(noise(chain, frames=3), emulated_delay_ms=30.0)
    inner = site.opener("d")

    def slow(url: str, *, will: tuple[str, bytes]) -> EmulatedBus:
        return EmulatedBus(inner(url, will=will), LinkSettings(delay_s=0.03), clock=SystemClock())

    device.context.buses.open_bus = slow
    async with site.running(site.hub(by_hand(chain)), site.cloud(), site.edge(), device) as outcomes:
        await outcomes.until(results=3)
    assert outcomes.results[0]["emulated_links"] == ["e"]
    wire = next(s for s in outcomes.results[0]["stages"] if s["where"] == "e" and s["kind"] == "wire")
    assert wire["emulated"]
    assert wire["ms"] >= 30


def test_device_without_the_streams_bundle_says_how_to_make_it(bundles: Path) -> None:
    with pytest.raises(BundleError, match="tiercut export"):
        new_site(bundles).device(StreamSettings(name="cam", model="no-such", sensor="noise"))


def test_hub_refuses_a_plan_that_the_model_does_not_have(bundles: Path, chain: Bundle) -> None:
    site = new_site(bundles)
    with pytest.raises(CutError, match="tiercut inspect"):
        site.hub(by_hand(chain, second_cut="999"))
    with pytest.raises(SettingsError, match="codec"):
        site.hub(by_hand(chain, codecs=("raw", "zip")))


async def _until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - counters have nothing to wait on
        await asyncio.sleep(0.01)


async def _until_finished_by(outcomes: Outcomes, node: str) -> None:
    start = len(outcomes.results)
    async with outcomes.changed:
        await outcomes.changed.wait_for(
            lambda: any(result["finished_by"] == node for result in outcomes.results[start:])
        )


@async_test
async def test_plan_given_by_hand_gets_the_next_epoch_when_it_changes(bundles: Path, chain: Bundle) -> None:
    site = new_site(bundles)
    device = site.device(noise(chain, frames=None, fps=50))
    async with site.running(site.cloud(), site.edge(), device) as outcomes:
        for first, epoch in (("2", 1), ("2", 1), ("3", 2)):
            stop = asyncio.Event()
            hub = asyncio.create_task(site.hub(by_hand(chain, first_cut=first)).run(stop))
            await _until(lambda: bool(outcomes.results) and outcomes.results[-1]["plan"]["first_cut"] == int(first))  # noqa: B023 - awaited within the turn
            assert outcomes.results[-1]["plan"]["epoch"] == epoch
            stop.set()
            await hub
