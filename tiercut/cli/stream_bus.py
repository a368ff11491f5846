"""What a site's bus says of its streams, for ``tiercut stream``."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from types import TracebackType
from typing import Self, TypeVar

from tiercut.bus import Delivery, Message
from tiercut.bus.mqtt import MqttBus
from tiercut.bus.settings import MqttSettings
from tiercut.clock import SystemClock
from tiercut.declared import decode_json
from tiercut.errors import BadMessage, BrokerRefused
from tiercut.protocol.nodes import NodeStatus
from tiercut.protocol.streams import SourceReport, StreamStatus
from tiercut.protocol.topics import SOURCE, STATUS, STREAM_STATUS, WANTED

#: How long to wait for the hub's retained status; the streams' own come before it.
KNOWN_S = 2.0
#: … and what a broker may hand out after it all the same.
MORE_S = 0.2

Found = TypeVar("Found")


class HubState(Enum):
    """Whether a site has a hub."""

    UNKNOWN = "unknown"
    OFFLINE = "offline"
    ONLINE = "online"


@dataclass(slots=True)
class Heard:
    """What was heard.

    Attributes:
        hubs: Hub → whether it is online.
        wanted: Stream → its settings as they are retained; empty when they were taken back.
        statuses: Stream → the hub's last word.
        silent: The sensor of the one stream is open, and has given nothing yet.
    """

    hubs: dict[str, bool] = field(default_factory=dict)
    wanted: dict[str, bytes] = field(default_factory=dict)
    statuses: dict[str, StreamStatus] = field(default_factory=dict)
    silent: bool = False

    @property
    def hub(self) -> HubState:
        """Whether there is one."""
        if not self.hubs:
            return HubState.UNKNOWN
        return HubState.ONLINE if any(self.hubs.values()) else HubState.OFFLINE


class SiteStreams:
    """A connection to the site's bus that listens to its streams.

    Args:
        settings: How to connect.
        site: The site.
        stream: Listen to this one only, and to its settings.
    """

    def __init__(self, settings: MqttSettings, site: str, stream: str | None) -> None:
        self.heard = Heard()
        self._bus = MqttBus(settings, clock=SystemClock())
        self._names = {"site": site} | ({} if stream is None else {"stream": stream})
        self._alone = stream is not None
        self._changed = asyncio.Event()

    async def __aenter__(self) -> Self:
        """Connect and listen.

        Raises:
            BusError: the broker cannot be reached, or refuses.
        """
        await self._bus.__aenter__()
        try:
            if self._alone:
                with contextlib.suppress(BrokerRefused):  # readers may not; some brokers say so, others say nothing
                    await self._bus.subscribe(WANTED.filter(**self._names), handler=self._wanted_came)
                    await self._bus.subscribe(SOURCE.filter(**self._names), handler=self._source_came)
            await self._bus.subscribe(STREAM_STATUS.filter(**self._names), handler=self._status_came)
            await self._bus.subscribe(STATUS.filter(site=self._names["site"], tier="hub"), handler=self._hub_came)
        except BaseException:
            await self._bus.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._bus.__aexit__(kind, error, trace)

    async def known(self) -> Heard:
        """What is retained, as far as it comes in time."""
        await self.until(lambda: self.heard.hubs, KNOWN_S)
        await asyncio.sleep(MORE_S)
        return self.heard

    async def want(self, stream: str, settings: bytes) -> None:
        """Retain a stream's settings; empty: it is not wanted any more.

        Raises:
            PublishRefused: our identity may not.
        """
        self.heard.wanted[stream] = settings
        await self._bus.publish(Message(WANTED.of(site=self._names["site"], stream=stream), settings, retain=True))

    async def until(self, condition: Callable[[], Found], timeout_s: float) -> Found | None:
        """The condition's first value that is not empty; ``None`` when that takes too long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while not (found := condition()):
                    await self._changed.wait()
                    self._changed.clear()
                return found
        return None

    def _wanted_came(self, delivery: Delivery) -> None:
        delivery.ack()
        if names := WANTED.parse(delivery.topic):
            self.heard.wanted[names["stream"]] = bytes(delivery.payload)
        self._changed.set()

    def _source_came(self, delivery: Delivery) -> None:
        delivery.ack()
        with contextlib.suppress(BadMessage):
            report = decode_json(SourceReport, delivery.payload) if delivery.payload else None
            self.heard.silent = report is not None and report.state == "silent"
        self._changed.set()

    def _status_came(self, delivery: Delivery) -> None:
        delivery.ack()
        names = STREAM_STATUS.parse(delivery.topic)
        if names and not delivery.payload:
            self.heard.statuses.pop(names["stream"], None)
        elif names:
            with contextlib.suppress(BadMessage):  # what cannot be read is ignored
                self.heard.statuses[names["stream"]] = decode_json(StreamStatus, delivery.payload)
        self._changed.set()

    def _hub_came(self, delivery: Delivery) -> None:
        delivery.ack()
        names = STATUS.parse(delivery.topic)
        with contextlib.suppress(BadMessage):
            if names and delivery.payload:
                self.heard.hubs[names["node"]] = decode_json(NodeStatus, delivery.payload).state == "online"
        self._changed.set()
