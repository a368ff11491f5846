"""From deliveries to frames: puts chunks together, reads envelopes, sets bad ones aside and counts them."""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Callable, Sequence
from functools import lru_cache, partial

from msgspec import Struct

from tiercut.bus import Delivery
from tiercut.clock import Clock
from tiercut.errors import BadMessage, refuse
from tiercut.limits import MAX_STAGES_ARRIVING, MAX_TEXT
from tiercut.logs import Throttle
from tiercut.protocol.chunks import Abandoned, Assembler, is_chunk
from tiercut.protocol.envelope import decode_work
from tiercut.protocol.frames import Work
from tiercut.protocol.topics import RETURN, WORK

log = logging.getLogger(__name__)

#: Memory for messages of which some chunks are still missing.
MAX_UNFINISHED_BYTES = 64 * 1024 * 1024
MAX_UNFINISHED_MESSAGES = 64
UNFINISHED_TIMEOUT_S = 30.0
#: Chunks of unfinished messages that stay unacknowledged. Each takes one of the broker's credits (Receive Maximum), so
#: the oldest is acknowledged beyond that, or two large messages could block each other forever.
MAX_HELD_CHUNKS = 32


class Arrived(Struct, frozen=True):
    """A frame from the bus: its envelope, when its last byte came, its size, and the acknowledgement owed for it."""

    work: Work
    received_s: float
    payload_bytes: int
    ack: Callable[[], None]


class Intake:
    """Reads the deliveries of a node's work topic.

    An invalid message goes no further: it is acknowledged, counted under ``bad.<reason>``, and logged with
    its sentence (at most one line per reason and ten seconds).
    """

    def __init__(self, *, clock: Clock, counters: Counter[str]) -> None:
        self._clock = clock
        self._counters = counters
        self._throttle = Throttle(10.0)
        self._held: deque[Delivery] = deque()
        self._assembler: Assembler[Delivery] = Assembler(
            max_bytes=MAX_UNFINISHED_BYTES,
            max_messages=MAX_UNFINISHED_MESSAGES,
            timeout_s=UNFINISHED_TIMEOUT_S,
            counters=counters,
        )

    @property
    def unfinished(self) -> bool:
        """Whether messages wait for chunks."""
        return len(self._assembler) > 0

    def expire(self) -> None:
        """Give up messages whose missing chunks will not come any more."""
        self._set_free(self._assembler.expire(self._clock.monotonic_s()))

    def take(self, delivery: Delivery) -> Arrived | None:
        """The frame of a delivery; ``None`` when it was bad, or a chunk that others must follow."""
        try:
            return self._read(delivery)
        except BadMessage as error:
            self._counters[f"bad.{error.reason}"] += 1
            if self._throttle.allows(error.reason, self._clock.monotonic_s()):
                log.warning("message set aside", extra={"topic": delivery.topic, "reason": str(error)})
            delivery.ack()
            return None

    def _set_free(self, abandoned: list[Abandoned[Delivery]]) -> None:
        """Acknowledge chunks that will be part of no message (the assembler has counted why)."""
        for lost in abandoned:
            _ack_all(lost.tokens)

    def _hold(self, chunk: Delivery) -> None:
        self._held.append(chunk)
        if len(self._held) > MAX_HELD_CHUNKS:
            self._held.popleft().ack()

    def _read(self, delivery: Delivery) -> Arrived | None:
        payload, ack = delivery.payload, delivery.ack
        if is_chunk(payload):
            self._hold(delivery)
            assembled = self._assembler.add(payload, self._clock.monotonic_s(), token=delivery)
            self._set_free(self._assembler.take_abandoned())
            if assembled is None:
                return None
            payload, ack = assembled.payload, partial(_ack_all, assembled.tokens)
            self._held = deque(held for held in self._held if not any(held is done for done in assembled.tokens))
        try:
            work = decode_work(payload)
            _check_topics(work, delivery.topic)
        except BadMessage:
            ack()
            raise
        return Arrived(work, delivery.received_s, len(payload), ack)


def _check_topics(work: Work, topic: str) -> None:
    """An envelope may only speak for the site of the topic it came on, and only ask for answers to that site."""
    if len(work.stages) > MAX_STAGES_ARRIVING:
        raise refuse("too_many", expected=f"at most {MAX_STAGES_ARRIVING} stages so far", came=len(work.stages))
    names = _parse(topic) if len(topic) <= MAX_TEXT else WORK.parse(topic)
    if names is None or names["site"] != work.site:
        raise refuse("wrong_site", expected=f"the site of the topic {topic}", came=work.site)
    if names["stream"] != work.stream:  # who may publish there may publish frames of that stream, and of no other
        raise refuse("wrong_stream", expected=f"the stream of the topic {topic}", came=work.stream)
    if work.return_to is not None:
        back = RETURN.parse(work.return_to)
        if back is None or back["site"] != work.site:
            raise refuse("bad_return", expected=f"a return topic of site {work.site}", came=work.return_to)


#: Frames of a stream come on the same topic.
_parse = lru_cache(maxsize=256)(WORK.parse)


def _ack_all(deliveries: Sequence[Delivery]) -> None:
    for delivery in deliveries:
        delivery.ack()
