"""The programs as users run them: processes, Mosquitto, signals, exit statuses."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.aio import async_test
from tests.brokers import Mosquitto, program
from tiercut.bus import Delivery
from tiercut.bus.mqtt import MqttBus
from tiercut.bus.settings import MqttSettings
from tiercut.clock import SystemClock
from tiercut.launch.processes import Processes, free_port, to_toml
from tiercut.model.bundle import Bundle
from tiercut.protocol.topics import RESULT, STATUS


def programs(site: Mosquitto, cloud: Mosquitto, bundle: Bundle, **stream: Any) -> dict[str, tuple[str, dict[str, Any]]]:
    """Settings of a hub and one node per tier."""
    common = {
        "site": "t",
        "broker_url": site.url,
        "cloud_broker_url": cloud.url,
        "bundles": str(bundle.folder.parent),
        "status_every_s": 0.5,
    }
    source = {"name": "cam", "model": bundle.name, "sensor": "noise", "delivery": "every", "timeout_s": 2.0, **stream}
    plan = {
        "stream": "cam",
        "model": bundle.name,
        "device": "d",
        "edge": "e",
        "cloud": "c",
        "first_cut": "30%",
        "second_cut": "60%",
        "codecs": ["fp16", "int8+zstd"],
    }
    return {
        "hub": ("broker", common | {"node": "hub", "plans": [plan]}),
        "c": ("cloud_node", common | {"node": "c", "site": "cloud"}),
        "e": ("edge_node", common | {"node": "e", "fall_back": False}),
        "d": ("iot_node", common | {"node": "d", "fall_back": False, "streams": [source]}),
    }


@asynccontextmanager
async def results_of(site: Mosquitto) -> AsyncIterator[AsyncIterator[Delivery]]:
    """Results on a site's bus."""
    async with MqttBus(MqttSettings(url=site.url), clock=SystemClock(), wait=True) as bus:
        yield aiter(await bus.subscribe(RESULT.filter(site="t")))


async def next_seq(results: AsyncIterator[Delivery]) -> int:
    delivery = await anext(results)
    delivery.ack()
    seq: int = json.loads(delivery.payload)["seq"]
    return seq


@pytest.mark.slow
@async_test
async def test_killed_edge_and_restarted_brokers_lose_no_frame(chain: Bundle, tmp_path: Path) -> None:
    with Mosquitto(tmp_path) as site, Mosquitto(tmp_path) as cloud:
        wanted = programs(site, cloud, chain, fps=50, frames=150)
        async with Processes(tmp_path, wanted) as running, results_of(site) as results:
            for name in wanted:
                await running.start(name)
            for _ in range(20):
                await next_seq(results)
            await running.kill("e")
            await running.start("e")
            for _ in range(40):
                await next_seq(results)
            for broker in (cloud, site):  # and with them all that they held, our own subscription too
                broker.kill()
                broker.start()
            load = await load_of(site, "d", until=lambda load: load.get("frames_done", 0) >= 150)
    assert load["frames_done"] == load["frames_captured"] == 150
    assert not [name for name in load if name.startswith("dropped.")]


async def load_of(site: Mosquitto, node: str, *, until: Callable[[dict[str, float]], bool]) -> dict[str, float]:
    """The figures in a device's status, as soon as they are as wanted."""
    async with MqttBus(MqttSettings(url=site.url), clock=SystemClock()) as bus:
        async for delivery in await bus.subscribe(STATUS.of(site="t", tier="device", node=node)):
            delivery.ack()
            load: dict[str, float] = json.loads(delivery.payload)["load"]
            if until(load):
                return load
    raise AssertionError("the bus was closed")


@async_test
async def test_every_node_ends_on_sigterm_with_status_0_and_says_goodbye(chain: Bundle, tmp_path: Path) -> None:
    with Mosquitto(tmp_path) as site, Mosquitto(tmp_path) as cloud:
        wanted = programs(site, cloud, chain, fps=50)
        async with Processes(tmp_path, wanted) as running, results_of(site) as results:
            for name in wanted:
                await running.start(name)
            await next_seq(results)
            torch = [m.path for m in psutil.Process(running.pid("d")).memory_maps() if "torch" in m.path]
            ended = {name: await running.stop(name) for name in reversed(wanted)}
        states = await retained_states(site)
    assert ended == dict.fromkeys(wanted, 0)
    everybody = ("device/d", "device/e", "edge/e", "hub/hub")  # an edge has a gateway, of the device tier
    assert states == dict.fromkeys(everybody, "offline")
    assert not torch


