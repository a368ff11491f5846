"""What a worker does with frames that come twice, and with those that fail on their way out."""

from __future__ import annotations

import asyncio
import math
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.aio import async_test, until
from tiercut.codecs.encoded import EncodedTensor
from tiercut.errors import BusError, PacketTooLarge, PublishRefused
from tiercut.pipeline.decide import Drop, Finish, Forward, Wait
from tiercut.pipeline.dispatch import Posted, Taken
from tiercut.pipeline.jobs import Job, Processed
from tiercut.pipeline.short_work import BORDER_S, RUNS
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
    seconds: float = 1.0
    threads: list[str] = field(default_factory=list)

    @staticmethod
    def due_s(_: object) -> float:
        """No frame has a deadline."""
        return math.inf

    @staticmethod
    def due_still_s(job: Job) -> float:
        """Nor later."""
        return job.due_s

    def process(self, job: Job) -> Processed:
        self.may.wait()
        self.threads.append(threading.current_thread().name)
        job.seconds = self.seconds
        return Processed(job, self.action, result=b"{}")


class Nothing:
    """Cannot be taken back."""

    def cancel(self) -> None:
        """It is there already."""


@dataclass
class FakeOutlets:
    """Notes what leaves; ``errors`` are raised for results and frames sent on, ``drop_error`` for drops.

    With ``answers_at_once`` it tells before it returns, as a bus may; otherwise a turn of the loop later.
    """

    error: Exception | None = None
    drop_error: Exception | None = None
    answers_at_once: bool = False
    finished: list[int] = field(default_factory=list)
    dropped: list[Dropped] = field(default_factory=list)

    def reachable(self, tier: Tier, node: str) -> bool:
        return bool(tier and node)

    def forward(self, job: Job, tensors: tuple[EncodedTensor, ...], to: Forward, taken: Taken) -> Posted:
        assert not tensors
        return self.finish(job.work, to.codec.encode(), taken)

    def finish(self, work: Work, result: bytes, taken: Taken) -> Posted:
        assert result
        if self.error is None:
            self.finished.append(work.seq)
        return self._tell(self.error, taken)

    def drop(self, work: Work, dropped: Dropped, taken: Taken) -> Posted:
        assert work.stream == dropped.stream
        if self.drop_error is None:
            self.dropped.append(dropped)
        return self._tell(self.drop_error, taken)

    def _tell(self, error: Exception | None, taken: Taken) -> Posted:
        if not self.answers_at_once:
            asyncio.get_running_loop().call_soon(taken, error)
        elif error is not None:
            raise error
        else:
            taken(None)
        return Nothing()


@dataclass
class Bench:
    """A worker between fakes."""

    outlets: FakeOutlets = field(default_factory=FakeOutlets)
    processor: FakeProcessor = field(default_factory=FakeProcessor)
    counters: Counter[str] = field(default_factory=Counter)
    acked: list[str] = field(default_factory=list)
    soon: Callable[[Callable[[], None]], None] | None = None

    def __post_init__(self) -> None:
        processor: Any = self.processor
        outlet, counters = self.outlets, self.counters
        self.worker = Worker(node="e", processor=processor, outlet=outlet, counters=counters, soon=self.soon)

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
        return Processed(job, action, result=b"{}")

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
async def test_latest_frame_replaces_those_of_its_own_lane_alone() -> None:
    bench = Bench()
    for seq, lane in enumerate((0, 1, 0, 1)):  # the first is worked on
        bench.worker.submit(Job(work=work(seq, delivery="latest", lane=lane), arrived_s=0.0, ack=lambda: None))
    bench.worker.submit(Job(work=work(4, delivery="latest"), arrived_s=0.0, ack=lambda: None))
    bench.processor.may.set()
    await until(lambda: len(bench.outlets.finished) == 3)
    assert [each.seq for each in bench.outlets.dropped] == [1, 2]
    assert sorted(bench.outlets.finished) == [0, 3, 4]
    await bench.worker.drain(1.0)


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
@pytest.mark.parametrize("at_once", [False, True])
def test_frame_that_fails_on_its_way_out_is_dropped_with_a_reason(
    error: Exception, reason: str, action: Finish | Forward, at_once: bool
) -> None:
    @async_test
    async def run() -> None:
        bench = Bench(FakeOutlets(error=error, answers_at_once=at_once), FakeProcessor(action=action))
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


@async_test
async def test_short_work_needs_no_thread_once_that_is_known_and_keeps_the_order() -> None:
    processor = FakeProcessor(seconds=BORDER_S / 2)
    bench = Bench(FakeOutlets(answers_at_once=True), processor)
    processor.may.set()
    bench.submit(work(0), "0")
    await until(lambda: bool(bench.acked))
    for seq in range(1, 6):
        bench.submit(work(seq), str(seq))
    await until(lambda: len(bench.acked) == 6)
    assert processor.threads[0] != threading.current_thread().name, "its segment may have to be loaded"
    assert set(processor.threads[1:]) == {threading.current_thread().name}
    assert bench.outlets.finished == list(range(6))
    assert await bench.worker.drain(1.0) == 0


async def one_after_the_other(bench: Bench, frame: Work) -> None:
    bench.submit(frame, str(frame.seq))
    await until(lambda: len(bench.acked) == frame.seq + 1)


