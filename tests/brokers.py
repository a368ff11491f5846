"""Real brokers on free ports for tests."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import time
import uuid
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from tiercut.bus import Delivery, Message
from tiercut.bus.mqtt import MqttBus
from tiercut.bus.settings import MqttSettings
from tiercut.clock import SystemClock
from tiercut.launch.processes import free_port

_START_S = 10.0


def program(name: str) -> str:
    """Path of a system program; a missing one fails the test, because a skipped one would go unnoticed."""
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin:/opt/homebrew/sbin")
    if path is None:
        pytest.fail(f"the program {name!r} is missing: apt-get install mosquitto mosquitto-clients openssl")
    return path


class Mosquitto:
    """Mosquitto on one port; it may be killed and started again there, and forgets everything by that.

    Args:
        config: Lines beside ``listener``; anonymous clients are allowed unless they say otherwise.
    """

    def __init__(self, folder: Path, *config: str, port: int | None = None, tls: bool = False) -> None:
        self.port = port or free_port()
        self.url = f"{'mqtts' if tls else 'mqtt'}://{'localhost' if tls else '127.0.0.1'}:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None
        self._config = folder / f"mosquitto-{self.port}.conf"
        lines = [f"listener {self.port} 127.0.0.1", *config]
        if not any(line.startswith("allow_anonymous") for line in config):
            lines.append("allow_anonymous true")
        if os.geteuid() == 0:
            lines.append("user root")  # else it becomes a user who cannot read pytest's folders
        self._config.write_text("\n".join(lines) + "\n", encoding="utf-8")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def start(self) -> None:
        """Start, and wait until it listens."""
        self._process = subprocess.Popen(
            [program("mosquitto"), "-c", str(self._config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        until_s = time.monotonic() + _START_S
        while time.monotonic() < until_s and self._process.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.01)  # a port that begins to listen has no event
        pytest.fail("mosquitto did not start")

    def kill(self) -> None:
        """End it without a goodbye to anybody."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


async def retained_on(bus: MqttBus, topic_filter: str) -> list[Delivery]:
    """What a newcomer gets at once."""
    found: list[Delivery] = []
    ended = asyncio.Event()

    def hear(delivery: Delivery) -> None:
        delivery.ack()
        found.append(delivery)

    def end(delivery: Delivery) -> None:
        delivery.ack()
        ended.set()

    end_topic = f"retained-end/{uuid.uuid4().hex}"
    subscriptions = [await bus.subscribe(end_topic, handler=end), await bus.subscribe(topic_filter, handler=hear)]
    await bus.publish(Message(end_topic, b""))  # it comes after what is retained
    await ended.wait()
    for subscription in subscriptions:
        await subscription.close()
    return found


async def retained(url: str, topic: str) -> bytes:
    """What a broker has retained on a topic; empty for nothing."""
    async with MqttBus(MqttSettings(url=url), clock=SystemClock()) as bus:
        found = await retained_on(bus, topic)
    return bytes(found[0].payload) if found else b""


def certificates(folder: Path) -> tuple[Path, Path, Path]:
    """A throw-away authority, and a certificate of ``localhost`` with its key: (ca, certificate, key) as PEM."""
    ca, ca_key, cert, key, request = (folder / name for name in ("ca.pem", "ca.key", "cert.pem", "key.pem", "req.pem"))
    extensions = folder / "san.cnf"
    extensions.write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n", encoding="utf-8")
    signed = ["-CA", ca, "-CAkey", ca_key, "-CAcreateserial"]
    new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    for command in (
        ["req", "-x509", *new_key, "-keyout", ca_key, "-out", ca, "-days", "2", "-subj", "/CN=test authority"],
        ["req", *new_key, "-keyout", key, "-out", request, "-subj", "/CN=localhost"],
        ["x509", "-req", "-in", request, *signed, "-out", cert, "-days", "2", "-extfile", extensions],
    ):
        subprocess.run([program("openssl"), *map(str, command)], check=True, capture_output=True)
    return ca, cert, key
