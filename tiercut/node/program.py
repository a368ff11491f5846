"""How a program of tiercut starts and ends: settings, logs, signals, exit status."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol, TypeVar

from tiercut import heap, logs, settings
from tiercut.bus import ManagedBus
from tiercut.bus.emulated_link import EmulatedBus
from tiercut.bus.mqtt import MqttBus
from tiercut.bus.server_name import ANY_BUS
from tiercut.bus.tls_files import secret_suffix
from tiercut.clock import SystemClock
from tiercut.errors import TiercutError
from tiercut.node.identity import with_identity
from tiercut.node.settings import NodeSettings
from tiercut.protocol.topics import ECHO, WORK
from tiercut.security.identity_list import Role

log = logging.getLogger(__name__)

Settings = TypeVar("Settings", bound=NodeSettings)


class Runnable(Protocol):
    """A node."""

    async def run(self, stop: asyncio.Event) -> None:
        """Work until ``stop`` is set."""
        ...


class MqttOpener:
    """Opens MQTT buses for a node, with its emulated link in front where there is one.

    Args:
        node_settings: The node's settings.
        client: Prefix of its client ids (the tier): the broker keeps one session per id.
    """

    def __init__(self, node_settings: NodeSettings, client: str) -> None:
        self._settings = node_settings
        self._client = client

    def __call__(self, url: str, *, will: tuple[str, bytes]) -> ManagedBus:
        """A bus that keeps trying until the broker is there."""
        client_id = f"tiercut-{self._settings.site}-{self._client}-{self._settings.node}"
        client_id += secret_suffix(self._settings.key_file)
        mqtt = self._settings.mqtt(url, client_id=client_id, keeps_work=self._client in ("edge", "cloud"))
        if self._settings.identity is not None:  # an authority of our own, whose certificates say who is who
            own = url == self._settings.broker_url and self._client != "cloud"  # a cloud node may be on a site's broker
            mqtt = replace(mqtt, server=f"{self._settings.site}/bus" if own else ANY_BUS)
        bus = MqttBus(mqtt, clock=SystemClock(), will=will, wait=True)
        link = self._settings.emulated_link
        if link is None:
            return bus
        log.warning("frames cross an emulated link: figures are not measurements", extra={"link": str(link)})
        return EmulatedBus(bus, link, clock=SystemClock(), applies_to=_crosses_link)


def main(
    cls: type[Settings],
    build: Callable[[Settings], Runnable],
    *,
    role: Role,
    program: str,
    arguments: Sequence[str],
) -> int:
    """Run a node until SIGTERM or SIGINT; returns the exit status of `errors`."""
    try:
        chosen = settings.load(cls, arguments, program=program)
        logs.set_up(level=chosen.log_level, style=chosen.log_style)
        log.info("settings", extra={"of": chosen.node, "values": json.dumps(settings.shown(chosen))})
        node = build(with_identity(chosen, role))
        heap.settle()
        asyncio.run(_run(node))
    except TiercutError as error:
        print(f"{program}: {error}", file=sys.stderr)  # noqa: T201 - the last word of a program that ends
        return error.exit_status
    except ExceptionGroup as group:
        return _tell(group, program)
    return 0


async def _run(node: Runnable) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await node.run(stop)


def _tell(group: ExceptionGroup[Exception], program: str) -> int:
    """Errors of a TaskGroup: ours in one sentence each, others with their traceback."""
    known, unknown = group.split(TiercutError)
    if unknown is not None:
        log.error("a fault in tiercut", exc_info=unknown)
        return 1
    status = 1
    while known is not None and known.exceptions:
        first = known.exceptions[0]
        if isinstance(first, TiercutError):
            print(f"{program}: {first}", file=sys.stderr)  # noqa: T201 - the last word of a program that ends
            status = first.exit_status
            break
        known = first if isinstance(first, ExceptionGroup) else None
    return status


def leave(status: int) -> None:
    """End the process without waiting for threads that compute (a segment cannot be interrupted)."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _crosses_link(topic: str) -> bool:
    """Whether a topic crosses the emulated link: frames and probes do, all other messages do not."""
    return WORK.parse(topic) is not None or ECHO.parse(topic) is not None
