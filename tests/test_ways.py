"""A stream that follows several plans: windows, plans that are stuck, changes, outcomes that come home, bad plans."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from msgspec import UNSET

import iot_node.outcome_order
import iot_node.stream
from iot_node.stream import Stream
from iot_node.ways import SILENT_AT_FIRST_S
from tests.aio import async_test, until
from tests.mixing import mix, plans
from tests.sites import noise
from tiercut.bus import Message
from tiercut.clock import ManualClock
from tiercut.coordinator.mix import Mix
from tiercut.declared import decode_json, encode_json
from tiercut.errors import BadEnvelope, CutError, SettingsError
from tiercut.model.bundle import Bundle
from tiercut.pipeline.jobs import Job
from tiercut.plan import Plan
from tiercut.protocol.events import event_id
from tiercut.protocol.nodes import MAX_OTHER_PLANS, MIN_FPS, OtherPlan, StreamPlan


class Device:
    """A stream whose frames go nowhere: the test says what becomes of them."""

    def __init__(self, bundle: Bundle, monkeypatch: pytest.MonkeyPatch, **more: Any) -> None:
        monkeypatch.setattr(iot_node.stream, "OVERDUE_EVERY_S", 0.002)
        self.bundle = bundle
        self.clock = ManualClock(start_s=1000.0)
        self.jobs: list[Job] = []
        self.counters: Counter[str] = Counter()
        self.published: list[bytes] = []
        self.acked: list[int] = []
        self.gone: set[str] = set()
        self.stream = Stream(
            noise(bundle, **{"frames": None, "width": 16, "height": 16, "in_flight": 2, **more}),
            site="home",
            node="d",
            bundle=bundle,
            clock=self.clock,
            counters=self.counters,
            submit=self._submit,
            publish=self._publish,
            reachable=lambda plan: plan.edge not in self.gone,
        )

    def _submit(self, job: Job) -> None:
        self.jobs.append(job)
        job.ack()  # the next node's broker has it

    def _publish(self, message: Message, ack: Any) -> None:
        self.published.append(message.payload)
        ack()

    @asynccontextmanager
    async def following(self, offered: StreamPlan) -> AsyncIterator[None]:
        self.stream.new_plan(offered)
        tasks = [asyncio.create_task(task()) for task in (self.stream.sensor.read, self.stream.watch_overdue)]
        yield
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        self.stream.close()

    def plan_of(self, job: Job) -> str:
        return next(name for name, plan in plans(self.bundle, job.work.plan.epoch).items() if plan == job.work.plan)

    @property
    def sent(self) -> list[tuple[int, str]]:
        return [(job.work.seq, self.plan_of(job)) for job in self.jobs]

    def home(self, job: Job, *, dropped: bool = False) -> None:
        """An outcome comes home that the device is to publish."""
        work = job.work
        event = event_id(work.seq, work.captured_unix_s)
        message = Message("out", b"%d" % work.seq)
        self.stream.came_home(work.seq, event, message, lambda: self.acked.append(work.seq), dropped=dropped)

    async def settled(self) -> None:
        """Let the sensor's thread and the loop do what they can do."""
        before = -1
        while before != len(self.jobs):
            before = len(self.jobs)
            await asyncio.sleep(0.03)


