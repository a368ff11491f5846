"""Frames that reach a node with odd clocks, or while it has a fault: worked on once, with an outcome each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.aio import async_test, until
from tests.sites import SITE_URL, new_site
from tiercut.bus import Message
from tiercut.bus.memory import MemoryBus
from tiercut.codecs.encode import encode_tensor
from tiercut.limits import MAX_SECONDS
from tiercut.model.bundle import Bundle
from tiercut.plan import Plan
from tiercut.protocol.envelope import encode_work
from tiercut.protocol.frames import ClockStamp, Work
from tiercut.protocol.topics import WORK

TO_EDGE = WORK.of(site="home", tier="edge", node="e", stream="cam")
AT_EDGE = Plan(epoch=1, first_cut=0, second_cut=1, device="x", edge="e", codecs=("raw",))
AT_CLOUD = Plan(epoch=1, first_cut=0, second_cut=1, device="x", edge="e", cloud="c", codecs=("raw", "raw"))


def frame(bundle: Bundle, plan: Plan, **more: Any) -> bytes:
    """A frame at cut 0, on its way to the edge."""
    pixels = bundle.to_inputs(np.zeros((16, 16, 3), dtype=np.uint8))
    fields: dict[str, Any] = {
        "site": "home",
        "stream": "cam",
        "seq": 0,
        "model": bundle.model,
        "plan": plan,
        "delivery": "every",
        "cut": 0,
        "tensors": tuple(encode_tensor(name, array, "raw") for name, array in pixels.items()),
        "captured_unix_s": 1.0,
        "captured": ClockStamp("far", 1.0),
        "sent": ClockStamp("far", 1.0),
        **more,
    }
    return encode_work(Work(**fields))


@async_test
async def test_fault_in_asking_for_a_clock_costs_no_frame_and_acknowledges_none_early(
    bundles: Path, chain: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = new_site(bundles)
    edge = site.edge()
    waiting: list[int] = []

    def broken(_clock_id: str) -> bool:
        waiting.append(edge.frames.worker.waiting + edge.counters["frames_arrived"])
        raise RuntimeError

    monkeypatch.setattr(edge.clocks.exchange, "wants", broken)
    async with site.running(edge) as outcomes, MemoryBus(site.brokers[SITE_URL]) as device:
        await device.publish(Message(TO_EDGE, frame(chain, AT_EDGE)))
        await outcomes.until(results=1)
        await until(lambda: not site.buses["e", SITE_URL]._unacked)
    assert waiting == [0]  # asked before the worker had it
    assert edge.counters["faults"] == 1


@async_test
async def test_frame_of_a_clock_that_lied_is_forwarded_with_its_own_time(bundles: Path, chain: Bundle) -> None:
    site = new_site(bundles, two_brokers=True)
    edge = site.edge()
    edge.clocks.offsets.add("far", asked_s=0.0, heard_s=-2 * MAX_SECONDS, answered_s=-2 * MAX_SECONDS, back_s=0.001)
    async with site.running(site.cloud(), edge) as outcomes, MemoryBus(site.brokers[SITE_URL]) as device:
        await until(lambda: edge.frames.outlet.reachable("cloud", "c"))
        await device.publish(Message(TO_EDGE, frame(chain, AT_CLOUD)))
        await outcomes.until(results=1)
    assert outcomes.results[0]["finished_by"] == "c"
    assert outcomes.results[0]["latency_ms"] is None


@async_test
async def test_frame_sent_at_an_impossible_time_is_worked_on(bundles: Path, chain: Bundle) -> None:
    site = new_site(bundles, two_brokers=True)
    edge = site.edge()
    edge.clocks.offsets.add("far", asked_s=0.0, heard_s=MAX_SECONDS, answered_s=MAX_SECONDS, back_s=0.001)
    sent = ClockStamp("far", -MAX_SECONDS)
    async with site.running(edge) as outcomes, MemoryBus(site.brokers[SITE_URL]) as device:
        await device.publish(Message(TO_EDGE, frame(chain, AT_EDGE, sent=sent, captured=ClockStamp("other", 1.0))))
        await outcomes.until(results=1)
    assert "wire" not in {stage["kind"] for stage in outcomes.results[0]["stages"]}


@async_test
async def test_fault_in_forwarding_a_frame_is_said_to_its_device(
    bundles: Path, chain: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = new_site(bundles, two_brokers=True)
    edge = site.edge()
    monkeypatch.setattr("tiercut.pipeline.outlet.encode_work", lambda _work: 1 // 0)
    async with site.running(site.cloud(), edge) as outcomes, MemoryBus(site.brokers[SITE_URL]) as device:
        await until(lambda: edge.frames.outlet.reachable("cloud", "c"))
        await device.publish(Message(TO_EDGE, frame(chain, AT_CLOUD)))
        await outcomes.until(dropped=1)
    assert outcomes.dropped[0]["reason"] == "fault"
