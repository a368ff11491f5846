"""A bus behind an emulated link: for laptops without root, for tests, for the simulator."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, deque
from collections.abc import Callable
from types import TracebackType
from typing import Self

from tiercut.bus.base import Handler, ManagedBus, Message, Properties, Sent, Subscription
from tiercut.bus.link_model import Link, LinkSettings
from tiercut.bus.settings import OUTGOING_BUDGET_BYTES
from tiercut.clock import Clock


def all_topics(_topic: str) -> bool:
    """Every topic goes over the link."""
    return True


class EmulatedBus:
    """A bus whose publishes cross an emulated link before they reach the real one.

    A QoS 1 publish waits for its acknowledgement to come back over the same delay; ``Sent.seconds`` counts all of it,
    and so does the byte budget. What arrives, and what is announced, comes at full speed. Waiting is ``asyncio``'s: a
    loop with virtual time, read by the clock too, makes it exact and instant.

    Args:
        applies_to: Topics that cross the link; the others bypass it.
        budget_bytes: Payload bytes that may be on the link and unacknowledged behind it.
    """

    def __init__(
        self,
        bus: ManagedBus,
        settings: LinkSettings,
        *,
        clock: Clock,
        applies_to: Callable[[str], bool] = all_topics,
        budget_bytes: int = OUTGOING_BUDGET_BYTES,
        seed: int = 0,
    ) -> None:
        self.link = Link(settings, seed=seed)
        self._bus = bus
        self._clock = clock
        self._applies_to = applies_to
        self._budget_bytes = budget_bytes
        self._in_flight_bytes = 0
        #: calls that wait for room, in order
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()
        #: messages on the link, in order; the event of the first one is set
        self._line: deque[asyncio.Event] = deque()
        self._closed = asyncio.Event()

    @property
    def connected(self) -> bool:
        """Whether the broker is connected."""
        return self._bus.connected

    @property
    def max_payload_bytes(self) -> int:
        """As the bus behind."""
        return self._bus.max_payload_bytes

    @property
    def emulated(self) -> str | None:
        """Such as "emulated link: 5.85 Mbps, 20 ms"."""
        return str(self.link.settings)

    @property
    def counters(self) -> Counter[str]:
        """As the bus behind."""
        return self._bus.counters

    @property
    def early_unfinished(self) -> int:
        """As the bus behind."""
        return self._bus.early_unfinished

    async def __aenter__(self) -> Self:
        await self._bus.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self, *, goodbye: tuple[str, bytes] | None = None) -> None:
        """Close the bus behind; what is still on the link is lost, and its callers get the bus's error."""
        self._closed.set()
        while self._waiting:
            size, room = self._waiting.popleft()
            if not room.done():
                self._in_flight_bytes += size
                room.set_result(None)  # on to the bus, which says that it is closed
        await self._bus.close(goodbye=goodbye)

    async def publish(self, message: Message) -> Sent:
        """See `tiercut.bus.Bus.publish`; a QoS 0 message is taken when it arrives."""
        if not self._applies_to(message.topic):
            return await self._bus.publish(message)
        size = len(message.payload)
        await self._take_room(size)
        try:
            started_s = self._clock.monotonic_s()
            # A task starts with its loop's next turn, in the order of creation: that keeps the order of the line.
            await (await self._cross(size, lambda: self._arrive(message)))
            if message.qos:
                await self._wait_until(self._clock.monotonic_s() + self.link.settings.delay_s)
            return Sent(seconds=self._clock.monotonic_s() - started_s, payload_bytes=size)
        finally:
            self._give_room(size)

    def _arrive(self, message: Message) -> asyncio.Task[Sent]:
        async def give() -> Sent:
            return await self._bus.publish(message)

        return asyncio.create_task(give(), name=f"linked publish {message.topic}")

    async def subscribe(self, topic_filter: str, *, qos: int = 1, handler: Handler | None = None) -> Subscription:
        """As the bus behind."""
        return await self._bus.subscribe(topic_filter, qos=qos, handler=handler)

    async def announce(self, topic: str, payload: bytes, *, properties: Properties = ()) -> None:
        """As the bus behind."""
        await self._bus.announce(topic, payload, properties=properties)

    async def _cross(self, size: int, arrive: Callable[[], asyncio.Task[Sent]]) -> asyncio.Task[Sent]:
        """Spend the link's time, then arrive, after all that set out before."""
        _, arrives_s = self.link.departure(self._clock.monotonic_s(), size)
        first_in_line = asyncio.Event()
        self._line.append(first_in_line)
        self._line[0].set()
        try:
            await self._wait_until(arrives_s)
            await first_in_line.wait()
            return arrive()
        finally:
            self._line.remove(first_in_line)
            if self._line:
                self._line[0].set()

    async def _wait_until(self, time_s: float) -> None:
        """Wait, but not beyond `close`."""
        seconds = time_s - self._clock.monotonic_s()
        if seconds > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._closed.wait()

    async def _take_room(self, size: int) -> None:
        if not self._waiting and self._fits(size):
            self._in_flight_bytes += size
            return
        room: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((size, room))
        try:
            await room
        except asyncio.CancelledError:
            if room.done() and not room.cancelled():
                self._give_room(size)  # it had been granted
            raise

    def _give_room(self, size: int) -> None:
        self._in_flight_bytes -= size
        while self._waiting and (self._waiting[0][1].done() or self._fits(self._waiting[0][0])):
            next_size, room = self._waiting.popleft()
            if not room.done():
                self._in_flight_bytes += next_size
                room.set_result(None)

    def _fits(self, size: int) -> bool:
        return not self._in_flight_bytes or self._in_flight_bytes + size <= self._budget_bytes