async def retained_states(site: Mosquitto) -> dict[str, str]:
    """What the retained status messages say."""
    async with MqttBus(MqttSettings(url=site.url), clock=SystemClock()) as bus:
        statuses = aiter(await bus.subscribe(STATUS.filter(site="t")))
        said = [json.loads((await anext(statuses)).payload) for _ in range(4)]
    return {f"{status['tier']}/{status['node']}": status["state"] for status in said}


@async_test
async def test_mosquitto_sub_reads_results_as_json(chain: Bundle, tmp_path: Path) -> None:
    with Mosquitto(tmp_path) as site:
        wanted = programs(site, site, chain, fps=50)
        async with Processes(tmp_path, wanted) as running:
            watching = await asyncio.create_subprocess_exec(
                program("mosquitto_sub"), "-p", str(site.port), "-t", "tiercut/v1/+/stream/+/result", "-C", "3",
                stdout=subprocess.PIPE,
            )  # fmt: skip
            for name in wanted:
                await running.start(name)
            output, _ = await watching.communicate()
    results = [json.loads(line) for line in output.splitlines()]
    assert [len(result["labels"]) for result in results] == [4, 4, 4]
    assert all(result["latency_ms"] > 0 for result in results)


def run_program(name: str, settings: dict[str, Any], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a program that is expected to end by itself."""
    path = folder / "settings.toml"
    path.write_text(to_toml(settings), encoding="utf-8")
    command = [sys.executable, "-m", name, "--settings", str(path)]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


def test_device_without_its_bundle_ends_with_one_sentence(tmp_path: Path) -> None:
    stream = {"name": "cam", "model": "absent", "sensor": "noise"}
    ended = run_program("iot_node", {"bundles": str(tmp_path), "streams": [stream]}, tmp_path)
    assert ended.returncode == 4
    assert "no bundle 'absent'" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_wrong_setting_ends_with_one_sentence(tmp_path: Path) -> None:
    ended = run_program("edge_node", {"threads": 0}, tmp_path)
    assert ended.returncode == 2
    assert ended.stderr.splitlines()[-1].endswith("bad setting threads: expected 1 or more, got 0; correct it")


def test_stream_name_with_a_wildcard_is_refused(tmp_path: Path) -> None:
    stream = {"name": "cam/+", "model": "m", "sensor": "noise"}
    ended = run_program("iot_node", {"streams": [stream]}, tmp_path)
    assert ended.returncode == 2
    assert "bad stream name" in ended.stderr


def test_folder_without_images_ends_with_one_sentence(bundles: Path, tmp_path: Path) -> None:
    stream = {"name": "cam", "model": "chain", "sensor": "images", "path": [str(tmp_path)]}
    ended = run_program("iot_node", {"bundles": str(bundles), "streams": [stream]}, tmp_path)
    assert ended.returncode == 6
    assert "expected images" in ended.stderr


def test_secrets_are_masked_in_the_settings_that_are_printed(tmp_path: Path) -> None:
    url = f"mqtt://127.0.0.1:{free_port()}"
    settings = {"broker_url": url, "password": "hunter2", "username": "u", "bundles": str(tmp_path)}
    path = tmp_path / "settings.toml"
    path.write_text(to_toml(settings), encoding="utf-8")
    command = [sys.executable, "-m", "edge_node", "--settings", str(path)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        lines = [process.stderr.readline() for _ in range(2)]  # the settings, then that no broker answers
        process.terminate()
        assert process.wait(10) == 0
    assert "********" in lines[0]
    assert "hunter2" not in "".join(lines)
    assert "no broker at" in lines[1]


@async_test
async def test_edge_comes_online_while_its_uplink_is_down(chain: Bundle, tmp_path: Path) -> None:
    with Mosquitto(tmp_path) as site:
        wanted = programs(site, site, chain)
        wanted["e"][1]["cloud_broker_url"] = f"mqtt://127.0.0.1:{free_port()}"
        async with (
            Processes(tmp_path, wanted) as running,
            MqttBus(MqttSettings(url=site.url), clock=SystemClock()) as bus,
        ):
            await running.start("e")
            status = await anext(aiter(await bus.subscribe(STATUS.of(site="t", tier="edge", node="e"))))
            assert json.loads(status.payload)["state"] == "online"
            assert await running.stop("e") == 0
