"""The retained copy of a stream's last result, on a real broker."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import cast

from broker.last_results import LastResults
from broker.registry.answers import RunningStream
from broker.registry.followers import Last
from tests.aio import async_test, until
from tests.brokers import Mosquitto, retained_on
from tiercut.bus import Delivery, Message
from tiercut.bus.mqtt import MqttBus
from tiercut.bus.settings import MqttSettings
from tiercut.clock import SystemClock
from tiercut.model.bundle import Bundle
from tiercut.node.refusals import Refusals
from tiercut.protocol.events import CONTENT_TYPE, RESULT_TYPE
from tiercut.protocol.stream_settings import StreamSettings
from tiercut.protocol.topics import LAST, RESULT

EVERY_S = 0.2


def attributes(number: int, stream: str = "cam") -> list[tuple[str, str]]:
    source, time = f"/tiercut/home/{stream}", "2026-11-21T12:00:00Z"
    said = {"specversion": "1.0", "id": f"{number}-1", "source": source, "type": RESULT_TYPE, "time": time}
    return list(said.items())


@dataclass
class Site:
    bus: MqttBus
    last: LastResults
    counters: Counter[str]
    copies: list[Delivery] = field(default_factory=list)

    def copied(self, delivery: Delivery) -> None:
        delivery.ack()
        self.copies.append(delivery)

    async def result(self, number: int, stream: str = "cam") -> None:
        topic, said = RESULT.of(site="home", stream=stream), attributes(number, stream)
        await self.bus.publish(Message(topic, b"%d" % number, properties=said, content_type=CONTENT_TYPE))


def heard(last: LastResults, delivery: Delivery) -> None:
    """What the coordinator's shell does first with a result."""
    delivery.ack()
    last.heard(str(RESULT.stream_of(delivery.topic)), delivery)


def running(name: str, *, retain_last: bool) -> RunningStream:
    """A stream as followers are told of it."""
    settings = StreamSettings(name=name, model="m", retain_last=retain_last)
    return RunningStream(settings, "d", cast("Bundle", None))


@asynccontextmanager
async def site(folder: Path) -> AsyncIterator[Site]:
    counters: Counter[str] = Counter()
    clock = SystemClock()
    with Mosquitto(folder) as broker:
        async with MqttBus(MqttSettings(url=broker.url), clock=clock) as bus:
            refusals = Refusals(counters=counters, clock=clock, logger=logging.getLogger("test"))
            last = LastResults(site="home", bus=bus, counters=counters, refusals=refusals, every_s=EVERY_S)
            made = Site(bus, last, counters)
            await bus.subscribe(RESULT.filter(site="home"), handler=partial(heard, last))
            await bus.subscribe(LAST.filter(site="home"), handler=made.copied)
            keeping = asyncio.create_task(last.keep())
            try:
                yield made
            finally:
                keeping.cancel()
                await asyncio.gather(keeping, return_exceptions=True)


async def retained(bus: MqttBus, stream: str = "cam") -> Delivery | None:
    """What a newcomer gets at once."""
    found = await retained_on(bus, f"{LAST.of(site='home', stream=stream)}/#")
    return found[0] if found else None


@async_test
async def test_newcomer_gets_the_last_result_with_its_attributes(tmp_path: Path) -> None:
    async with site(tmp_path) as home:
        home.last.want({"cam"})
        await home.result(1)
        await until(lambda: bool(home.copies))
        kept = await retained(home.bus)
    assert kept is not None
    assert (kept.payload, kept.retain, kept.content_type) == (b"1", True, CONTENT_TYPE)
    assert list(kept.properties) == attributes(1)


@async_test
async def test_of_many_results_few_are_copied_and_the_newest_is(tmp_path: Path) -> None:
    async with site(tmp_path) as home:
        home.last.want({"cam"})
        for number in range(50):
            await home.result(number)
        await until(lambda: bool(home.copies) and home.copies[-1].payload == b"49")
    assert len(home.copies) <= 4


@async_test
async def test_streams_that_do_not_want_it_have_none(tmp_path: Path) -> None:
    async with site(tmp_path) as home:
        home.last.want({"cam"})
        await home.result(1, "yard")
        await home.result(1)
        await until(lambda: bool(home.copies))
        assert await retained(home.bus, "yard") is None


@async_test
async def test_what_is_wanted_no_longer_is_taken_back(tmp_path: Path) -> None:
    async with site(tmp_path) as home:
        home.last.want({"cam"})
        await home.result(1)
        await until(lambda: bool(home.copies))
        home.last.want(())
        await until(lambda: home.copies[-1].payload == b"")
        assert await retained(home.bus) is None


@async_test
async def test_what_an_earlier_hub_has_left_is_taken_back(tmp_path: Path) -> None:
    async with site(tmp_path) as home:
        for stream in ("old", "cam"):
            await home.bus.publish(Message(LAST.of(site="home", stream=stream), b"left", retain=True))
        home.last.want({"cam"})
        await home.bus.subscribe(LAST.filter(site="home"), handler=home.last.left)
        await until(lambda: any(not each.payload for each in home.copies))
        assert await retained(home.bus, "old") is None
        assert await retained(home.bus, "cam") is not None


@async_test
async def test_result_without_attributes_is_counted_and_not_copied(tmp_path: Path) -> None:
    async with site(tmp_path) as home:
        home.last.want({"cam"})
        await home.bus.publish(Message(RESULT.of(site="home", stream="cam"), b"{}"))
        await until(lambda: home.counters["bad.bad_return"] == 1)
    assert not home.copies


@async_test
async def test_result_is_kept_that_came_while_the_hub_was_away_only_where_a_stream_wants_that(tmp_path: Path) -> None:
    async with site(tmp_path) as home:
        follower = Last(home.last, home.bus, site="home", refusals=home.last._refusals)
        results = home.bus._incoming._routes.get(RESULT.filter(site="home"))
        assert results is not None
        results.qos = 0  # as the coordinator subscribes
        await follower.streams_changed([running("cam", retain_last=False)])
        assert results.qos == 0
        for _ in range(2):
            await follower.streams_changed([running("cam", retain_last=True)])
        assert (results.qos, len(results.inboxes)) == (1, 2)
        await home.result(1)
        await until(lambda: bool(home.copies))
