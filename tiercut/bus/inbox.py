"""What waits in one subscription until its reader comes."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable

from tiercut.bus.base import Delivery, Handler
from tiercut.logs import Throttle

log = logging.getLogger(__name__)


class Inbox:
    """A `tiercut.bus.Subscription`: deliveries in order of arrival, for one or several readers.

    QoS 1 messages are bounded by the receive maximum, since the broker waits for their acknowledgements. QoS 0 messages
    have no such bound: of those at most ``qos0_limit`` wait, and the oldest gives way.

    Args:
        unsubscribe: Called once, with this inbox, when it is closed.
        dropped: Called for each message that gave way.
        handler: Called with each delivery as it arrives, on the event loop, instead of anyone iterating.
    """

    def __init__(
        self,
        topic_filter: str,
        *,
        qos0_limit: int,
        unsubscribe: Callable[[Inbox], Awaitable[None]],
        dropped: Callable[[], None],
        handler: Handler | None = None,
    ) -> None:
        self.topic_filter = topic_filter
        self._qos0_limit = qos0_limit
        self._unsubscribe = unsubscribe
        self._dropped = dropped
        self._handler = handler
        #: exceptions that the handler raised, ever
        self._faults = 0
        self._throttle = Throttle(10.0)
        self._deliveries: deque[tuple[Delivery, bool]] = deque()
        self._qos0 = 0
        self._readers: deque[asyncio.Future[None]] = deque()
        self._ended = False

    def __len__(self) -> int:
        return len(self._deliveries)

    def put(self, delivery: Delivery, *, qos0: bool) -> None:
        """A message arrived."""
        if self._ended:
            return
        if self._handler is not None:
            try:
                self._handler(delivery)
            except Exception as error:  # noqa: BLE001 - a fault of the handler's must not end the connection
                self._on_fault(delivery, error)
            return
        if qos0:
            if self._qos0 >= self._qos0_limit:
                self._drop_oldest_qos0()
            self._qos0 += 1
        self._deliveries.append((delivery, qos0))
        self._wake_one()

    def _on_fault(self, delivery: Delivery, error: Exception) -> None:
        """Log what a handler raised, at most once per type and ten seconds.

        A message whose handler raised is acknowledged, as nobody else will, and the broker would send it forever. So
        a handler must not raise once it has handed the message on: that work would be lost if the process died.
        """
        self._faults += 1
        if self._throttle.allows(type(error).__name__, delivery.received_s):
            log.error(
                "a message was not handled",
                exc_info=error,
                extra={"topic": delivery.topic, "so_far": self._faults},
            )
        delivery.ack()

    def end(self) -> None:
        """Nothing more will come: readers stop after what is there."""
        self._ended = True
        for reader in self._readers:
            if not reader.done():
                reader.set_result(None)

    def __aiter__(self) -> AsyncIterator[Delivery]:
        return self

    async def __anext__(self) -> Delivery:
        while not self._deliveries:
            if self._ended:
                raise StopAsyncIteration
            reader: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._readers.append(reader)
            try:
                await reader
            except asyncio.CancelledError:
                if reader.done() and not reader.cancelled() and self._deliveries:
                    self._wake_one()  # woken and cancelled at once: the message is the next reader's
                raise
            finally:
                if reader in self._readers:
                    self._readers.remove(reader)
        delivery, qos0 = self._deliveries.popleft()
        self._qos0 -= qos0
        if self._deliveries:
            self._wake_one()
        return delivery

    async def close(self) -> None:
        """Unsubscribe; the iteration ends after what has already arrived. Un-acknowledged messages stay so."""
        if not self._ended:
            self.end()
            await self._unsubscribe(self)

    def _wake_one(self) -> None:
        while self._readers:
            reader = self._readers.popleft()
            if not reader.done():
                reader.set_result(None)
                return

    def _drop_oldest_qos0(self) -> None:
        for index, (_, qos0) in enumerate(self._deliveries):
            if qos0:
                del self._deliveries[index]
                self._qos0 -= 1
                self._dropped()
                return
