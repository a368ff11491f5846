"""An edge hangs while streams of a device wait for frames that are there: over a real broker, the edge in a process."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from broker.embedded.server import EmbeddedBroker
from tests.aio import async_test, until
from tests.mixing import Live, live, mix, until_online
from tests.sites import noise
from tiercut.bus import Delivery, Message
from tiercut.declared import encode_json
from tiercut.launch.processes import Processes
from tiercut.model.bundle import Bundle
from tiercut.protocol.events import seq_of
from tiercut.protocol.topics import PLAN

#: Streams beside the first: each holds results, more in all than a broker sends unacknowledged (64).
OTHERS = 6


class HungEdge:
    """The edge ``x``, which can be stopped."""

    def __init__(self, processes: Processes) -> None:
        self._pid = processes.pid("x")

    def hang(self) -> None:
        """It does nothing from now on, and its connection stays."""
        os.kill(self._pid, signal.SIGSTOP)

    def go_on(self) -> None:
        """It works again."""
        os.kill(self._pid, signal.SIGCONT)


@asynccontextmanager
async def site(bundles: Path, tmp_path: Path, *streams: Any) -> AsyncIterator[tuple[Live, HungEdge]]:
    with EmbeddedBroker() as broker:
        settings = {"node": "x", "bundles": str(bundles), "broker_url": broker.url, "status_every_s": 0.2}
        async with (
            Processes(tmp_path, {"x": ("edge_node", settings)}) as processes,
            live(broker.url, bundles, streams[0], "e", others=streams[1:]) as running,
        ):
            await processes.start("x")
            await until_online(running.bus, {"x"})
            await until(lambda: running.device.peers.online("edge", "x"))
            edge = HungEdge(processes)
            yield running, edge
            edge.go_on()


async def soon(condition: Callable[[], bool]) -> None:
    """Wait for what comes long before a frame at the hung edge is given up."""
    async with asyncio.timeout(8.0):
        await until(condition)


@async_test
async def test_streams_that_wait_for_a_hung_edge_keep_no_other_from_going_on(
    bundles: Path, chain: Bundle, tmp_path: Path
) -> None:
    in_order = [
        noise(chain, name=f"s{number}", frames=None, width=16, height=16, fps=60.0, in_flight=12, timeout_s=60.0)
        for number in range(OTHERS)
    ]
    quick = noise(chain, frames=None, width=16, height=16, delivery="latest", fps=60.0)
    heard: Counter[str] = Counter()
    numbers: dict[str, list[int]] = {each.name: [] for each in in_order}

    def hear(delivery: Delivery) -> None:
        delivery.ack()
        name = delivery.topic.split("/")[-2]
        heard[name] += 1
        if name in numbers:
            numbers[name].append(seq_of(dict(delivery.properties)["id"]))

    async def cam_goes_on() -> None:
        before = heard["cam"]
        await asyncio.sleep(0.4)
        await soon(lambda: heard["cam"] > before + 5)

    async with site(bundles, tmp_path, quick, *in_order) as (running, edge):
        await running.bus.subscribe("tiercut/v1/home/stream/+/result", handler=hear)
        for each in in_order:
            offered = structs.replace(mix(chain, {"edge": 0.8, "other edge": 0.2}), stream=each.name)
            await running.bus.publish(Message(PLAN.of(site="home", stream=each.name), encode_json(offered)))
        await running.follow(mix(chain, {"edge": 1.0}))
        await until(lambda: len(heard) == OTHERS + 1 and min(heard.values()) > 20)
        edge.hang()
        await asyncio.sleep(0.3)
        for _ in range(4):
            await cam_goes_on()
        edge.go_on()
        at_once = dict(heard)
        await until(lambda: all(heard[name] > at_once[name] + 20 for name in numbers))
        so_far = [list(seqs) for seqs in numbers.values()]  # a device that stops publishes what waits, gaps and all
    for seqs in so_far:
        assert seqs == list(range(len(seqs)))


@pytest.mark.parametrize("others", [{}, {"device": 0.5}])
def test_plan_that_takes_over_from_a_hung_edge_gets_its_frames(
    bundles: Path, chain: Bundle, tmp_path: Path, others: dict[str, float]
) -> None:
    @async_test
    async def run() -> None:
        settings = noise(chain, frames=None, width=16, height=16, fps=100.0, delivery="latest", timeout_s=200.0)
        share = 1.0 - sum(others.values())
        async with site(bundles, tmp_path, settings) as (running, edge):
            await running.follow(mix(chain, {**others, "other edge": share}))
            await until(lambda: running.ways()["other edge"] > 20)
            edge.hang()
            await asyncio.sleep(0.4)  # all its places are taken, and nobody knows yet that it is silent
            await running.follow(mix(chain, {**others, "edge": share}, epoch=2))
            await until(lambda: running.ways()["edge"] > 0)
            before = running.ways()["edge"]
            await asyncio.sleep(2.0)
            await soon(lambda: running.ways()["edge"] > before + 50)
            assert all(each.works for each in running.stream.report().plans or ())

    run()


@async_test
async def test_single_plan_after_a_hung_edge_keeps_the_order(bundles: Path, chain: Bundle, tmp_path: Path) -> None:
    settings = noise(chain, frames=None, width=16, height=16, fps=100.0, timeout_s=2.0)
    async with site(bundles, tmp_path, settings) as (running, edge):
        await running.follow(mix(chain, {"device": 0.5, "other edge": 0.5}))
        await running.until_results(100)
        edge.hang()
        await asyncio.sleep(0.15)
        await running.follow(mix(chain, {"edge": 1.0}, epoch=2))
        await until(lambda: running.ways()["edge"] > 50)
        edge.go_on()
        before = len(running.results)
        await until(lambda: len(running.results) > before + 50)
    assert running.seqs == list(range(len(running.seqs)))
