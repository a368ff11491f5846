"""Asks other nodes for their clocks and answers those who ask (`clocksync` does the arithmetic)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping

from tiercut.bus import Bus, Delivery
from tiercut.clock import Clock
from tiercut.clocksync import ClockOffsets
from tiercut.errors import BadMessage
from tiercut.jsonwire import decode_clock_probe, encode_clock_probe
from tiercut.logs import Throttle
from tiercut.talk import ClockProbe
from tiercut.topics import CLOCK, ECHO

log = logging.getLogger(__name__)

#: A clock is asked this often until enough is known of it (the filter wants several exchanges) …
ASK_EVERY_S = 0.2
#: … and then again after this long, because crystals drift.
ASK_AGAIN_S = 30.0
#: A message that measures is lost after so long.
MEASURE_S = 3.0
#: An offset between clocks is better than this.
OFFSET_ERROR_S = 1.0


class ClockService:
    """One node's side of the exchange.

    Args:
        own_topic: The node's clock topic: answers come there.
        clock: Its clock.
        offsets: What is learned.
    """

    def __init__(self, *, own_topic: str, clock: Clock, offsets: ClockOffsets) -> None:
        self._own_topic = own_topic
        self._clock = clock
        self._offsets = offsets
        self._throttle = Throttle(ASK_EVERY_S)
        #: measurements under way: when they were sent → the answer to come
        self._measuring: dict[float, asyncio.Future[ClockProbe]] = {}

    def wants(self, clock_id: str) -> bool:
        """Whether a clock should be asked now: neither known well nor asked a moment ago (then it counts as asked)."""
        now_s = self._clock.monotonic_s()
        return self._offsets.stale(clock_id, now_s, after_s=ASK_AGAIN_S) and self._throttle.allows(clock_id, now_s)

    async def ask(self, bus: Bus, topic: str) -> None:
        """Ask the node behind a clock topic."""
        question = ClockProbe(clock_id=self._clock.id, asked_s=self._clock.monotonic_s())
        await bus.publish(topic, encode_clock_probe(question), qos=0, response_topic=self._own_topic)

    async def measure(self, bus: Bus, names: Mapping[str, str], payload_bytes: int) -> tuple[int, float] | None:
        """Send a message to a node: its size and how long it took there, one way.

        Args:
            bus: The bus that the node is on.
            names: Its site, tier and node.
            payload_bytes: Size of the message; a little more at the least.

        Returns:
            ``None`` while the node's clock is not known: it is then asked for.

        Raises:
            TimeoutError: no answer came within `MEASURE_S`.
        """
        question = ClockProbe(clock_id=self._clock.id, asked_s=self._clock.monotonic_s())
        bare_bytes = len(encode_clock_probe(question, padding_bytes=1)) - 1
        padding_bytes = min(payload_bytes, bus.max_payload_bytes) - bare_bytes
        payload = encode_clock_probe(question, padding_bytes=max(1, padding_bytes))
        answer: asyncio.Future[ClockProbe] = asyncio.get_running_loop().create_future()
        self._measuring[question.asked_s] = answer
        try:
            async with asyncio.timeout(MEASURE_S):
                await bus.publish(ECHO.of(**names), payload, qos=0, response_topic=self._own_topic)
                heard = await answer
        finally:
            del self._measuring[question.asked_s]
        offset = self._offsets.offset(heard.clock_id, self._clock.monotonic_s())
        if self.wants(heard.clock_id):
            await self.ask(bus, CLOCK.of(**names))
        if offset is None or heard.heard_s is None:
            return None
        seconds = heard.heard_s + offset.seconds - question.asked_s
        if not -OFFSET_ERROR_S <= seconds <= MEASURE_S:  # no true answer
            return None
        return len(payload), max(0.0, seconds)

    async def listen(self, bus: Bus, deliveries: AsyncIterator[Delivery]) -> None:
        """Answer questions and take in answers until the bus is closed."""
        async for delivery in deliveries:
            delivery.ack()
            try:
                probe = decode_clock_probe(delivery.payload)
            except BadMessage as error:
                log.debug("clock message set aside", extra={"reason": str(error)})
                continue
            measuring = self._measuring.get(probe.asked_s)
            if measuring is not None and probe.heard_s is not None:
                if not measuring.done():
                    measuring.set_result(probe)
            elif probe.heard_s is not None and probe.answered_s is not None:
                self._offsets.add(
                    probe.clock_id,
                    asked_s=probe.asked_s,
                    heard_s=probe.heard_s,
                    answered_s=probe.answered_s,
                    back_s=delivery.received_s,
                )
            elif delivery.response_topic and CLOCK.parse(delivery.response_topic):
                await self._answer(bus, delivery.response_topic, probe, heard_s=delivery.received_s)

    async def _answer(self, bus: Bus, topic: str, question: ClockProbe, *, heard_s: float) -> None:
        answer = ClockProbe(
            clock_id=self._clock.id,
            asked_s=question.asked_s,
            heard_s=heard_s,
            answered_s=self._clock.monotonic_s(),
        )
        await bus.publish(topic, encode_clock_probe(answer), qos=0)
