"""The examples' own site for tests: `examples/site/start.sh` on a free port, and what comes out of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from tiercut.launch.processes import free_port, to_toml
from tiercut.protocol.topics import RESULT, STREAM_STATUS, WANTED
from tiercut.settings import read_toml

EXAMPLES = Path(__file__).parent.parent / "examples"
SITE = "home"
_START_S, _RESULT_S = 40.0, 40.0


class ExampleSite:
    """A site of four programs in a folder with bundles, until the end of the ``with``.

    Attributes:
        results: Of each stream, in the order in which they came.
        statuses: Of each stream, the last one.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"mqtt://127.0.0.1:{self.port}"
        self.results: dict[str, list[dict[str, Any]]] = {}
        self.statuses: dict[str, dict[str, Any]] = {}
        self._changed = threading.Condition()
        self._client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        self._client.on_message = self._heard
        self._client.on_connect = self._connected
        self._programs: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        command = [str(EXAMPLES / "site" / "start.sh"), "--broker-url", self.url]
        python = str(Path(sys.executable).parent)
        environment = os.environ | {"PATH": os.pathsep.join((python, os.environ["PATH"]))}
        with (self.folder / "log").open("wb") as log:
            self._programs = subprocess.Popen(
                command,
                cwd=self.folder,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=environment,
            )
        self._connect()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.disconnect()
        self._client.loop_stop()
        if self._programs is not None:
            self._programs.terminate()
            try:
                self._programs.wait(15)
            except subprocess.TimeoutExpired:
                os.killpg(self._programs.pid, signal.SIGKILL)
                self._programs.wait()

    def _connect(self) -> None:
        until_s = time.monotonic() + _START_S
        while True:
            try:
                self._client.connect("127.0.0.1", self.port)
                break
            except OSError:
                if time.monotonic() > until_s:
                    pytest.fail(f"the site did not start:\n{self.log()}")
                time.sleep(0.1)  # a port that begins to listen has no event
        self._client.loop_start()

    def _connected(self, client: Client, *_: object) -> None:
        for topic in (RESULT, STREAM_STATUS):
            client.subscribe(topic.filter(site=SITE), qos=1)

    def _heard(self, _client: Client, _data: object, message: MQTTMessage) -> None:
        with self._changed:
            if names := RESULT.parse(message.topic):
                self.results.setdefault(names["stream"], []).append(json.loads(message.payload))
            elif message.payload and (names := STREAM_STATUS.parse(message.topic)):
                self.statuses[names["stream"]] = json.loads(message.payload)
            self._changed.notify_all()

    def add(self, example: str, **changes: Any) -> str:
        """Add the stream of a file of the examples, with some settings changed; returns its name."""
        file = self.folder / "stream.toml"
        settings = read_toml(EXAMPLES / example) | changes
        file.write_text(to_toml(settings), encoding="utf-8")
        command = [sys.executable, "-m", "tiercut", "stream", "add", str(file), "--broker", self.url]
        said = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert said.returncode == 0, said.stderr + self.log()
        return str(settings["name"])

    def want(self, example: str, **changes: Any) -> str:
        """The same by way of the registry's topic, for MQTT sensors: returns as soon as somebody listens to them."""
        settings = read_toml(EXAMPLES / example) | changes
        name = str(settings["name"])
        topic = WANTED.of(site=SITE, stream=name)
        self._client.publish(topic, json.dumps(settings), qos=1, retain=True).wait_for_publish()
        self.until(lambda: name in self.statuses and self.statuses[name]["device"] is not None)
        self.until(lambda: "given nothing" in self.statuses[name]["message"])
        return name

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait for something to come over the bus."""
        with self._changed:
            if not self._changed.wait_for(condition, _RESULT_S):
                pytest.fail(f"nothing came: {self.statuses}\n{self.log()}")

    def first(self, name: str, count: int) -> list[dict[str, Any]]:
        """The first results of a stream, as soon as so many are there."""
        self.until(lambda: len(self.results.get(name, ())) >= count)
        return self.results[name][:count]

    def log(self) -> str:
        """The end of what the programs wrote."""
        return (self.folder / "log").read_text(encoding="utf-8", errors="replace")[-3000:]


def top(result: dict[str, Any]) -> str:
    """The best label of a result."""
    return str(result["labels"][0]["label"])
