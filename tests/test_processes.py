"""Programs as child processes: an end is noticed, and none is left behind."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.aio import async_test
from tests.brokers import Mosquitto
from tiercut.errors import BusError
from tiercut.launch.processes import Processes


@async_test
async def test_program_that_is_started_after_the_watch_is_watched(tmp_path: Path) -> None:
    async with Processes(tmp_path, {"wrong": ("edge_node", {"threads": 0})}) as processes:
        watch = asyncio.create_task(processes.watch())
        await asyncio.sleep(0)
        await processes.start("wrong")
        with pytest.raises(BusError, match=r"wrong ended by itself: .*, got exit status 2") as it:
            await watch
    assert "bad setting threads" in str(it.value)


@async_test
async def test_program_that_is_stopped_is_no_error(tmp_path: Path) -> None:
    with Mosquitto(tmp_path) as broker:
        settings = {"node": "e", "broker_url": broker.url, "bundles": str(tmp_path)}
        async with Processes(tmp_path, {"e": ("edge_node", settings)}) as processes:
            watch = asyncio.create_task(processes.watch())
            await processes.start("e")
            await processes.kill("e")
            await processes.start("e")
            await processes.stop("e")
            await asyncio.sleep(0)
            assert not watch.done()
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)