@async_test
async def test_full_plan_keeps_a_frame_of_every_waiting_for_its_turn(
    chain: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = Device(chain, monkeypatch)
    async with device.following(mix(chain, {"device": 0.5, "edge": 0.5})):
        await device.settled()
        assert Counter(name for _, name in device.sent) == {"device": 2, "edge": 2}
        for job in list(device.jobs):
            if device.plan_of(job) == "edge":
                device.home(job)
        await device.settled()
        assert Counter(name for _, name in device.sent)["edge"] <= 3  # the other's turn comes between


@async_test
async def test_full_plan_of_latest_leaves_its_frames_to_those_with_room(
    chain: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = Device(chain, monkeypatch, delivery="latest")
    async with device.following(mix(chain, {"device": 0.9, "edge": 0.1})):
        await device.settled()
        assert Counter(name for _, name in device.sent) == {"device": 2, "edge": 2}
        for _ in range(5):
            job = next(job for job in reversed(device.jobs) if device.plan_of(job) == "edge")
            device.stream.outcome(job.work.seq)
            await device.settled()
        assert Counter(name for _, name in device.sent) == {"device": 2, "edge": 7}
        assert all(job.work.outcomes != "device" for job in device.jobs)


@async_test
async def test_frames_of_a_plan_have_a_lane_of_their_own(chain: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    device = Device(chain, monkeypatch)
    async with device.following(mix(chain, {"device": 0.5, "edge": 0.3, "cloud": 0.2})):
        await until(lambda: {name for _, name in device.sent} == {"device", "edge", "cloud"})
        lanes = {device.plan_of(job): job.work.lane for job in device.jobs}
        device.stream.new_plan(mix(chain, {"cloud": 0.5, "all": 0.5}, epoch=2))
        for job in list(device.jobs):
            device.home(job)
        await until(
            lambda: {"cloud", "all"} <= {device.plan_of(job) for job in device.jobs if job.work.plan.epoch == 2}
        )
        later = {device.plan_of(job): job.work.lane for job in device.jobs if job.work.plan.epoch == 2}
    assert len(set(lanes.values())) == 3
    assert later["cloud"] == lanes["cloud"]
    assert later["all"] != later["cloud"]


@async_test
async def test_frames_at_a_node_that_is_gone_go_another_way_at_once_and_come_back_with_it(
    chain: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = Device(chain, monkeypatch)
    async with device.following(mix(chain, {"device": 0.5, "edge": 0.5})):
        await device.settled()
        stuck = [seq for seq, name in device.sent if name == "edge"]
        device.gone.add("e")
        device.stream.nodes_changed()
        again = [(job.work.seq, device.plan_of(job)) for job in device.jobs[4:]]
        assert again == [(seq, "device") for seq in stuck]
        assert device.counters["frames_resent"] == 2
        for job in list(device.jobs):
            device.home(job)
        await device.settled()
        assert {name for _, name in device.sent[6:]} == {"device"}
        device.gone.clear()
        for job in device.jobs[6:]:
            device.home(job)
        await device.settled()
        assert "edge" in {name for _, name in device.sent[8:]}
        assert device.counters["swallowed.duplicate"] == 2  # of the frames that were sent twice
    numbers = [int(each) for each in device.published]
    assert numbers == list(range(len(numbers)))


@async_test
async def test_silent_plan_gets_single_frames_until_one_comes_back(
    chain: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = Device(chain, monkeypatch)
    answers = {"device"}

    async def go_on(seconds: float) -> None:
        for _ in range(round(seconds / 0.1)):
            device.clock.advance(0.1)
            for job in list(device.jobs):
                if device.plan_of(job) in answers and job.work.seq not in done:
                    done.add(job.work.seq)
                    device.home(job)
            await asyncio.sleep(0.01)

    done: set[int] = set()
    async with device.following(mix(chain, {"device": 0.5, "edge": 0.5})):
        await device.settled()
        await go_on(SILENT_AT_FIRST_S + 1.0)
        silent_from = len(device.jobs)
        report = device.stream.report().plans
        assert isinstance(report, tuple)
        assert [each.works for each in report] == [True, False]
        await go_on(12.0)
        later = Counter(name for _, name in device.sent[silent_from:])
        assert 1 <= later["edge"] <= 3
        assert later["device"] > 20
        answers.add("edge")
        await go_on(20.0)
        mixed = Counter(name for _, name in device.sent[-40:])
        assert abs(mixed["edge"] - 20) <= 2
    numbers = [int(each) for each in device.published]
    assert numbers == list(range(len(numbers)))


@async_test
async def test_plan_that_was_silent_works_again_once_it_has_answered_as_the_only_one(
    chain: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = Device(chain, monkeypatch, delivery="latest", in_flight=2)

    def edge_works() -> bool:
        report = device.stream.report().plans
        assert isinstance(report, tuple)
        return report[1].works

    def answer(*names: str) -> None:
        for job in list(device.jobs):
            if device.plan_of(job) in names:
                device.stream.outcome(job.work.seq)

    both = {"device": 0.5, "edge": 0.5}
    async with device.following(mix(chain, both)):
        await device.settled()
        for _ in range(6):
            answer("device")
            device.clock.advance(1.0)
            await device.settled()
        assert not edge_works()
        device.stream.new_plan(mix(chain, {"edge": 1.0}, epoch=2))
        device.stream.new_plan(mix(chain, both, epoch=3))
        assert not edge_works()  # nothing has come back
        device.stream.new_plan(mix(chain, {"edge": 1.0}, epoch=4))
        answer("device")
        device.clock.advance(0.1)
        await until(lambda: not device.stream._flights.are_mixed)
        answer("edge")
        device.stream.new_plan(mix(chain, both, epoch=5))
        assert edge_works()


@async_test
async def test_latest_in_order_skips_a_frame_that_is_late_and_swallows_what_comes_of_it(
    chain: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = Device(chain, monkeypatch, delivery="latest", ordered=True, in_flight=3)
    async with device.following(mix(chain, {"device": 1.0})):
        await device.settled()
        first, second, third = device.jobs[:3]
        assert first.work.outcomes == "device"
        device.home(third)
        device.home(second)
        assert device.published == []
        device.clock.advance(1.1)  # nobody knows yet what is usual
        device.home(second)
        await device.settled()
        fourth = device.jobs[3]
        device.home(fourth)
        assert device.published == [b"1", b"2", b"3"]
        device.home(first)
        assert device.published == [b"1", b"2", b"3"]
        frames = device.stream.report().frames
    assert frames["dropped.overtaken"] == 1
    assert frames["swallowed.duplicate"] == 1
    assert frames["done"] == 3
    assert 0 in device.acked


@async_test
async def test_latest_in_order_skips_the_oldest_where_as_much_waits_as_may(
    chain: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(iot_node.outcome_order, "MAX_FRAMES", 8)
    device = Device(chain, monkeypatch, delivery="latest", ordered=True, in_flight=2)
    async with device.following(mix(chain, {"device": 0.5, "edge": 0.5})):
        await device.settled()
        stuck = [job for job in device.jobs if device.plan_of(job) == "edge"]
        done: set[int] = set()
        for _ in range(30):  # the clock stands still: none is late
            job = next(each for each in device.jobs if device.plan_of(each) == "device" and each.work.seq not in done)
            done.add(job.work.seq)
            before = len(device.jobs)
            device.home(job)
            await until(lambda before=before: len(device.jobs) > before)  # type: ignore[misc]
            assert device.stream._flights.home is not None
            assert len(device.stream._flights.home) <= 8
        assert len(device.published) > 20
        for job in stuck:
            device.home(job)
        frames = device.stream.report().frames
    numbers = [int(each) for each in device.published]
    assert numbers == sorted({*numbers})
    assert not {*numbers} & {job.work.seq for job in stuck}
    assert frames["dropped.overtaken"] == len(stuck)


@async_test
async def test_latest_in_order_skips_the_oldest_where_large_outcomes_wait(
    chain: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(iot_node.outcome_order, "MAX_BYTES", 2)
    device = Device(chain, monkeypatch, delivery="latest", ordered=True, in_flight=4)
    async with device.following(mix(chain, {"device": 1.0})):
        await device.settled()
        device.home(device.jobs[1])
        assert device.published == []
        device.home(device.jobs[2])
        assert device.published == [b"1", b"2"]


@async_test
async def test_outcome_from_before_a_restart_is_passed_on_at_once(
    chain: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = Device(chain, monkeypatch)
    async with device.following(mix(chain, {"device": 0.5, "edge": 0.5})):
        await device.settled()
        before = event_id(3, device.clock.unix_s() - 60)
        device.stream.came_home(3, before, Message("out", b"old"), lambda: device.acked.append(3))
        assert (device.published, device.acked) == ([b"old"], [3])


@async_test
async def test_outcomes_that_wait_do_not_use_up_the_brokers_credit(
    chain: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = Device(chain, monkeypatch, in_flight=4)
    async with device.following(mix(chain, {"device": 0.5, "edge": 0.5})):
        await device.settled()
        for job in device.jobs[1:]:
            device.home(job)
        assert device.acked == [job.work.seq for job in device.jobs[1:]]  # each as it comes, and once
        assert device.published == []
        device.stream.publish_all()
        assert [int(each) for each in device.published] == device.acked


@async_test
async def test_frame_of_several_plans_that_a_single_one_sends_again_keeps_its_place(
    chain: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = Device(chain, monkeypatch, in_flight=3)
    async with device.following(mix(chain, {"device": 0.5, "edge": 0.5})):
        await device.settled()
        for job in list(device.jobs):
            if device.plan_of(job) == "device":
                device.home(job)
        await device.settled()
        device.stream.new_plan(mix(chain, {"device": 1.0}, epoch=2))
        before = len(device.jobs)
        device.clock.advance(12.0)
        await device.settled()
        again = device.jobs[before:]
        assert again
        assert {job.work.plan.epoch for job in again} == {2}
        assert {job.work.outcomes for job in again} == {"device"}
        for job in reversed(again):
            device.home(job)
        await device.settled()
        assert device.jobs[before + len(again) :]
        assert {job.work.outcomes for job in device.jobs[before + len(again) :]} == {UNSET}
    numbers = [int(each) for each in device.published]
    assert numbers == list(range(before))


@async_test
async def test_ways_that_both_have_keep_what_is_known_of_them(chain: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    device = Device(chain, monkeypatch, in_flight=1)
    async with device.following(mix(chain, {"device": 0.5, "edge": 0.5})):
        for _ in range(10):
            await device.settled()
            device.clock.advance(0.05)
            for job in device.jobs:
                device.home(job)
        ways = device.stream._flights.ways
        assert ways is not None
        known = {way.plan.edge: way.window.late_after_s for way in ways.ways}
        assert max(known.values()) < 1.0
        device.stream.new_plan(mix(chain, {"edge": 0.3, "all": 0.7}, epoch=2))
        assert device.stream._flights.ways is not None
        after = {way.plan.cloud: way.window.late_after_s for way in device.stream._flights.ways.ways}
        assert after[None] == known["e"]
        assert after["c"] == float("inf")


@async_test
async def test_rate_slows_the_sensor_of_every_and_passes_over_frames_of_latest(
    chain: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = Device(chain, monkeypatch, in_flight=100)
    async with device.following(mix(chain, {"device": 1.0}, fps=10)):
        await device.settled()
        assert len(device.jobs) == 1
        for _ in range(20):
            device.clock.advance(0.1)
            device.stream._go()
            await device.settled()
    assert 20 <= len(device.jobs) <= 22
    assert device.counters["dropped.beyond_rate"] == 0

    device = Device(chain, monkeypatch, delivery="latest", fps=1000.0, in_flight=100)
    async with device.following(mix(chain, {"device": 1.0}, fps=10)):
        await until(lambda: device.counters["frames_captured"] >= 50)
        assert len(device.jobs) == 1  # the device's clock stands still
        device.stream.new_plan(mix(chain, {"device": 1.0}, epoch=2))
        await until(lambda: len(device.jobs) > 20)
    report = device.stream.report()
    assert report.frames["dropped.beyond_rate"] >= 49
    assert "lower its rate" in next(each.message for each in report.trouble if each.reason == "beyond_rate")


@pytest.mark.parametrize("delivery", ["every", "latest"])
def test_single_plan_runs_nothing_that_is_for_several(
    chain: Bundle, monkeypatch: pytest.MonkeyPatch, delivery: str
) -> None:
    called: Counter[str] = Counter()

    def note(frame: FrameType, event: str, _: object) -> None:
        path = Path(frame.f_code.co_filename)
        if event == "call" and path.parent.name in {"iot_node", "pipeline"}:
            called[path.stem] += 1

    @async_test
    async def run() -> None:
        device = Device(chain, monkeypatch, delivery=delivery)
        async with device.following(mix(chain, {"edge": 1.0})):
            await device.settled()
            sys.setprofile(note)
            try:
                for number in range(50):
                    await until(lambda number=number: len(device.jobs) > number)  # type: ignore[misc]
                    device.stream.outcome(device.jobs[number].work.seq)
            finally:
                sys.setprofile(None)

    run()
    assert called["stream"] >= 50
    assert not called.keys() & {"ways", "following", "dealing", "rate_limit", "homecoming", "outcome_order"}


# ---------------------------------------------------------------------- bad input


def of(bundle: Bundle, *others: tuple[Plan, float], **more: Any) -> StreamPlan:
    made = tuple(OtherPlan(plan=plan, share=share) for plan, share in others)
    first = plans(bundle)["device"]
    return StreamPlan(stream="cam", model=bundle.model, model_name="m", plan=first, others=made, **more)


def test_message_whose_parts_contradict_each_other_is_refused(chain: Bundle) -> None:
    known = plans(chain)
    for others in ([(known["edge"], 0.5), (known["cloud"], 0.5)], [(plans(chain, 2)["edge"], 0.5)]):
        with pytest.raises(BadEnvelope, match="shares of less than 1 in all, and one epoch"):
            of(chain, *others)
    good = encode_json(of(chain, (known["edge"], 0.25), frames_per_second=5.0))
    assert decode_json(StreamPlan, good).frames_per_second == 5
    for bad in (
        good.replace(b'"frames_per_second":5.0', b'"frames_per_second":0'),
        good.replace(b'"frames_per_second":5.0', b'"frames_per_second":-1'),
        good.replace(b'"frames_per_second":5.0', b'"frames_per_second":NaN'),
        good.replace(b'"frames_per_second":5.0', b'"frames_per_second":1e400'),
        good.replace(b'"frames_per_second":5.0', b'"frames_per_second":1e-320'),
        good.replace(b'"share":0.25', b'"share":0'),
        good.replace(b'"share":0.25', b'"share":1'),
        good.replace(b'"share":0.25', b'"share":null'),
        encode_json(of(chain, *[(known["edge"], 0.01)] * (MAX_OTHER_PLANS + 1))),
    ):
        with pytest.raises(BadEnvelope):
            decode_json(StreamPlan, bad)


def test_room_for_hardly_a_frame_is_told_as_the_lowest_rate(chain: Bundle) -> None:
    sent = Mix(((plans(chain)["device"], 1.0),), 1e-9).message(
        stream="cam", model=chain.model, model_name="m", reason=""
    )
    assert decode_json(StreamPlan, encode_json(sent)).frames_per_second == MIN_FPS


def test_one_plan_that_does_not_fit_refuses_all_of_them(chain: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    known, end = plans(chain), chain.end
    device = Device(chain, monkeypatch, min_first_cut=1)
    device.stream.check(of(chain, (known["all"], 0.5)))
    for plan, error, said in (
        (known["edge"], SettingsError, "first_cut of 1 or more, got first_cut 0"),
        (Plan(epoch=1, first_cut=end, second_cut=end, device="other"), SettingsError, "for another device"),
        (Plan(epoch=1, first_cut=end + 1, second_cut=end + 1, device="d"), SettingsError, "does not fit the model"),
        (Plan(epoch=1, first_cut=end, second_cut=end, device="d", exit="none"), CutError, "none"),
    ):
        with pytest.raises(error, match=said):
            device.stream.check(of(chain, (known["all"], 0.3), (plan, 0.3)))
    device.stream.close()
