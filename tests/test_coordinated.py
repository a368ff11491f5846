"""The coordinator at work: a whole site on buses in memory, with real models and profiles."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from msgspec import structs

from broker.coordination.goals import plan_by_hand
from broker.node import Hub
from broker.settings import PlanSettings
from broker.settings import Settings as HubSettings
from tests.aio import async_test
from tests.sites import CLOUD_URL, SITE_URL, Outcomes, Site, new_site, noise
from tiercut.bus import Message
from tiercut.bus.memory import MemoryBus
from tiercut.declared import encode_json
from tiercut.model.bundle import Bundle
from tiercut.protocol.stream_settings import StreamSettings as Planned


def hub(site: Site, bundle: Bundle, **more: Any) -> Hub:
    wanted = Planned(name="cam", model=bundle.name, device="d", **more)
    return Hub(HubSettings(**site.common("hub", streams=(wanted,))), open_bus=site.opener("hub"))


def explanation(outcomes: Outcomes) -> dict[str, Any]:
    said = [each for each in outcomes.deliveries if each.topic.endswith("/explain")]
    return dict(json.loads(said[-1].payload)) if said else {}


def epochs(outcomes: Outcomes) -> list[int]:
    return [result["plan"]["epoch"] for result in outcomes.results]


async def until(condition: Callable[[], Any]) -> None:
    while not condition():  # noqa: ASYNC110 - what a node knows has no event
        await asyncio.sleep(0.02)


@async_test
async def test_stream_gets_its_first_plan_and_a_reason(bundles: Path, chain: Bundle) -> None:
    site = new_site(bundles)
    async with site.running(site.cloud(), site.edge(), site.device(noise(chain)), hub(site, chain)) as outcomes:
        await outcomes.until(results=10)
        await until(lambda: explanation(outcomes).get("alternatives"))
    assert outcomes.seqs() == list(range(10))
    assert set(epochs(outcomes)) == {1}
    alternatives = explanation(outcomes)["alternatives"]
    assert {"device-only", "edge-only", "cloud-only"} <= set(alternatives)


@async_test
async def test_plan_leaves_a_node_that_is_gone_and_loses_no_frame(bundles: Path, chain: Bundle) -> None:
    site = new_site(bundles, two_brokers=True)
    far = chain.end  # nothing may run on the device beyond the first cut that hides the frame
    device = site.device(noise(chain, frames=None, fps=50, timeout_s=1.0), power_watts=1000.0)
    goal = hub(site, chain, objective="energy")
    async with site.running(site.cloud(), site.edge(), device, goal) as outcomes:
        await until(lambda: outcomes.results and outcomes.results[-1]["finished_by"] != "d")
        used = outcomes.results[-1]["finished_by"]
        site.brokers[CLOUD_URL].cut(site.buses["c", CLOUD_URL])
        await until(lambda: outcomes.results[-1]["plan"]["cloud"] is None)
        seen = len(outcomes.results)
        await outcomes.until(results=seen + 5)
    assert used in {"c", "e"}
    assert far > 1
    assert sorted(set(outcomes.seqs())) == list(range(max(outcomes.seqs()) + 1))


@async_test
async def test_device_refuses_a_plan_that_sends_raw_frames_and_it_shows(bundles: Path, chain: Bundle) -> None:
    site = new_site(bundles)
    device = site.device(noise(chain, frames=None, fps=20, min_first_cut=chain.end), power_watts=1000.0)
    async with site.running(site.cloud(), site.edge(), device, hub(site, chain, objective="energy")) as outcomes:
        await until(lambda: "min_first_cut" in str(explanation(outcomes).get("trouble")))
    assert not outcomes.results


@async_test
async def test_coordinator_that_starts_again_changes_nothing(bundles: Path, chain: Bundle) -> None:
    site = new_site(bundles)
    device = site.device(noise(chain, frames=None, fps=50))
    async with site.running(site.cloud(), site.edge(), device) as outcomes:
        for _ in range(2):
            stop = asyncio.Event()
            running = asyncio.create_task(hub(site, chain).run(stop))
            seen = len(outcomes.results)
            await outcomes.until(results=seen + 30)
            stop.set()
            await running
            await outcomes.until(results=len(outcomes.results) + 5)
    assert set(epochs(outcomes)) == {1}
    assert outcomes.seqs() == list(range(len(outcomes.seqs())))


@async_test
async def test_links_that_carry_nothing_are_measured(bundles: Path, chain: Bundle) -> None:
    site = new_site(bundles, two_brokers=True)
    device = site.device(noise(chain, frames=None, fps=20))
    async with site.running(site.cloud(), site.edge(), device, hub(site, chain)) as outcomes:
        await until(
            lambda: (
                measured(explanation(outcomes))
                == {("device/d", "edge/e"), ("edge/e", "cloud/c"), ("device/d", "cloud/c")}
            )
        )
        counted = {**site.nodes["d"].counters, **site.nodes["e"].counters} if site.nodes else {}
    assert not counted or counted.get("probes")


def measured(said: dict[str, Any]) -> set[tuple[str, str]]:
    return {(link["from"], link["to"]) for link in said.get("links", ()) if link["source"] == "measured"}


ODD = {
    "stream/cam/result": [
        b'{"stream":"cam","seq":1,"plan":{"epoch":1,"first_cut":0,"second_cut":0,"exit":"full","device":"d","edge":"e",'
        b'"cloud":"c","codecs":["raw","raw"]},"model":{"sha256":"%s"},"latency_ms":%s,"stages":[%s]}'
        % (model, ms, stage)
        for model in (b"x", b"ab" * 32)
        for ms in (b"1.7e308", b"NaN", b"-1", b"null", b"12")
        for stage in (
            b'{"where":"e","kind":"wire","ms":1.7e308,"bytes":1}',
            b'{"where":"e","kind":"wire","ms":1,"bytes":1e300}',
            b'{"where":"e","kind":"compute","ms":-1}',
            b'{"where":[],"kind":"compute","ms":1}',
            b"7",
        )
    ],
    "edge/e/status": [
        b'{"node":"e","tier":"edge","state":"online","version":"0","power_watts":%s}' % watts
        for watts in (b"1e308", b"NaN", b"-1", b'"x"')
    ],
    "edge/e/profile/%s": [b'{"cut_bytes":[%s]}' % (b"9" * 400), b"[]", b"\xff", b"[" * 100_000],
    "edge/e/progress": [b"{}", b'{"transfers":[{"tier":"cloud","node":"c","bytes":1,"seconds":1e300}],"running":[]}'],
    "edge/nobody/progress": [
        b'{"transfers":[{"tier":"cloud","node":"c","bytes":1,"seconds":1,"arrived":true}],"running":[]}',
        b'{"transfers":[],"running":[{"model":"m","start":0,"stop":9,"seconds":9}]}',
    ],
    "stream/cam/ready": [b"{}", b'{"stream":"cam","epoch":1,"node":"e","ok":true,"tier":[]}'],
    "stream/cam/control": [b"{}", b'{"mode":"plan"}', b'{"mode":"freeze","plan":{"epoch":0}}', b""],
    "stream/cam/dropped": [b"{}", b'{"stream":"cam","seq":-1,"where":"e","reason":"x"}'],
    "stream/cam/plan": [b"{}"],
}


@async_test
async def test_odd_messages_do_not_stop_the_hub(bundles: Path, chain: Bundle) -> None:
    site = new_site(bundles)
    device = site.device(noise(chain, frames=None, fps=20))
    async with site.running(site.cloud(), site.edge(), device, hub(site, chain)) as outcomes:
        await outcomes.until(results=3)
        async with MemoryBus(site.brokers[SITE_URL]) as stranger:
            for topic, payloads in ODD.items():
                for payload in payloads:
                    await stranger.publish(Message(f"tiercut/v1/home/{topic.replace('%s', chain.model)}", payload))
        before = len([each for each in outcomes.deliveries if each.topic.endswith("/explain")])
        await until(lambda: len([each for each in outcomes.deliveries if each.topic.endswith("/explain")]) > before + 2)
        said = explanation(outcomes)
    assert said["predicted"]["feasible"]
    assert all(link["mbps"] > 0.01 for link in said["links"])


@async_test
async def test_order_is_kept_when_a_new_plan_is_faster_than_the_frames_in_flight(bundles: Path, chain: Bundle) -> None:
    site = new_site(bundles)
    slow: dict[str, Any]
    fast: dict[str, Any]
    slow, fast = ({"edge": "e", "second_cut": "100%", "codecs": ("raw",)}, {"second_cut": "100%"})
    edge = site.edge(emulated_slowdown=100.0)
    device = site.device(noise(chain, frames=60, fps=200, in_flight=4))
    async with site.running(edge, device) as outcomes, MemoryBus(site.brokers[SITE_URL]) as by_hand:
        for epoch, wanted in enumerate((slow, fast, slow, fast), start=1):
            first = "100%" if wanted is fast else "0%"
            settings = PlanSettings(stream="cam", model=chain.name, device="d", first_cut=first, **wanted)
            message = plan_by_hand(settings, chain)
            message = structs.replace(message, plan=structs.replace(message.plan, epoch=epoch))
            await by_hand.publish(Message("tiercut/v1/home/stream/cam/plan", encode_json(message), retain=True))
            await outcomes.until(results=15 * epoch - 8)
        await outcomes.until(results=60)
    assert outcomes.seqs() == list(range(60))
    assert len(set(epochs(outcomes))) >= 3
