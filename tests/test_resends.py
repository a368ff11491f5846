"""When a device sends a frame again: by a clock set by hand, the loop's own time does not matter."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

import iot_node.stream
from iot_node.stream import Stream
from tests.aio import async_test, until
from tests.sites import ON_NO_BUS, by_hand, new_site, noise
from tiercut.clock import ManualClock
from tiercut.model.bundle import Bundle
from tiercut.pipeline.jobs import Job, Processed
from tiercut.plan import Plan
from tiercut.protocol.nodes import StreamPlan


class Device:
    """A stream of one frame with a timeout of 10 s, and what it gave to the worker."""

    def __init__(self, bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(iot_node.stream, "OVERDUE_EVERY_S", 0.002)
        self.clock = ManualClock(start_s=1.0)
        self.jobs: list[Job] = []
        self.counters: Counter[str] = Counter()
        self.stream = Stream(
            noise(bundle, frames=1, timeout_s=10.0),
            site="home",
            node="d",
            bundle=bundle,
            clock=self.clock,
            counters=self.counters,
            submit=self.jobs.append,
            **ON_NO_BUS,
        )
        plan = Plan(epoch=1, first_cut=1, second_cut=bundle.end, device="d", edge="e", codecs=("raw",))
        self._plan = StreamPlan(stream="cam", model=bundle.model, model_name=bundle.name, plan=plan)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        stream = self.stream
        tasks = [asyncio.create_task(task()) for task in (stream.sensor.read, stream.watch_overdue)]
        stream.new_plan(self._plan)
        await until(lambda: len(self.jobs) == 1)
        yield
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def after(self, seconds: float) -> int:
        """Frames given to the worker so far, some time later."""
        self.clock.advance(seconds)
        await asyncio.sleep(0.03)
        return len(self.jobs)


def test_frame_that_left_late_has_its_whole_time(chain: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    @async_test
    async def run() -> None:
        device = Device(chain, monkeypatch)
        async with device.running():
            device.clock.advance(9.0)  # in the device's own queue, or on a slow link
            device.jobs[0].ack()
            assert await device.after(9.0) == 1
            assert await device.after(2.0) == 2

    run()


def test_frame_is_sent_again_ever_more_rarely(chain: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    @async_test
    async def run() -> None:
        device = Device(chain, monkeypatch)
        async with device.running():
            for sent, wait_s in enumerate((10.0, 20.0, 40.0, 80.0, 80.0), start=1):
                device.jobs[-1].ack()
                assert await device.after(wait_s - 1.0) == sent
                assert await device.after(2.0) == sent + 1
        assert device.counters["frames_resent"] == 5

    run()


def test_frame_that_has_its_outcome_is_not_sent_again(chain: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    @async_test
    async def run() -> None:
        device = Device(chain, monkeypatch)
        async with device.running():
            device.stream.outcome(0)
            device.jobs[0].ack()
            assert await device.after(100.0) == 1

    run()


@async_test
async def test_edge_that_is_slower_than_the_timeout_computes_few_frames_twice(
    bundles: Path, chain: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(iot_node.stream, "OVERDUE_EVERY_S", 0.05)
    site = new_site(bundles)
    edge = site.edge()
    process = edge.frames.processor.process

    def slow(job: Job) -> Processed:
        time.sleep(0.1)  # the slowness that is tested, on the worker's thread
        return process(job)

    monkeypatch.setattr(edge.frames.processor, "process", slow)
    device = site.device(noise(chain, frames=18, in_flight=6, timeout_s=0.2))  # six frames take 0.6 s there
    async with site.running(site.hub(by_hand(chain)), site.cloud(), edge, device) as outcomes:
        await until(lambda: device.counters["frames_done"] == 18)
    assert len(outcomes.results) <= 2 * 18  # without bounds on it: more than 90
