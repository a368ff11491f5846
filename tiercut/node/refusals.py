"""What a node does when a broker refuses one message or subscription: counts it, says so, and goes on."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter

from tiercut.backoff import Backoff
from tiercut.bus import Bus, Handler, Subscription
from tiercut.clock import Clock
from tiercut.errors import BrokerRefused, BusError, PacketTooLarge, PublishRefused
from tiercut.logs import Throttle

#: Errors of one message or one subscription; any other `BusError` says that the bus is closed, and ends the node.
REFUSED = (BrokerRefused, PublishRefused, PacketTooLarge)
#: A refused subscription is retried after this long, then after twice as long each time …
ASK_AGAIN_FIRST_S = 1.0
#: … up to this long.
MAX_ASK_AGAIN_S = 60.0
#: One line per kind of message within this time, as a status is refused every few seconds.
SAY_AGAIN_S = 60.0


class Refusals:
    """Counts what a node's brokers refuse.

    Args:
        counters: Counts ``refused.<what>``.
        clock: The node's clock.
        logger: The node's log.
    """

    def __init__(self, *, counters: Counter[str], clock: Clock, logger: logging.Logger) -> None:
        self._counters = counters
        self._clock = clock
        self._log = logger
        self._throttle = Throttle(SAY_AGAIN_S)

    def note(self, what: str, error: BusError) -> None:
        """A message was refused (``ready``, ``profile``, ``status``, ``outcome``), or a ``subscription``."""
        self._counters[f"refused.{what}"] += 1
        if self._throttle.allows(what, self._clock.monotonic_s()):
            self._log.error("refused by a broker, going on without it", extra={"what": what, "reason": str(error)})

    async def subscribe(
        self, bus: Bus, topic_filter: str, *, qos: int = 1, handler: Handler | None = None
    ) -> Subscription:
        """Subscribe; while the broker refuses, try again after ever longer pauses."""
        backoff = Backoff(first_s=ASK_AGAIN_FIRST_S, max_s=MAX_ASK_AGAIN_S)
        while True:
            try:
                return await bus.subscribe(topic_filter, qos=qos, handler=handler)
            except BrokerRefused as error:
                self.note("subscription", error)
            await asyncio.sleep(backoff.take_s())
