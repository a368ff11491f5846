"""The broker for trials and tests: rumqttd from the `iotcore` wheel, in a process of its own.

It is bound to one address, has no access control and keeps nothing on disk, so it is not for production. What it was
measured to keep in memory: about 140 MB in a busy topic, 4 segments of 16 MB and what is in flight.

Where it departs from MQTT 5 (iotcore 0.4.0): CONNACK names no Maximum Packet Size, and a client's Receive Maximum is
ignored. Up to 100 QoS 1 messages are in flight to it, and while it has acknowledged none of 100, it gets no answer to
its own publishes and subscribes either.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from tiercut.bus.settings import MAX_PACKET_BYTES, MqttSettings
from tiercut.errors import BusError, SettingsError
from tiercut.settings import masked_url

#: rumqttd keeps a log per topic: 4 segments of 16 MB lost nothing at 700 MB/s, 3 of 4 MB did; its own default, 10 of
#: 100 MB, grows towards 1 GB.
_SEGMENT_BYTES = 16 * 1024 * 1024
_SEGMENTS = 4
#: rumqttd counts topic and properties in; its limit is on the whole packet.
_PACKET_ROOM_BYTES = 64 * 1024
_START_S = 10.0
_STOP_S = 3.0
_POLL_S = 0.01
_WATCH_S = 0.2
_MAX_PORT = 65_535

_ROUTER = """id = 0
[router]
id = 0
max_connections = 1000
max_outgoing_packet_count = 200
max_segment_size = {segment_bytes}
max_segment_count = {segments}
"""
_LISTENER = """[{version}.1]
name = "{version}"
listen = "{host}:{port}"
next_connection_delay_ms = 1
[{version}.1.connections]
connection_timeout_ms = 5000
max_payload_size = {packet_bytes}
max_inflight_count = 100
dynamic_filters = true
"""


class EmbeddedBroker:
    """An MQTT 5 broker while the ``with`` block lasts; it also ends with this process, however that ends.

    Args:
        port: 0 picks a free one.
        host: IPv4 address to listen on, or a name that has one.
        port_v311: A second listener, for clients that speak only MQTT 3.1.1; 0 picks a free port, ``None``: no such.
        max_payload_bytes: Largest payload it takes; it closes the connection on larger ones.

    Raises:
        BusError: on entering: the port is taken, or the broker does not start.
    """

    def __init__(
        self,
        port: int = 0,
        *,
        host: str = "127.0.0.1",
        port_v311: int | None = None,
        max_payload_bytes: int = MAX_PACKET_BYTES,
    ) -> None:
        for name, value in (("port", port), ("port_v311", port_v311 or 0)):
            if not 0 <= value <= _MAX_PORT:
                raise SettingsError(name, expected=f"0 to {_MAX_PORT}", came=str(value), fix="choose a free TCP port")
        self.host = host
        self._address = host
        self.port = port
        self.port_v311 = port_v311
        self.max_payload_bytes = max_payload_bytes
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._errors = Path()
        self._process: subprocess.Popen[bytes] | None = None

    @classmethod
    def at(cls, url: str, *, port_v311: int | None = None) -> Self:
        """The broker that ``url`` (``mqtt://host:port``) will reach.

        Args:
            url: Where.
            port_v311: A second port there, for clients that speak only MQTT 3.1.1.

        Raises:
            SettingsError: the url is none, or asks for TLS, which the embedded broker has not.
        """
        settings = MqttSettings(url=url)
        if settings.tls:
            raise SettingsError(
                "the embedded broker's url",
                expected="mqtt://",
                came=masked_url(url),
                fix="use mqtt://, or a broker with TLS",
            )
        return cls(settings.port, host=settings.host, port_v311=port_v311)

    @property
    def url(self) -> str:
        """For `tiercut.bus.settings.MqttSettings`."""
        return f"mqtt://{_reachable(self.host)}:{self.port}"

    @property
    def running(self) -> bool:
        """Whether its process runs."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int | None:
        """Of its process, for measurements."""
        return self._process.pid if self._process is not None else None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start, and wait until it listens; blocks for about 0.2 s."""
        if self.running:
            return
        self._address = _address(self.host)
        self.port = _claim(self._address, self.port)
        if self.port_v311 is not None:
            self.port_v311 = _claim(self._address, self.port_v311)
        self._folder = tempfile.TemporaryDirectory(prefix="tiercut-broker-")
        config, self._errors = Path(self._folder.name, "rumqttd.toml"), Path(self._folder.name, "stderr")
        config.write_text(self._configuration(), encoding="utf-8")
        child = Path(__file__).with_name("child.py")
        with self._errors.open("wb") as errors:
            self._process = subprocess.Popen(  # noqa: S603 - our own file
                [sys.executable, "-P", str(child), str(config)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                start_new_session=True,  # Ctrl-C is for the nodes, which still say goodbye
            )
        try:
            self._await_listening()
        except BaseException:  # Ctrl-C as well: no child is left behind
            self.stop()
            raise

    def stop(self) -> None:
        """End its process and free its ports; idempotent."""
        process, self._process = self._process, None
        if process is not None:
            process.terminate()
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdin is not None:
                process.stdin.close()
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    async def watch(self) -> None:
        """Wait until its process ends; returns when that was `stop`.

        Raises:
            BusError: it ended by itself; with the end of what it said.
        """
        process = self._process
        while process is not None and process.poll() is None:  # noqa: ASYNC110 - waitpid has no event without a thread
            await asyncio.sleep(_WATCH_S)
        if process is not None and self._process is process:
            raise BusError(
                f"the embedded broker at {self.host}:{self.port} ended by itself",
                expected="a running broker",
                came=self._last_words(),
                fix="restart the program, or use a broker of your own and give its url",
            )

    def _configuration(self) -> str:
        text = _ROUTER.format(segment_bytes=_SEGMENT_BYTES, segments=_SEGMENTS)
        for version, port in (("v5", self.port), ("v4", self.port_v311)):
            if port is not None:
                text += _LISTENER.format(
                    version=version,
                    host=self._address,
                    port=port,
                    packet_bytes=self.max_payload_bytes + _PACKET_ROOM_BYTES,
                )
        return text

    def _await_listening(self) -> None:
        ports = [port for port in (self.port, self.port_v311) if port is not None]
        reachable = _reachable(self._address)
        until_s = time.monotonic() + _START_S
        while time.monotonic() < until_s:
            if not self.running:
                break
            if all(_listens(reachable, port) for port in ports):
                return
            time.sleep(_POLL_S)  # a port that begins to listen has no event
        raise BusError(
            f"cannot start the embedded broker at {self.host}:{self.port}",
            expected=f"a listener within {_START_S:g} s",
            came=self._last_words(),
            fix="choose another address, or start a broker of your own and give its url",
        )

    def _last_words(self) -> str:
        """Why the child ended, in its own last line."""
        if self._process is None or self.running:
            return "none"
        lines = self._errors.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return f"an end with status {self._process.returncode}: {lines[-1] if lines else 'no message'}"


def _address(host: str) -> str:
    """The IPv4 address of a host name: rumqttd takes no names."""
    try:
        return socket.gethostbyname(host)
    except OSError as error:
        raise BusError(
            f"cannot start the embedded broker at {host}",
            expected="an IPv4 address, or a name that has one",
            came=f"'{(error.strerror or str(error)).lower()}'",
            fix="choose an address of this machine, 127.0.0.1 for programs on it, 0.0.0.0 for all",
        ) from error


def _reachable(host: str) -> str:
    return "127.0.0.1" if host in ("0.0.0.0", "") else host  # noqa: S104 - a comparison


def _claim(host: str, port: int) -> int:
    """The port, or a free one for 0; checked before the child starts, since that cannot say what is wrong."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            taken = error.errno == errno.EADDRINUSE
            raise BusError(
                f"cannot start the embedded broker at {host}:{port}",
                expected="a free port",
                came="another program listening there" if taken else f"'{(error.strerror or str(error)).lower()}'",
                fix="choose another port (0 picks a free one), or use the broker that is there",
            ) from error
        claimed: int = probe.getsockname()[1]
        return claimed


def _listens(host: str, port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=1):
        return True
    return False
