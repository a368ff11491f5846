"""Asks other nodes for their clocks, and answers when asked (`offsets` does the arithmetic)."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from dataclasses import dataclass

from msgspec import structs

from tiercut.bus import Bus, Delivery, Message
from tiercut.clock import Clock
from tiercut.clocks.offsets import ClockOffsets
from tiercut.declared import decode_json, encode_json
from tiercut.errors import BadMessage
from tiercut.logs import Throttle
from tiercut.protocol.nodes import ClockProbe, EchoProbe
from tiercut.protocol.topics import CLOCK, ECHO

log = logging.getLogger(__name__)

#: A clock is asked this often until enough is known of it (the filter wants several exchanges) …
ASK_EVERY_S = 0.2
#: … and then again after this long, because crystals drift.
ASK_AGAIN_S = 30.0
#: A probe that is not answered within this time is lost.
PROBE_TIMEOUT_S = 3.0
#: The error of an offset between clocks is below this.
OFFSET_ERROR_S = 1.0
#: A question may be answered within this time: on a slow link the answer waits behind frames.
OPEN_S = 30.0
#: Questions kept open at once; the oldest makes room.
MAX_OPEN = 512
#: Questions are numbered at random, in place of a time: whole multiples of 2^-32, so that JSON keeps every digit.
_NUMBER_BITS, _NUMBER_SCALE = 52, 2.0**-32

#: Says which clocks a node has, by site, tier and node; empty: that is unknown.
ClocksOf = Callable[[str, str, str], Collection[str]]


@dataclass(frozen=True, slots=True)
class _Question:
    """A question that may be answered.

    Attributes:
        topic: Where it was asked.
        sent_s: When, on our clock.
        probing: Who waits for the answer to a probe.
    """

    topic: str
    sent_s: float
    probing: asyncio.Future[ClockProbe] | None = None


class ClockExchange:
    """A node's side of the exchange of clocks.

    Many may publish on a node's clock topic, so only what was asked for counts: an answer repeats the number of a
    question, which nobody knows but the node that was asked, and each question has one answer.

    Args:
        own_topic: The node's clock topic: answers come there.
        clock: Its clock.
        offsets: What is learned.
        clocks_of: Says which clocks a node may answer for; without it, any.
        counters: Counts ``bad.<reason>`` of answers that are set aside.
    """

    def __init__(
        self,
        *,
        own_topic: str,
        clock: Clock,
        offsets: ClockOffsets,
        clocks_of: ClocksOf | None = None,
        counters: Counter[str] | None = None,
    ) -> None:
        self._own_topic = own_topic
        self._clock = clock
        self._offsets = offsets
        self._throttle = Throttle(ASK_EVERY_S)
        self._clocks_of = clocks_of
        self._counters: Counter[str] = Counter() if counters is None else counters
        #: number → question that may be answered, the oldest first
        self._open: dict[float, _Question] = {}

    def wants(self, clock_id: str) -> bool:
        """Whether a clock should be asked now: neither known well nor asked a moment ago (then it counts as asked)."""
        now_s = self._clock.monotonic_s()
        return self._offsets.stale(clock_id, now_s, after_s=ASK_AGAIN_S) and self._throttle.allows(clock_id, now_s)

    async def ask(self, bus: Bus, topic: str) -> None:
        """Ask the node behind a clock topic."""
        number = self._number(_Question(topic, self._clock.monotonic_s()))
        question = ClockProbe(clock_id=self._clock.id, asked_s=number)
        try:
            await bus.publish(Message(topic, encode_json(question), qos=0, response_topic=self._own_topic))
        except BaseException:
            self._open.pop(number, None)
            raise

    async def probe(self, bus: Bus, names: Mapping[str, str], payload_bytes: int) -> tuple[int, float] | None:
        """Send a message to a node: its size and how long it took there, one way.

        Args:
            bus: The bus that the node is on.
            names: Its site, tier and node.
            payload_bytes: Size of the message; at least that of an empty probe.

        Returns:
            ``None`` while the node's clock is unknown: it is then asked for.

        Raises:
            TimeoutError: no answer came within `PROBE_TIMEOUT_S`.
        """
        answer: asyncio.Future[ClockProbe] = asyncio.get_running_loop().create_future()
        topic, sent_s = ECHO.of(**names), self._clock.monotonic_s()
        number = self._number(_Question(topic, sent_s, answer))
        question = EchoProbe(clock_id=self._clock.id, asked_s=number, padding="")
        padding_bytes = min(payload_bytes, bus.max_payload_bytes) - len(encode_json(question))
        payload = encode_json(structs.replace(question, padding="x" * max(1, padding_bytes)))
        try:
            async with asyncio.timeout(PROBE_TIMEOUT_S):
                await bus.publish(Message(topic, payload, qos=0, response_topic=self._own_topic))
                heard = await answer
        finally:
            self._open.pop(number, None)
        offset = self._offsets.offset(heard.clock_id, self._clock.monotonic_s())
        if self.wants(heard.clock_id):
            await self.ask(bus, CLOCK.of(**names))
        if offset is None or heard.heard_s is None:
            return None
        seconds = heard.heard_s + offset.seconds - sent_s
        if not -OFFSET_ERROR_S <= seconds <= PROBE_TIMEOUT_S:  # no true answer
            return None
        return len(payload), max(0.0, seconds)

    async def listen(self, bus: Bus, deliveries: AsyncIterator[Delivery]) -> None:
        """Answer questions and take in answers until the bus is closed."""
        async for delivery in deliveries:
            delivery.ack()
            if delivery.retain:  # an exchange is about this moment: an honest node retains none
                self._counters["bad.clock_retained"] += 1
                continue
            try:
                probe = decode_json(ClockProbe, delivery.payload)
            except BadMessage as error:
                log.debug("clock message set aside", extra={"reason": str(error)})
                continue
            if probe.heard_s is not None:
                self._take(probe, back_s=delivery.received_s)
            elif delivery.response_topic and CLOCK.parse(delivery.response_topic):
                await self._answer(bus, delivery.response_topic, probe, heard_s=delivery.received_s)

    def _number(self, question: _Question) -> float:
        """Note a question; its number is one that nobody can guess."""
        while self._open:
            oldest = next(iter(self._open))
            if len(self._open) < MAX_OPEN and question.sent_s - self._open[oldest].sent_s <= OPEN_S:
                break
            del self._open[oldest]
        number = secrets.randbits(_NUMBER_BITS) * _NUMBER_SCALE
        self._open[number] = question
        return number

    def _take(self, probe: ClockProbe, *, back_s: float) -> None:
        """An answer, or something that looks like one."""
        question = self._open.pop(probe.asked_s, None)
        if question is None or back_s - question.sent_s > OPEN_S:
            self._counters["bad.clock_unasked"] += 1
        elif not self._may_answer(question.topic, probe.clock_id):
            self._counters["bad.clock_of_another"] += 1
        elif question.probing is not None:
            if not question.probing.done():
                question.probing.set_result(probe)
        elif probe.heard_s is not None and probe.answered_s is not None:
            self._offsets.add(
                probe.clock_id,
                asked_s=question.sent_s,
                heard_s=probe.heard_s,
                answered_s=probe.answered_s,
                back_s=back_s,
            )

    def _may_answer(self, topic: str, clock_id: str) -> bool:
        """Whether the node that was asked has this clock, by what it says of itself."""
        names = CLOCK.parse(topic) or ECHO.parse(topic)
        if self._clocks_of is None or names is None:
            return True
        clocks = self._clocks_of(names["site"], names["tier"], names["node"])
        return not clocks or clock_id in clocks

    async def _answer(self, bus: Bus, topic: str, question: ClockProbe, *, heard_s: float) -> None:
        answer = ClockProbe(
            clock_id=self._clock.id,
            asked_s=question.asked_s,
            heard_s=heard_s,
            answered_s=self._clock.monotonic_s(),
        )
        await bus.publish(Message(topic, encode_json(answer), qos=0))
