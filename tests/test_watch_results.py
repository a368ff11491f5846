"""``tiercut watch --results``: a line for people, or one of JSON for programs, of what is on a real bus."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.aio import async_test
from tests.brokers import Mosquitto
from tests.test_results import work
from tiercut.bus import Message
from tiercut.bus.mqtt import MqttBus
from tiercut.bus.settings import MqttSettings
from tiercut.cli.watch_results import line
from tiercut.clock import SystemClock
from tiercut.model.bundle import Bundle
from tiercut.protocol.topics import RESULT
from tiercut.results.reading import read_outputs, write_result


def result(bundle: Bundle, **more: Any) -> bytes:
    outputs = {bundle.outputs[0].name: np.array([[0.0, 4.0, 1.0, 0.0]], np.float32)}
    read = read_outputs(7, outputs, bundle, bundle.variants[0])
    said: dict[str, Any] = {"stages": (), "finished_by": "cloud-1", "latency_s": 0.0213} | more
    return write_result(work(bundle.model), read, bundle.name, **said)


def test_line_says_when_what_how_long_and_who(chain: Bundle) -> None:
    words = line(result(chain)).split()
    assert words[0].endswith(":00.500")
    assert words[1:] == ["cam", "dog", "0.92", "21.3", "ms", "cloud-1"]


def test_line_says_what_is_not_as_usual(chain: Bundle) -> None:
    said = json.loads(result(chain, fallback="cloud 'c' is not reachable", cached=True, latency_s=None))
    shown = line(json.dumps(said | {"exit": "early", "deadline_met": False}).encode())
    assert "- ms  cloud-1" in shown
    assert shown.endswith("left at early, cached, late, fallback: cloud 'c' is not reachable")


@pytest.mark.parametrize(
    ("output", "shown"),
    [
        ({"name": "speech", "shape": [1], "dtype": "float32", "values": [0.03125]}, "speech: 0.03125"),
        ({"name": "y", "shape": [6], "dtype": "f", "values": [1, 2, 3, 4, 5, 6]}, "y: 1 2 3 4 …"),
        ({"name": "y", "shape": [1], "dtype": "f", "values": ["nan"]}, "y: nan"),
        ({"name": "y", "shape": [99], "dtype": "f", "max": 4.25, "argmax": 39}, "y: largest at 39, 4.25"),
        ({}, "-"),
    ],
)
def test_line_of_a_model_without_labels_shows_numbers(chain: Bundle, output: dict[str, Any], shown: str) -> None:
    said = json.loads(result(chain))
    del said["labels"]
    assert f"  {shown}  " in line(json.dumps(said | {"outputs": [output]}).encode())


@pytest.mark.parametrize("score", ["x", "", "1e3", "NaN"])
def test_line_of_a_score_that_is_no_number_is_a_dash(chain: Bundle, score: str) -> None:
    said = json.loads(result(chain))
    said["labels"][0]["score"] = score
    assert line(json.dumps(said).encode()).split()[1:3] == ["cam", "-"]


def test_line_of_what_is_no_result_says_so_and_moves_no_cursor() -> None:
    shown = line(b'{"stream":"\\u001b[2J"}')
    assert shown.startswith("not a result: expected ")
    assert "\x1b" not in shown
    assert line(b"\xff").startswith("not a result")


async def watched(tmp_path: Path, chain: Bundle, *flags: str, lines: int) -> list[str]:
    """What the command prints of results of two streams."""
    with Mosquitto(tmp_path) as broker:
        command = [sys.executable, "-m", "tiercut", "watch", "--results", "--broker", broker.url, *flags]
        shown = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        assert shown.stdout is not None
        try:
            async with MqttBus(MqttSettings(url=broker.url), clock=SystemClock()) as bus:
                reading = asyncio.create_task(_read(shown.stdout, lines))
                while not reading.done():  # it may not have subscribed yet
                    for stream in ("cam", "yard"):
                        said = json.loads(result(chain)) | {"stream": stream}
                        await bus.publish(Message(RESULT.of(site="home", stream=stream), json.dumps(said).encode()))
                    await asyncio.wait([reading], timeout=0.1)
                return await reading
        finally:
            shown.terminate()
            await shown.wait()


async def _read(stream: asyncio.StreamReader, lines: int) -> list[str]:
    return [(await stream.readline()).decode().rstrip("\n") for _ in range(lines)]


@async_test
async def test_results_are_lines_as_they_come_of_the_streams_that_are_asked_for(tmp_path: Path, chain: Bundle) -> None:
    for each in await watched(tmp_path, chain, "--stream", "yard", lines=2):
        assert each.split()[1:] == ["yard", "dog", "0.92", "21.3", "ms", "cloud-1"]


@async_test
async def test_results_as_json_are_what_is_on_the_bus(tmp_path: Path, chain: Bundle) -> None:
    first, second = [json.loads(each) for each in await watched(tmp_path, chain, "--json", lines=2)]
    assert {first["stream"], second["stream"]} == {"cam", "yard"}
    assert first["plan"]["epoch"] == 3
