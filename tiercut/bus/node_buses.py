"""The buses of one program: its home, and the way to the cloud."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import Protocol

from tiercut.bus.base import ManagedBus


class OpenBus(Protocol):
    """Opens a bus: MQTT in programs, in memory in tests."""

    def __call__(self, url: str, *, will: tuple[str, bytes]) -> ManagedBus:
        """A bus to the broker at ``url`` that leaves ``will`` (topic, retained payload) when it breaks off."""
        ...


class NodeBuses:
    """One connection to each broker of a node; iterating gives those that are open, home first.

    Args:
        open_bus: How to reach a broker.
        home_url: The broker of its own work and status: the site's for devices and edges, the cloud's for cloud nodes.
        uplink_url: The broker that leads to the cloud; the same where there is one broker.
    """

    def __init__(self, open_bus: OpenBus, *, home_url: str, uplink_url: str) -> None:
        self.open_bus = open_bus
        self.home_url = home_url
        self._urls = list(dict.fromkeys((home_url, uplink_url)))
        self._opened: list[ManagedBus] = []

    @property
    def are_two(self) -> bool:
        """Whether the cloud's broker is another than the site's."""
        return len(self._urls) > 1

    async def open(self, stack: AsyncExitStack, *, will: tuple[str, bytes]) -> None:
        """Open them, to be closed with ``stack``; each leaves ``will``."""
        for url in self._urls:
            self._opened.append(await stack.enter_async_context(self.open_bus(url, will=will)))

    @property
    def home(self) -> ManagedBus:
        """The home bus, once it is open."""
        return self._opened[0]

    @property
    def uplink(self) -> ManagedBus:
        """The way to the cloud, once it is open: another connection, or the home bus again."""
        return self._opened[-1]

    def __iter__(self) -> Iterator[ManagedBus]:
        return iter(self._opened)

    async def close(self) -> None:
        """Say goodbye on all of them at once: each publishes its will."""
        await asyncio.gather(*(bus.close() for bus in self._opened))
