"""A stream on its device: when its sensor is read, when frames are made the model's input, what is heard of them."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import iot_node.source
from iot_node.node import IotNode
from iot_node.stream import Stream
from tests.aio import async_test, until
from tests.given_sensors import Given
from tests.sites import ON_NO_BUS, new_site, noise
from tiercut.bus import Delivery
from tiercut.clock import SystemClock
from tiercut.model.bundle import Bundle
from tiercut.pipeline.jobs import Job
from tiercut.plan import Plan
from tiercut.protocol.nodes import StreamPlan
from tiercut.sensing.sensor_format import Captured, Spoiled


@pytest.fixture
def hearing(bundles: Path, chain: Bundle) -> IotNode:
    """A device with a stream, not on any bus."""
    return new_site(bundles).device(noise(chain))


LARGE, FITTING = (40, 40, 3), (16, 16, 3)


def pictures(*shapes: tuple[int, ...]) -> Iterator[Captured | Spoiled]:
    for i, shape in enumerate(shapes):
        yield Captured(np.full(shape, i, np.uint8), label=str(i))


class Device:
    """A stream whose frames go nowhere."""

    def __init__(self, bundle: Bundle, monkeypatch: pytest.MonkeyPatch, frames: Iterator[Any], **more: Any) -> None:
        self.jobs: list[Job] = []
        self.counters: Counter[str] = Counter()
        #: numbers of frames that were made the model's input, and on which thread
        self.made: list[tuple[int, str]] = []
        monkeypatch.setattr(iot_node.source, "open_sensor", lambda *_, **__: Given(frames))
        to_inputs = Bundle.to_inputs

        def noted(bundle: Bundle, frame: Any, variant: str) -> Any:
            self.made.append((int(frame.flat[0]), threading.current_thread().name))
            return to_inputs(bundle, frame, variant)

        monkeypatch.setattr(Bundle, "to_inputs", noted)
        self.stream = Stream(
            noise(bundle, frames=None, **more),
            site="home",
            node="d",
            bundle=bundle,
            clock=SystemClock(),
            counters=self.counters,
            submit=self.jobs.append,
            **ON_NO_BUS,
        )
        plan = Plan(epoch=1, first_cut=1, second_cut=bundle.end, device="d", edge="e", codecs=("raw",))
        self._plan = StreamPlan(stream="cam", model=bundle.model, model_name=bundle.name, plan=plan)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        self.stream.new_plan(self._plan)
        reading = asyncio.create_task(self.stream.sensor.read())
        yield
        reading.cancel()
        await asyncio.wait([reading])

    @property
    def sent(self) -> list[int]:
        return [job.work.seq for job in self.jobs]


@async_test
async def test_sensor_of_every_frame_is_read_when_its_frame_can_be_sent(
    chain: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = Device(chain, monkeypatch, pictures(*[LARGE] * 5), delivery="every", in_flight=2)
    async with device.running():
        await until(lambda: device.sent == [0, 1])
        await asyncio.sleep(0.05)
        assert device.counters["frames_captured"] == 2
        device.stream.outcome(0)
        await until(lambda: device.sent == [0, 1, 2])
    assert [number for number, _ in device.made] == [0, 1, 2]


@async_test
async def test_frame_that_is_replaced_is_never_made_the_models_input(
    chain: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = Device(chain, monkeypatch, pictures(*[LARGE] * 20), delivery="latest", fps=200, in_flight=1)
    async with device.running():
        await until(lambda: device.counters["frames_captured"] == 20)
        device.stream.outcome(0)
        await until(lambda: device.sent == [0, 19])
    assert device.counters["dropped.newer_frame"] == 18
    assert [number for number, _ in device.made] == [0, 19]
    assert device.made[1][1] != threading.current_thread().name  # the loop goes on meanwhile


@async_test
async def test_frame_that_waits_and_does_not_fit_is_dropped_and_frees_its_place(
    chain: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes = [FITTING, (16, 16, 9), FITTING]
    device = Device(chain, monkeypatch, pictures(*shapes), delivery="latest", fps=20, in_flight=1)
    async with device.running():
        await until(lambda: device.counters["frames_captured"] == 2)
        device.stream.outcome(0)
        await until(lambda: device.sent == [0, 2])
    assert device.counters["dropped.wrong_shape"] == 1


@async_test
async def test_frame_that_is_read_while_another_is_resized_does_not_overtake_it(
    chain: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes, go_on = [FITTING, FITTING, LARGE, FITTING], threading.Event()
    device = Device(chain, monkeypatch, pictures(*shapes), delivery="latest", fps=20, in_flight=2)
    to_inputs = Bundle.to_inputs

    def slow(bundle: Bundle, frame: Any, variant: str) -> Any:
        assert frame.shape == FITTING or go_on.wait(10)
        return to_inputs(bundle, frame, variant)

    monkeypatch.setattr(Bundle, "to_inputs", slow)
    async with device.running():
        await until(lambda: device.counters["frames_captured"] == 3)
        device.stream.outcome(0)
        device.stream.outcome(1)  # there is room for both that are left
        await until(lambda: device.counters["frames_captured"] == 4)
        assert device.sent == [0, 1]
        go_on.set()
        await until(lambda: len(device.jobs) == 4)
    assert device.sent == [0, 1, 2, 3]


@async_test
async def test_picture_of_the_models_size_is_its_input_as_it_is(chain: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    device = Device(chain, monkeypatch, pictures(FITTING), delivery="every")
    async with device.running():
        await until(lambda: device.sent == [0])
    (array,) = (device.jobs[0].arrays or {}).values()
    assert array.shape == (1, *FITTING)
    assert array.dtype == np.uint8


def test_sensor_thread_ends_with_its_reader(chain: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    def threads() -> list[str]:
        return [each.name for each in threading.enumerate() if each.name == "sensor-cam"]

    @async_test
    async def run() -> None:
        waits_for_permit = Device(chain, monkeypatch, pictures(*[FITTING] * 9), delivery="every", in_flight=1)
        waits_for_time = Device(chain, monkeypatch, pictures(*[FITTING] * 9), delivery="latest", fps=0.001)
        for device in (waits_for_permit, waits_for_time):
            async with device.running():
                await until(lambda device=device: device.sent == [0])  # type: ignore[misc]
                assert threads() == ["sensor-cam"]
            await until(lambda: not threads())

    run()


NAMED = (("id", "5-1000"), ("source", "/tiercut/home/cam"))


@pytest.mark.parametrize(
    ("payload", "properties", "heard"),
    [
        (b"not even read", NAMED, [(5, "5-1000")]),
        (b'{"stream": "cam", "seq": 7}', (), [(7, None)]),
        (b'{"stream": "cam", "seq": 7}', NAMED[:1], [(7, "5-1000")]),
        (b'{"stream": "cam", "seq": 7}', (NAMED[0], ("source", "/tiercut/home/garden")), []),
        (b'{"stream": "garden", "seq": 7}', (), []),
    ],
)
def test_outcome_is_known_by_its_id_and_read_only_without_one(
    hearing: IotNode, payload: bytes, properties: tuple[tuple[str, str], ...], heard: list[Any]
) -> None:
    stream, came = hearing.streams["cam"], list[Any]()
    stream.outcome = lambda seq, event=None, **_: came.append((seq, event))  # type: ignore[method-assign]
    hearing._outcome_heard(stream, Delivery("t", payload, 0.0, properties=properties), dropped=False)
    assert came == heard
    assert not any(name.startswith("bad.") for name in hearing.counters)


@pytest.mark.parametrize("event", ["", "five-1000", "-1000", "²-1000", "9" * 21 + "-1"])
def test_outcome_with_an_id_that_is_none_is_counted(hearing: IotNode, event: str) -> None:
    properties = (("id", event), NAMED[1])
    hearing._outcome_heard(hearing.streams["cam"], Delivery("t", b"", 0.0, properties=properties), dropped=False)
    assert hearing.counters["bad.bad_outcome"] == 1
