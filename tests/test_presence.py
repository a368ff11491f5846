"""A node's status reaches each of its buses, whatever the others do."""

from __future__ import annotations

import asyncio
import json
from functools import partial
from pathlib import Path

import pytest

from tests.aio import async_test, until
from tests.refusing import guard
from tests.sites import CLOUD_URL, SITE_URL, new_site
from tiercut.bus import Delivery, Message
from tiercut.bus.memory import MemoryBus
from tiercut.protocol.chunks import split
from tiercut.protocol.topics import STATUS, WORK


@async_test
async def test_silent_uplink_does_not_stop_the_status_at_home(bundles: Path) -> None:
    site = new_site(bundles, two_brokers=True)
    edge = site.edge()
    buses = guard(site, edge)
    async with MemoryBus(site.brokers[SITE_URL]) as hub, site.running(edge):
        statuses = aiter(await hub.subscribe(STATUS.of(site="home", tier="edge", node="e")))
        await anext(statuses)
        buses[CLOUD_URL].answers.clear()
        edge.counters["frames_arrived"] = 7
        loads = [json.loads((await anext(statuses)).payload)["load"] for _ in range(4)]
    assert loads[-1]["frames_arrived"] == 7


@async_test
async def test_uplink_that_answers_again_gets_the_newest_status(bundles: Path) -> None:
    site = new_site(bundles, two_brokers=True)
    edge = site.edge()
    buses = guard(site, edge)
    async with MemoryBus(site.brokers[CLOUD_URL]) as cloud, site.running(edge):
        statuses = aiter(await cloud.subscribe(STATUS.filter(tier="edge")))
        await anext(statuses)
        buses[CLOUD_URL].answers.clear()
        for count in range(1, 5):
            edge.counters["frames_arrived"] = count
            await asyncio.sleep(0.2)
        buses[CLOUD_URL].answers.set()
        heard = [json.loads((await anext(statuses)).payload)["load"].get("frames_arrived", 0) for _ in range(2)]
    assert heard[0] < heard[1] >= 3  # the one that was under way, then none of those between


@pytest.mark.parametrize("two_brokers", [False, True])
@async_test
async def test_devices_say_that_they_mix_and_edges_whether_they_relay(two_brokers: bool, bundles: Path) -> None:
    site, said = new_site(bundles, two_brokers=two_brokers), dict[str, tuple[bool, bool]]()

    def hear(delivery: Delivery) -> None:
        delivery.ack()
        status = json.loads(delivery.payload)
        said[status["node"]] = (status.get("mixes", False), status.get("relays", False))

    async with MemoryBus(site.brokers[SITE_URL]) as hub, site.running(site.edge(), site.device()):
        await hub.subscribe(STATUS.filter(site="home"), handler=hear)
        await until(lambda: len(said) == 2)
    assert said == {"d": (True, False), "e": (False, two_brokers)}


@async_test
async def test_each_status_gives_the_busy_share_of_one_period(bundles: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = new_site(bundles, two_brokers=True)
    edge = site.edge()
    calls: list[dict[str, float]] = []
    load = edge.load.figures

    def counted() -> dict[str, float]:
        calls.append(load())
        return calls[-1]

    monkeypatch.setattr(edge.load, "figures", counted)
    async with MemoryBus(site.brokers[SITE_URL]) as hub, site.running(edge):
        statuses = aiter(await hub.subscribe(STATUS.filter(site="home")))
        for _ in range(4):
            await anext(statuses)
        assert len(calls) in {4, 5}  # not once per bus


@async_test
async def test_unfinished_messages_expire_while_no_bus_answers(bundles: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tiercut.node.frame_pipeline.EXPIRE_EVERY_S", 0.02)
    monkeypatch.setattr("tiercut.pipeline.intake.UNFINISHED_TIMEOUT_S", 0.05)
    site = new_site(bundles)
    edge = site.edge()
    buses = guard(site, edge)
    work = WORK.of(site="home", tier="edge", node="e", stream="s")

    def timed_out(count: int) -> bool:
        return edge.counters["chunks_timed_out"] == count

    async with MemoryBus(site.brokers[SITE_URL]) as device, site.running(edge):
        buses[SITE_URL].answers.clear()
        for expired in (1, 2):  # and again, when there were none for a while
            await device.publish(Message(work, split(b"half" * 1000, 1500)[0]))
            await until(partial(timed_out, expired))
    assert not edge.frames.intake.unfinished


@async_test
async def test_node_without_frames_does_not_look_after_any(bundles: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tiercut.node.frame_pipeline.LATE_S", 0.01)
    monkeypatch.setattr("tiercut.node.frame_pipeline.EXPIRE_EVERY_S", 0.01)
    site = new_site(bundles)
    edge = site.edge()
    looked: list[str] = []
    monkeypatch.setattr(edge.frames.worker, "withdraw_unreachable", lambda: looked.append("links"))
    monkeypatch.setattr(edge.frames.intake, "expire", lambda: looked.append("chunks"))
    async with site.running(edge):
        await asyncio.sleep(0.2)
        assert not looked
        edge.frames.worker.came.set()  # as a frame does
        await until(lambda: looked == ["links"])
        await asyncio.sleep(0.1)
    assert looked == ["links"]  # nothing was in hand any more
