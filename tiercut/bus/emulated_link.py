"""A bus behind an emulated link: for laptops without root, for tests, for the simulator."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable
from types import TracebackType
from typing import Self

from tiercut.bus.base import Handler, ManagedBus, Message, Posted, Properties, Sent, Subscription, Taken
from tiercut.bus.error_mapping import too_large_error
from tiercut.bus.link_model import Link, LinkSettings
from tiercut.bus.packets import check_message
from tiercut.bus.posting import Pending, publish_by_post
from tiercut.bus.settings import OUTGOING_BUDGET_BYTES
from tiercut.clock import Clock
from tiercut.errors import BusError


def all_topics(_topic: str) -> bool:
    """Every topic goes over the link."""
    return True


class _Crossing(Pending):
    """A message on its way over the link.

    Attributes:
        started_s: When it set out.
        across: Its time on the link is over; those before it may still be on it.
        timer: Ends its time on the link, or that of its answer.
        behind: As posted on the bus behind.
    """

    __slots__ = ("_withdraw", "across", "behind", "started_s", "timer")

    def __init__(self, message: Message, taken: Taken, withdraw: Callable[[_Crossing], None]) -> None:
        super().__init__(message, taken)
        self._withdraw = withdraw
        self.started_s = 0.0
        self.across = False
        self.timer: asyncio.TimerHandle | None = None
        self.behind: Posted | None = None

    def cancel(self) -> None:
        """See `tiercut.bus.Posted.cancel`."""
        if not self.done:
            super().cancel()
            self._withdraw(self)

    def end(self, answer: Sent | Exception) -> None:
        """As of `Pending`; no timer is left."""
        if self.timer is not None:
            self.timer.cancel()
        super().end(answer)


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
        #: messages that wait for room, in order
        self._waiting: deque[_Crossing] = deque()
        #: messages on the link, in order
        self._line: deque[_Crossing] = deque()
        #: messages whose answers are on their way back
        self._returning: set[_Crossing] = set()
        self._closed = False

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
        self._closed = True
        for crossing in list(self._returning):
            self._taken(crossing)
        try:
            await self._bus.close(goodbye=goodbye)
        finally:
            lost = [*self._line, *self._waiting]
            self._line.clear()
            self._waiting.clear()
            for crossing in lost:
                self._give(crossing)  # to the bus, which says that it is closed

    def post(self, message: Message, taken: Taken) -> Posted:
        """See `tiercut.bus.Bus.post`; a QoS 0 message is taken when it arrives."""
        if self._closed or not self._applies_to(message.topic):
            return self._bus.post(message, taken)
        check_message(message)
        if len(message.payload) > self.max_payload_bytes:
            raise too_large_error(message.topic, len(message.payload), self.max_payload_bytes)
        crossing = _Crossing(message, taken, self._withdraw)
        if self._waiting or not self._fits(message):
            self._waiting.append(crossing)
        else:
            self._set_out(crossing)
        return crossing

    def soon(self, call: Callable[[], None]) -> None:
        """See `tiercut.bus.Bus.soon`."""
        self._bus.soon(call)

    async def publish(self, message: Message) -> Sent:
        """See `tiercut.bus.Bus.publish`."""
        return await publish_by_post(self, message)

    async def subscribe(self, topic_filter: str, *, qos: int = 1, handler: Handler | None = None) -> Subscription:
        """As the bus behind."""
        return await self._bus.subscribe(topic_filter, qos=qos, handler=handler)

    async def announce(self, topic: str, payload: bytes, *, properties: Properties = ()) -> None:
        """As the bus behind."""
        await self._bus.announce(topic, payload, properties=properties)

    def _fits(self, message: Message) -> bool:
        return not self._in_flight_bytes or self._in_flight_bytes + len(message.payload) <= self._budget_bytes

    def _set_out(self, crossing: _Crossing) -> None:
        """Spend the link's time."""
        size = len(crossing.message.payload)
        self._in_flight_bytes += size
        crossing.started_s = self._clock.monotonic_s()
        _, arrives_s = self.link.departure(crossing.started_s, size)
        self._line.append(crossing)
        self._later(crossing, arrives_s, self._arrived)

    def _later(self, crossing: _Crossing, time_s: float, call: Callable[[_Crossing], None]) -> None:
        seconds = time_s - self._clock.monotonic_s()
        crossing.timer = asyncio.get_running_loop().call_later(max(0.0, seconds), call, crossing)

    def _arrived(self, crossing: _Crossing) -> None:
        """On to the bus behind, after all that set out before."""
        crossing.across = True
        self._hand_on()

    def _hand_on(self) -> None:
        while self._line and self._line[0].across:
            self._give(self._line.popleft())

    def _give(self, crossing: _Crossing) -> None:
        try:
            crossing.behind = self._bus.post(crossing.message, lambda answer: self._answered(crossing, answer))
        except BusError as error:  # the broker is another one by now, or the bus is closed
            self._end(crossing, error)

    def _answered(self, crossing: _Crossing, answer: Sent | Exception) -> None:
        """The answer comes back over the same delay."""
        if isinstance(answer, Exception):
            self._end(crossing, answer)
        elif crossing.message.qos and not self._closed and self.link.settings.delay_s:
            self._returning.add(crossing)
            self._later(crossing, self._clock.monotonic_s() + self.link.settings.delay_s, self._taken)
        else:
            self._taken(crossing)

    def _taken(self, crossing: _Crossing) -> None:
        self._returning.discard(crossing)
        seconds = self._clock.monotonic_s() - crossing.started_s
        self._end(crossing, Sent(seconds=seconds, payload_bytes=len(crossing.message.payload)))

    def _end(self, crossing: _Crossing, answer: Sent | Exception) -> None:
        self._give_room(crossing)
        crossing.end(answer)

    def _withdraw(self, crossing: _Crossing) -> None:
        """Its poster has cancelled it."""
        if crossing.timer is not None:
            crossing.timer.cancel()
        if crossing.behind is not None:
            crossing.behind.cancel()
        self._returning.discard(crossing)
        if crossing in self._waiting:
            self._waiting.remove(crossing)
            return
        if crossing in self._line:
            self._line.remove(crossing)
            self._hand_on()
        self._give_room(crossing)

    def _give_room(self, crossing: _Crossing) -> None:
        self._in_flight_bytes -= len(crossing.message.payload)
        while not self._closed and self._waiting and self._fits(self._waiting[0].message):
            self._set_out(self._waiting.popleft())
