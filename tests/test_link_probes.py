"""What a node tells between results: links measured on request, frames that are late, and strangers' lies."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from pathlib import Path

import pytest

from tests.aio import async_test, until
from tests.sites import SITE_URL, new_site
from tiercut.bus import Message
from tiercut.bus.memory import MemoryBus
from tiercut.clock import ManualClock
from tiercut.clocks.exchange import PROBE_TIMEOUT_S
from tiercut.declared import decode_json, encode_json
from tiercut.pipeline.in_transit import LATE_S, InTransit
from tiercut.protocol.nodes import ClockProbe, NodeStatus, Probe, Progress
from tiercut.protocol.topics import CLOCK, ECHO, PROBE, PROGRESS, STATUS

HONEST = NodeStatus(node="liar", tier="edge", state="online", version="0.1.0", clock_id="its own")


@async_test
async def test_link_is_measured_with_messages_of_the_sizes_asked_for(bundles: Path) -> None:
    site = new_site(bundles)
    device, edge = site.device(), site.edge()
    async with MemoryBus(site.brokers[SITE_URL]) as hub, site.running(edge, device):
        told = aiter(await hub.subscribe(PROGRESS.of(site="home", tier="device", node="d")))
        await until(lambda: device.peers.online("edge", "e"))
        asked = Probe(tier="edge", node="e", sizes=(200, 20_000))
        await hub.publish(Message(PROBE.of(site="home", tier="device", node="d"), encode_json(asked)))
        heard = [decode_json(Progress, (await anext(told)).payload).transfers[0] for _ in asked.sizes]
    assert [(each.tier, each.node, each.arrived) for each in heard] == [("edge", "e", True)] * 2
    assert [each.payload_bytes for each in heard] == [200, 20_000]
    assert all(0 <= each.seconds < 1 for each in heard)


@pytest.mark.parametrize(
    "lie",
    [
        {"heard_s": 1e300, "answered_s": 1.0},
        {"heard_s": -3e9, "answered_s": 1.0},
        {"heard_s": 3e9, "answered_s": None},
        {"heard_s": "x", "answered_s": 1.0},
    ],
)
@async_test
async def test_answer_that_lies_ends_no_node(bundles: Path, lie: dict[str, object]) -> None:
    site = new_site(bundles)
    device, edge = site.device(), site.edge()
    async with MemoryBus(site.brokers[SITE_URL]) as stranger, site.running(edge, device):
        echoes = aiter(await stranger.subscribe(ECHO.of(site="home", tier="edge", node="liar")))
        told = aiter(await stranger.subscribe(PROGRESS.of(site="home", tier="device", node="d")))
        await stranger.publish(
            Message(STATUS.of(site="home", tier="edge", node="liar"), encode_json(HONEST), retain=True)
        )
        await until(lambda: device.peers.online("edge", "liar"))
        for node in ("liar", "e"):  # the second shows that the first did no harm
            asked = encode_json(Probe(tier="edge", node=node, sizes=(300,)))
            await stranger.publish(Message(PROBE.of(site="home", tier="device", node="d"), asked))
        question = await anext(echoes)
        asked_s = decode_json(ClockProbe, question.payload).asked_s
        answer = {"clock_id": device.context.clock.id, "asked_s": asked_s, **lie}
        await stranger.publish(Message(CLOCK.of(site="home", tier="device", node="d"), json.dumps(answer).encode()))
        async with asyncio.timeout(10):
            heard = [decode_json(Progress, (await anext(told)).payload).transfers[0]]
            if heard[-1].node == "liar":  # no answer that was one: it took too long
                heard.append(decode_json(Progress, (await anext(told)).payload).transfers[0])
    assert [(each.node, each.arrived) for each in heard] in ([("e", True)], [("liar", False), ("e", True)])


@async_test
async def test_probe_that_is_not_answered_in_time_is_said_to_be_late(bundles: Path) -> None:
    site = new_site(bundles)
    device = site.device()
    async with MemoryBus(site.brokers[SITE_URL]) as stranger, site.running(device):
        told = aiter(await stranger.subscribe(PROGRESS.of(site="home", tier="device", node="d")))
        silent = STATUS.of(site="home", tier="edge", node="liar")
        await stranger.publish(Message(silent, encode_json(HONEST), retain=True))
        await until(lambda: device.peers.online("edge", "liar"))
        asked = encode_json(Probe(tier="edge", node="liar", sizes=(300, 8000)))
        await stranger.publish(Message(PROBE.of(site="home", tier="device", node="d"), asked))
        async with asyncio.timeout(10):
            (late,) = decode_json(Progress, (await anext(told)).payload).transfers
    assert (late.node, late.payload_bytes, late.arrived) == ("liar", 300, False)
    assert late.seconds == PROBE_TIMEOUT_S


def test_only_the_oldest_frame_to_a_node_is_late_and_not_for_the_time_behind_another() -> None:
    clock = ManualClock()
    in_transit = InTransit(clock)
    second = in_transit.set_out(1, "cloud", "c", 2000)
    first = in_transit.set_out(1, "cloud", "c", 1000)
    clock.advance(LATE_S / 2)
    assert not in_transit.late()
    in_transit.arrived(first)
    assert in_transit.busy(1)
    assert not in_transit.busy(2)
    clock.advance(LATE_S / 2)
    assert not in_transit.late(), "it has waited for the other one"
    clock.advance(LATE_S)
    (late,) = in_transit.late()
    in_transit.arrived(second)
    assert (late.payload_bytes, late.arrived) == (2000, False)
    assert late.seconds == pytest.approx(1.5 * LATE_S)
    assert not in_transit.late()
    assert in_transit.started(1) == 2


@async_test
async def test_requests_that_cannot_be_read_or_are_too_many_are_counted(bundles: Path) -> None:
    site = new_site(bundles)
    device = site.device()
    async with MemoryBus(site.brokers[SITE_URL]) as hub, site.running(device):
        topic = PROBE.of(site="home", tier="device", node="d")
        for payload in (b"", b"{}", encode_json(Probe(tier="cloud", node="nobody", sizes=(200,)))):
            await hub.publish(Message(topic, payload))
        counted: Counter[str] = device.counters
        await until(lambda: counted["probes_skipped"] == 1)
    assert counted["bad.not_json"] == 1
    assert counted["bad.missing_field"] == 1