@pytest.mark.parametrize(
    "changed", [{"cut": 1}, {"plan": Plan(epoch=2, first_cut=0, second_cut=1, device="d", edge="e", codecs=("raw",))}]
)
def test_long_work_and_the_first_frame_of_a_plan_go_to_a_thread(changed: dict[str, Any]) -> None:
    @async_test
    async def run() -> None:
        processor = FakeProcessor(seconds=BORDER_S / 2)
        bench = Bench(FakeOutlets(), processor)
        processor.may.set()
        for seq, more in enumerate(({}, {}, changed)):
            await one_after_the_other(bench, work(seq, **more))
        processor.seconds = 2 * BORDER_S
        for seq in range(3, 3 + RUNS + 2):
            await one_after_the_other(bench, work(seq, **changed))
        here = [name == threading.current_thread().name for name in processor.threads]
        assert here[:4] == [False, True, False, True]
        assert here[-1] is False, "it has become long"

    run()


class EverySecondOneIsDropped(FakeProcessor):
    """Drops half of the frames at once, and takes long for the others."""

    def process(self, job: Job) -> Processed:
        done = super().process(job)
        if job.work.seq % 2:
            return done
        job.seconds = 0.0
        return Processed(job, Drop("too_late", "too late"))


@async_test
async def test_long_work_stays_on_a_thread_where_other_frames_are_dropped_at_once() -> None:
    bench = Bench(FakeOutlets(), EverySecondOneIsDropped(seconds=2 * BORDER_S))
    bench.processor.may.set()
    for seq in range(8):
        await one_after_the_other(bench, work(seq))
    assert threading.current_thread().name not in bench.processor.threads


@async_test
async def test_one_run_that_is_far_too_long_sends_the_next_frame_to_a_thread() -> None:
    bench = Bench(FakeOutlets(), FakeProcessor(seconds=BORDER_S / 2))
    bench.processor.may.set()
    for seq in range(3):
        await one_after_the_other(bench, work(seq))
    bench.processor.seconds = 6 * BORDER_S
    for seq in range(3, 6):
        await one_after_the_other(bench, work(seq))
    here = [name == threading.current_thread().name for name in bench.processor.threads]
    assert here == [False, True, True, True, False, False]


class EdgeMayBeGone(FakeOutlets):
    """Where no edge can be reached any more."""

    is_gone = False

    def reachable(self, tier: Tier, node: str) -> bool:
        return not self.is_gone and super().reachable(tier, node)


@async_test
async def test_first_frame_without_the_next_node_goes_to_a_thread_as_the_rest_may_have_to_be_loaded() -> None:
    outlets = EdgeMayBeGone()
    bench = Bench(outlets, FakeProcessor(Forward("edge", "e", "raw"), seconds=BORDER_S / 2))
    bench.processor.may.set()
    for seq in range(2):
        await one_after_the_other(bench, work(seq))
    outlets.is_gone = True
    await one_after_the_other(bench, work(2))
    here = [name == threading.current_thread().name for name in bench.processor.threads]
    assert here == [False, True, False]


class PassingProcessor(FakeProcessor):
    """Only passes on frames of the stream ``passing``, in no time; others are held on the thread."""

    def due_s(self, frame: Work) -> float:  # type: ignore[override]
        return -math.inf if frame.stream == "passing" else math.inf

    def process(self, job: Job) -> Processed:
        if job.work.stream != "passing":
            return super().process(job)
        self.threads.append(threading.current_thread().name)
        job.seconds = BORDER_S / 10
        return Processed(job, Finish(), result=b"{}")


@async_test
async def test_frame_that_only_passes_does_not_wait_for_the_segment_of_another() -> None:
    bench = Bench(FakeOutlets(), PassingProcessor())
    bench.submit(work(0, stream="passing"), "passes, as nobody knows yet how long it takes")
    await until(lambda: len(bench.acked) == 1)
    bench.submit(work(1), "held")
    await asyncio.sleep(0.02)
    bench.submit(work(2), "waits for it")
    for seq in (3, 4):
        bench.submit(work(seq, stream="passing"), "passes")
    await until(lambda: len(bench.acked) == 3)
    assert bench.outlets.finished == [0, 3, 4]
    bench.processor.may.set()
    await until(lambda: len(bench.acked) == 5)
    assert sorted(bench.outlets.finished[3:]) == [1, 2]
    assert await bench.worker.drain(1.0) == 0


@async_test
async def test_frames_that_only_pass_leave_the_thread_to_others() -> None:
    turns: list[Callable[[], None]] = []
    bench = Bench(FakeOutlets(), PassingProcessor(), soon=turns.append)
    bench.submit(work(0, stream="passing"), "passes, as nobody knows yet how long it takes")
    await until(lambda: len(bench.acked) == 1)
    bench.submit(work(1), "held")
    bench.submit(work(2), "waits for it")
    bench.submit(work(3, stream="passing"), "passes, when the loop has time for it")
    assert len(turns) == 1
    bench.processor.may.set()
    await until(lambda: len(bench.acked) == 3)
    assert bench.outlets.finished == [0, 1, 2]
    turns.pop()()
    await until(lambda: len(bench.acked) == 4)
    assert await bench.worker.drain(1.0) == 0
