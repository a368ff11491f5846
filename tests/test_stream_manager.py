"""Streams of a device as their sensors fail, take long to open, or are asked for in words that it does not know."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest

import iot_node.source
import iot_node.stream_manager
from iot_node.background_open import open_in_background
from iot_node.bus_sensor import MAX_PICTURES_OF_EVERY
from iot_node.node import IotNode
from iot_node.stream import Stream
from tests.aio import async_test, until
from tests.given_sensors import Given
from tests.sites import ON_NO_BUS, SITE_URL, Site, by_hand, new_site, noise
from tiercut.bus import Delivery, Message
from tiercut.bus.memory import MemoryBroker, MemoryBus
from tiercut.clock import ManualClock
from tiercut.declared import decode_json, encode_json
from tiercut.errors import SensorError, SettingsError
from tiercut.model.bundle import Bundle
from tiercut.pipeline.jobs import Job
from tiercut.plan import Deadline, DeliveryMode, Plan
from tiercut.protocol.nodes import PrepareSegment, StreamPlan
from tiercut.protocol.stream_settings import SourceSettings, StreamSettings
from tiercut.protocol.streams import SourceReport
from tiercut.protocol.topics import PREPARE, SOURCE, STREAMS
from tiercut.sensing.sensor_format import Captured, Spoiled
from tiercut.sensors import check_source

UNPLUGGED = SensorError("the sensor was unplugged", expected="a", came="b", fix="plug it in")


def picture() -> Captured:
    return Captured(np.full((16, 16, 3), 90, np.uint8))


class Openings:
    """Opens sensors: each that is opened gives what stands next in the list."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *sensors: Iterator[Captured | Spoiled]) -> None:
        self.count = 0
        self._sensors = sensors
        monkeypatch.setattr(iot_node.source, "open_sensor", self.open)
        monkeypatch.setattr(iot_node.stream_manager, "REPORT_EVERY_S", 0.02)

    def open(self, source: SourceSettings, *, stream: str) -> Given:
        del source, stream
        self.count += 1
        return Given(self._sensors[min(self.count, len(self._sensors)) - 1])


def failing(frames: int) -> Iterator[Captured | Spoiled]:
    for _ in range(frames):
        yield picture()
    raise UNPLUGGED


def steady(frames: int) -> Iterator[Captured | Spoiled]:
    for _ in range(frames):
        yield picture()


