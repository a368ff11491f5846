"""Guards the hub's handlers: a message is acknowledged, and set aside where it is not valid."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from tiercut.bus import Delivery
from tiercut.clock import Clock
from tiercut.errors import BadMessage
from tiercut.logs import Throttle

log = logging.getLogger(__name__)

#: A message that is set aside is logged at most this often per reason.
LOG_EVERY_S = 10.0

Handler = Callable[[Delivery], None]


@dataclass(slots=True)
class MessageGuard:
    """Guards handlers: no message ends the hub.

    Attributes:
        counters: Counts ``bad.<reason>``.
        clock: The hub's clock.
    """

    counters: Counter[str]
    clock: Clock
    _throttle: Throttle = field(default_factory=lambda: Throttle(LOG_EVERY_S))

    def guarded(self, handler: Handler) -> Handler:
        """The handler of a subscription that calls another one."""

        def take(delivery: Delivery) -> None:
            delivery.ack()
            try:
                handler(delivery)
            except BadMessage as error:
                self.counters[f"bad.{error.reason}"] += 1
                if self._throttle.allows(error.reason, self.clock.monotonic_s()):
                    log.warning("message set aside", extra={"topic": delivery.topic, "reason": str(error)})

        return take
