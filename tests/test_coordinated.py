"""The coordinator at work: a whole site on buses in memory, with real models and profiles."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from broker.node import Hub
from broker.settings import Settings as HubSettings
from broker.settings import StreamSettings as Planned
from tests.aio import async_test
from tests.sites import CLOUD_URL, Outcomes, Site, new_site, noise
from tiercut.bundle import Bundle


def hub(site: Site, bundle: Bundle, **more: Any) -> Hub:
    wanted = Planned(stream="cam", model=bundle.name, device="d", **more)
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