class Reports:
    """What the device says of its sensors."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self.all: list[SourceReport] = []
        self.bus = MemoryBus(site.brokers[SITE_URL])

    async def __aenter__(self) -> Self:
        await self.bus.__aenter__()
        await self.bus.subscribe(SOURCE.filter(site="home"), handler=self._heard)
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.bus.__aexit__(None, None, None)

    def _heard(self, delivery: Delivery) -> None:
        delivery.ack()
        assert delivery.payload, "a device takes no report back: another one may be saying its own by now"
        self.all.append(decode_json(SourceReport, delivery.payload))

    async def assign(self, *streams: dict[str, Any], model: str) -> None:
        document = {"streams": [{"settings": each, "model": model} for each in streams]}
        topic = STREAMS.of(site="home", tier="device", node="d")
        await self.bus.publish(Message(topic, json.dumps(document).encode(), retain=True))

    async def until(self, stream: str, state: str) -> SourceReport:
        def is_there() -> bool:
            said = [each for each in self.all if each.stream == stream]
            return bool(said) and said[-1].state == state

        await until(is_there)
        return next(each for each in reversed(self.all) if each.stream == stream)


def test_sensor_that_fails_is_said_and_opened_again(
    bundles: Path, chain: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    @async_test
    async def run() -> None:
        site = new_site(bundles)
        openings = Openings(monkeypatch, failing(3), steady(4))
        device = site.device(noise(chain, frames=None))
        device.manager.again_s = 0.3
        nodes = site.hub(by_hand(chain)), site.cloud(), site.edge(), device
        async with Reports(site) as reports, site.running(*nodes) as outcomes:
            failed = await reports.until("cam", "failed")
            await outcomes.until(results=3)  # those under way
            ended = await reports.until("cam", "ended")
            await outcomes.until(results=7)
            await asyncio.sleep(0.5)
        assert "plug it in" in failed.message
        assert failed.model == chain.model
        assert (ended.frames["captured"], ended.message) == (7, "")
        assert outcomes.seqs() == list(range(7))
        assert openings.count == 2  # one that has ended is left alone

    run()


@async_test
async def test_new_state_of_a_sensor_is_said_at_once(
    bundles: Path, chain: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(iot_node.stream_manager, "REPORT_EVERY_S", 3600.0)
    site = new_site(bundles)
    nodes = site.hub(by_hand(chain)), site.cloud(), site.edge(), site.device(noise(chain, frames=None, fps=50))
    async with Reports(site) as reports, site.running(*nodes):
        await reports.until("cam", "running")
    assert [each.state for each in reports.all] == ["silent", "running"]


def test_sensor_that_cannot_be_opened_again_is_tried_until_it_can(
    bundles: Path, chain: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    @async_test
    async def run() -> None:
        site = new_site(bundles)
        openings = Openings(monkeypatch, failing(0), steady(2))
        device = site.device(noise(chain, frames=2))
        device.manager.again_s = 0.05
        tries = iter(range(9))

        def gone(source: SourceSettings, *, stream: str) -> Any:
            if next(tries) < 3:
                raise SensorError("cannot open the sensor", expected="x", came="y", fix="still away")
            return openings.open(source, stream=stream)

        monkeypatch.setattr(iot_node.source, "open_sensor", gone)
        async with Reports(site) as reports, site.running(site.hub(by_hand(chain)), site.cloud(), site.edge(), device):
            await reports.until("cam", "ended")
        assert any("still away" in each.message for each in reports.all)
        assert openings.count == 2

    run()


@async_test
async def test_stream_with_settings_of_another_version_stops_no_others(bundles: Path, chain: Bundle) -> None:
    site = new_site(bundles)
    device = site.device()
    good = {"name": "good", "model": "chain", "sensor": "noise", "frames": 1}
    async with Reports(site) as reports, site.running(device):
        await reports.assign(good, {**good, "name": "new", "colour": "red"}, model=chain.model)
        await until(lambda: "good" in device.streams)
        refused = await reports.until("new", "failed")
        await reports.assign(good, {**good, "name": "new"}, model=chain.model)
        taken_up = await reports.until("new", "silent")
        await reports.assign(good, model=chain.model)
        await until(lambda: "new" not in device.streams)
    assert "colour" in refused.message
    assert taken_up.model == chain.model
    assert device.counters["streams_refused"] == 1


@async_test
async def test_own_stream_says_that_the_hub_assigns_another_of_its_name(bundles: Path, chain: Bundle) -> None:
    site = new_site(bundles)
    device = site.device(noise(chain))
    other = {"name": "cam", "model": "chain", "sensor": "noise", "width": 8}
    async with Reports(site) as reports, site.running(device):
        await reports.until("cam", "silent")
        await reports.assign(other, model="0" * 64)
        await until(lambda: bool(reports.all[-1].trouble))
        two = reports.all[-1]
        await reports.assign(model="")
        await until(lambda: not reports.all[-1].trouble)
    assert (two.trouble[0].reason, two.model) == ("two_streams", chain.model)
    assert "rename" in two.trouble[0].message
    assert device.counters["streams_refused"] == 1


def test_sensor_that_takes_long_to_open_holds_nobody_up() -> None:
    free, late = threading.Event(), list[str]()

    def slow() -> str:
        free.wait(10)
        return "camera"

    @async_test
    async def run() -> None:
        opening = asyncio.create_task(open_in_background(slow, late=late.append, name="open-cam"))
        await asyncio.sleep(0.05)
        opening.cancel()
        await asyncio.wait([opening])
        assert opening.cancelled()

    started_s = time.monotonic()
    run()
    assert time.monotonic() - started_s < 5
    free.set()


def test_stream_that_is_taken_away_while_its_sensor_opens_closes_it(
    bundles: Path, chain: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    free, opening, closed = threading.Event(), threading.Event(), []

    class Slow(Given):
        def close(self) -> None:
            closed.append(self)

    def slow(source: SourceSettings, *, stream: str) -> Slow:
        del source, stream
        opening.set()
        free.wait(10)
        return Slow([])

    @async_test
    async def run() -> None:
        monkeypatch.setattr(iot_node.source, "open_sensor", slow)
        site = new_site(bundles)
        device = site.device()
        async with Reports(site) as reports, site.running(device):
            await reports.assign({"name": "far", "model": "chain", "sensor": "noise"}, model=chain.model)
            await until(opening.is_set)
            await reports.assign(model="")
            await until(lambda: not device.manager._running)
            free.set()
            await until(lambda: len(closed) == 1)
        assert reports.all == []

    run()


class Late(Given):
    """Pictures that were captured so many seconds ago."""

    def __init__(self, clock: ManualClock, *ages_s: float) -> None:
        items = [Captured(np.full((16, 16, 3), 9, np.uint8), None, clock.unix_s() - age_s) for age_s in ages_s]
        super().__init__(items)


def test_frame_past_its_deadline_before_it_sets_out_is_dropped_whatever_the_plan(
    chain: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    @async_test
    async def run() -> None:
        clock, jobs = ManualClock(start_s=100.0), list[Job]()
        monkeypatch.setattr(iot_node.source, "open_sensor", lambda *_, **__: Late(clock, 32.0, 0.1, 3.0))
        settings = StreamSettings(name="cam", model="chain", sensor="noise", deadline_ms=2000.0)
        made = {"site": "home", "node": "d", "bundle": chain, "clock": clock}
        stream = Stream(settings, **made, counters=Counter(), submit=jobs.append, **ON_NO_BUS)  # type: ignore[arg-type]
        plan = Plan(
            epoch=1, first_cut=chain.end, second_cut=chain.end, device="d", deadline=Deadline(seconds=2.0, drop=False)
        )
        stream.new_plan(StreamPlan(stream="cam", model=chain.model, model_name="chain", plan=plan))
        await stream.sensor.read()
        await until(lambda: bool(jobs))
        assert [job.work.seq for job in jobs] == [1]
        (trouble,) = stream.sensor.report().trouble
        assert (trouble.reason, trouble.count) == ("past_deadline", 2)
        assert "deadline 2000 ms" in trouble.message

    run()


@pytest.mark.parametrize(("delivery", "kept"), [("every", MAX_PICTURES_OF_EVERY), ("latest", 2)])
def test_more_pictures_wait_where_every_one_is_wanted(chain: Bundle, delivery: DeliveryMode, kept: int) -> None:
    @async_test
    async def run() -> None:
        clock = ManualClock()
        settings = StreamSettings(name="cam", model="chain", sensor="mqtt", topic="cam", delivery=delivery)
        sensor = iot_node.source.open_source(settings, chain, clock=clock)
        async with MemoryBus(MemoryBroker(clock=clock, max_payload_bytes=10**6)) as bus:
            await sensor.connect(bus)
            for _ in range(70):
                await bus.publish(Message("cam", b"picture"))
            await asyncio.sleep(0.01)
            await sensor.disconnect()
        assert sensor.take_lost()["sensor_ahead"] == 70 - kept

    run()


@pytest.mark.parametrize("size", [{"width": 8193}, {"height": 20000}])
@pytest.mark.parametrize("sensor", ["noise", "pan"])
def test_made_up_picture_that_is_too_large_is_refused(sensor: str, size: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match=f"{next(iter(size))} of at most 8192 pixels, got '?{max(size.values())}"):
        check_source(SourceSettings(sensor=sensor, path=(Path("a.jpg"),), **size))


def test_plan_for_a_stream_that_is_gone_is_no_error(
    bundles: Path, chain: Bundle, caplog: pytest.LogCaptureFixture
) -> None:
    @async_test
    async def run() -> None:
        site = new_site(bundles)
        device: IotNode = site.device()
        asked = PrepareSegment(site="home", stream="gone", epoch=1, model=chain.model, start=0, stop=1)
        with caplog.at_level(logging.INFO):
            async with Reports(site) as reports, site.running(device):
                await reports.bus.publish(Message(PREPARE.of(site="home", tier="device", node="d"), encode_json(asked)))
                await until(lambda: "plan refused" in caplog.messages)

    run()
    assert [record.levelname for record in caplog.records if record.message == "plan refused"] == ["INFO"]
