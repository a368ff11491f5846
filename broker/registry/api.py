"""The registry as the hub's HTTP API sees it: `broker.http.streams.StreamsApi`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import msgspec

from broker.registry.core import Registry
from broker.registry.events import StreamWanted
from broker.registry.shell import TICK_S, RegistryShell
from tiercut.bus import Bus, Message
from tiercut.clock import Clock
from tiercut.errors import SettingsError
from tiercut.protocol.stream_settings import StreamSettings
from tiercut.protocol.streams import encode_wanted
from tiercut.protocol.topics import WANTED
from tiercut.settings import from_table, to_table

#: How long an added stream may take to run or be refused; after that the answer has its state so far.
ANSWER_S = 5.0


class RegistryApi:
    """Answers from the registry, and publishes what is wanted as anyone on the bus could.

    Args:
        site: The site.
        registry: What decides.
        shell: Ticks at once when asked.
        clock: Its time.
        home: The site's bus.
    """

    def __init__(self, *, site: str, registry: Registry, shell: RegistryShell, clock: Clock, home: Bus) -> None:
        self._site = site
        self._registry = registry
        self._shell = shell
        self._clock = clock
        self._home = home

    def listing(self) -> list[dict[str, Any]]:
        """The status of each stream, by name."""
        return [msgspec.to_builtins(status) for status in self._registry.statuses]

    def show(self, name: str) -> dict[str, Any] | None:
        """A stream's status and settings; ``None`` where there is none."""
        known = self._registry.find(name)
        if known is None:
            return None
        status = {} if known.status is None else msgspec.to_builtins(known.status)
        return status | {"settings": None if known.settings is None else to_table(known.settings)}

    async def add(self, name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Add a stream, or change it.

        Returns:
            Its status.

        Raises:
            SettingsError: it does not fit; nothing is changed.
            BusError: the broker does not take it.
        """
        wanted = from_table(StreamSettings, {"name": name} | dict(settings), where=f"the stream '{name}'")
        self._shell.look_for_models()
        self._registry.check(wanted)
        await self._want(name, encode_wanted(wanted))
        until_s = self._clock.monotonic_s() + ANSWER_S
        while self._clock.monotonic_s() < until_s:
            known = self._registry.find(name)
            if known is not None and known.settings == wanted and known.status and known.status.state != "waiting":
                break
            await asyncio.sleep(TICK_S)
        return self.show(name) or {}

    async def remove(self, name: str) -> bool:
        """Remove a stream; false where there is none.

        Raises:
            SettingsError: it is from the hub's settings.
            BusError: the broker does not take it.
        """
        known = self._registry.find(name)
        if known is None:
            return False
        if known.fixed:
            raise SettingsError(
                f"the stream '{name}' cannot be removed",
                expected="a stream that was added while the hub ran",
                came="one from the hub's settings",
                fix="remove it there, and restart the hub",
            )
        await self._want(name, b"")
        return True

    async def _want(self, name: str, payload: bytes) -> None:
        await self._home.publish(Message(WANTED.of(site=self._site, stream=name), payload, retain=True))
        self._registry.handle(StreamWanted(name, payload))
        self._shell.wake()
