"""What a worker does with frames that come twice, and with those that fail on their way out."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.aio import async_test, until
from tiercut.errors import BusError, PacketTooLarge, PublishRefused
from tiercut.pipeline.decide import Finish, Forward, Wait
from tiercut.pipeline.jobs import Job, Processed
from tiercut.pipeline.worker import Worker
from tiercut.plan import Plan, Tier
from tiercut.protocol.frames import ClockStamp, Dropped, Work


def work(seq: int, captured_unix_s: float = 1.0, **more: Any) -> Work:
    fields: dict[str, Any] = {
        "site": "home",
        "stream": "cam",
        "seq": seq,
        "model": "0" * 64,
        "plan": Plan(epoch=1, first_cut=0, second_cut=1, device="d", edge="e", codecs=("raw",)),
        "delivery": "every",
        "cut": 0,
        "tensors": (),
        "captured_unix_s": captured_unix_s,
        "captured": ClockStamp("far", 1.0),
        "sent": ClockStamp("far", 1.0),
        **more,
    }
    return Work(**fields)


@dataclass
class FakeProcessor:
    """Finishes or forwards frames, as soon as it may."""

    action: Finish | Forward = field(default_factory=Finish)
    may: threading.Event = field(default_factory=threading.Event)

    def process(self, job: Job) -> Processed:
        self.may.wait()
        return Processed(job, self.action, job.work, b"{}")


@dataclass
class FakeOutlets:
    """Notes what leaves; ``errors`` are raised for results and frames sent on, ``drop_error`` for drops."""

    error: Exception | None = None
    drop_error: Exception | None = None
    finished: list[int] = field(default_factory=list)
    dropped: list[Dropped] = field(default_factory=list)

    def reachable(self, tier: Tier, node: str) -> bool:
        return bool(tier and node)

    async def forward(self, work: Work, to: Forward) -> None:
        await self.finish(work, to.codec.encode())

    async def finish(self, work: Work, result: bytes) -> None:
        assert result
        if self.error is not None:
            raise self.error
        self.finished.append(work.seq)

    async def drop(self, work: Work, dropped: Dropped) -> None:
        assert work.stream == dropped.stream
        if self.drop_error is not None:
            raise self.drop_error
        self.dropped.append(dropped)


@dataclass
class Bench:
    """A worker between fakes."""

    outlets: FakeOutlets = field(default_factory=FakeOutlets)
    processor: FakeProcessor = field(default_factory=FakeProcessor)
    counters: Counter[str] = field(default_factory=Counter)
    acked: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        processor: Any = self.processor
        self.worker = Worker(node="e", processor=processor, outlet=self.outlets, counters=self.counters)

    def submit(self, frame: Work, name: str) -> None:
        self.worker.submit(Job(work=frame, arrived_s=0.0, ack=lambda: self.acked.append(name)))


def said(kind: type[BusError]) -> BusError:
    return kind("a message", expected="'success'", came="'no'", fix="ask")


@async_test
async def test_frame_that_comes_again_while_it_waits_has_one_result() -> None:
    bench = Bench()
    bench.submit(work(0), "0")  # on the thread
    bench.submit(work(1), "1 first")
    bench.submit(work(1), "1 again")
    assert bench.acked == ["1 first"]
    bench.processor.may.set()
    await until(lambda: len(bench.acked) == 3)
    await bench.worker.drain(1.0)
    assert bench.outlets.finished == [0, 1]
    assert not bench.outlets.dropped
    assert bench.counters["frames_duplicate"] == 1


@async_test
async def test_frame_of_a_restarted_device_is_another_frame() -> None:
    bench = Bench()
    for name, captured in (("a", 1.0), ("b", 1.0), ("c", 2.0)):
        bench.submit(work(0 if name == "a" else 1, captured), name)
    bench.processor.may.set()
    await until(lambda: len(bench.acked) == 3)
    await bench.worker.drain(1.0)
    assert bench.outlets.finished == [0, 1, 1]


class HoldingProcessor(FakeProcessor):
    """Knows the answers of the stream ``cam``, and lets them wait while ``ahead``."""

    ahead = True

    def process(self, job: Job) -> Processed:
        action = Wait() if self.ahead and job.work.stream == "cam" else Finish()
        return Processed(job, action, job.work, b"{}")

    def must_wait(self, job: Job) -> bool:
        return self.ahead and job.work.stream == "cam"


@async_test
async def test_frame_that_waits_for_those_ahead_holds_its_stream_and_no_other() -> None:
    processor = HoldingProcessor()
    bench = Bench(processor=processor)
    for seq, stream in ((0, "cam"), (1, "cam"), (7, "door"), (8, "door")):
        bench.submit(work(seq, stream=stream), f"{stream} {seq}")
    await until(lambda: len(bench.acked) == 2)
    bench.worker.resume()
    assert bench.outlets.finished == [7, 8]
    assert bench.worker.waiting == 2
    processor.ahead = False
    bench.worker.resume()
    await until(lambda: len(bench.acked) == 4)
    assert await bench.worker.drain(1.0) == 0
    assert bench.outlets.finished == [7, 8, 0, 1]


@async_test
async def test_frame_that_waits_when_the_node_ends_stays_with_the_broker() -> None:
    bench = Bench(processor=HoldingProcessor())
    bench.submit(work(0), "0")
    await until(lambda: bench.worker.waiting == 1 and not bench.worker.running)
    bench.submit(work(0), "0 again")
    assert await bench.worker.drain(0.05) == 2
    assert not bench.acked


@async_test
async def test_latest_frame_that_comes_again_is_not_said_to_be_dropped() -> None:
    bench = Bench()
    bench.submit(work(0, delivery="latest"), "0")
    bench.submit(work(1, delivery="latest"), "1 first")
    bench.submit(work(1, delivery="latest"), "1 again")
    bench.processor.may.set()
    await until(lambda: len(bench.acked) == 3)
    await bench.worker.drain(1.0)
    assert bench.outlets.finished == [0, 1]
    assert not bench.outlets.dropped


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (RuntimeError("a fault of ours"), "fault"),
        (said(PublishRefused), "refused"),
        (said(PacketTooLarge), "refused"),
    ],
)
@pytest.mark.parametrize("action", [Finish(), Forward("cloud", "c", "raw")])
def test_frame_that_fails_on_its_way_out_is_dropped_with_a_reason(
    error: Exception, reason: str, action: Finish | Forward
) -> None:
    @async_test
    async def run() -> None:
        bench = Bench(FakeOutlets(error=error), FakeProcessor(action=action))
        bench.processor.may.set()
        bench.submit(work(0), "0")
        await until(lambda: bool(bench.acked))
        await bench.worker.drain(1.0)
        assert [(drop.seq, drop.reason) for drop in bench.outlets.dropped] == [(0, reason)]
        assert bench.counters[f"dropped.{reason}"] == 1

    run()


@pytest.mark.parametrize("drop_error", [RuntimeError("another fault"), said(PublishRefused)])
def test_frame_whose_drop_fails_too_is_acknowledged(drop_error: Exception) -> None:
    @async_test
    async def run() -> None:
        bench = Bench(FakeOutlets(error=RuntimeError("a fault of ours"), drop_error=drop_error))
        bench.processor.may.set()
        bench.submit(work(0), "0")
        await until(lambda: bool(bench.acked))
        assert await bench.worker.drain(1.0) == 0
        assert bench.counters["dropped.fault"] == 1

    run()


@async_test
async def test_frame_stays_unacknowledged_when_the_bus_is_closed() -> None:
    bench = Bench(FakeOutlets(error=said(BusError)))
    bench.processor.may.set()
    bench.submit(work(0), "0")
    await bench.worker.drain(1.0)
    assert not bench.acked
    assert not bench.outlets.dropped
