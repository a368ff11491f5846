"""Payloads above a broker's packet limit, sent in pieces: pure, without I/O or a clock.

The header of a chunk, 38 bytes, numbers big-endian as MQTT's are::

    0   1   0xC1: no msgpack value starts with it, so an envelope never does
    1   1   version, 1
    2  16   message id, random
    18  4   index of the chunk, from 0
    22  4   count of chunks
    26  8   length of the whole message in bytes
    34  4   CRC-32 (zlib) of the whole message
    38      body; all but the last chunk's have the same length, the last one's is not longer and not empty
"""

from __future__ import annotations

import os
import struct
import zlib
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from tiercut.errors import BadChunk, SettingsError

FIRST_BYTE = 0xC1
VERSION = 1
HEADER = struct.Struct(">BB16sIIQI")
MAX_CHUNKS = 65536
#: What a waiting chunk costs beyond its bytes (objects, dictionary entry): counted against the memory bound.
CHUNK_OVERHEAD_BYTES = 400
#: Ids of messages lately finished, by which a late redelivery is known.
REMEMBERED_MESSAGES = 1024

#: Every ``reason`` of a `BadChunk`.
CHUNK_REASONS = frozenset({"chunk_header", "chunk_too_big", "chunk_contradicts", "chunk_checksum"})
#: Every ``reason`` of `Abandoned`, next to those of the `BadChunk` that ended a message.
ABANDONED_REASONS = frozenset({"chunks_evicted", "chunks_timed_out", "chunk_late"})

Token = TypeVar("Token")


def is_chunk(payload: bytes) -> bool:
    """Whether a payload is a chunk, and no envelope."""
    return payload[:1] == b"\xc1"


def split(payload: bytes, max_bytes: int, *, message_id: bytes | None = None) -> list[bytes]:
    """A payload as one or more of at most ``max_bytes`` each; one that fits stays as it is.

    Raises:
        SettingsError: the limit leaves no room for a body, or the payload would take more than `MAX_CHUNKS`.
    """
    if len(payload) <= max_bytes and not is_chunk(payload):
        return [payload]
    body_bytes = max_bytes - HEADER.size
    if body_bytes < 1 or len(payload) > body_bytes * MAX_CHUNKS:
        raise SettingsError(
            "a message cannot be sent in pieces",
            expected=f"a packet limit above {HEADER.size} bytes and at most {MAX_CHUNKS} pieces",
            came=f"a limit of {max_bytes} bytes for a message of {len(payload)}",
            fix="raise the broker's packet limit",
        )
    message_id = os.urandom(16) if message_id is None else message_id
    checksum, total = zlib.crc32(payload), len(payload)
    count = max(1, -(-total // body_bytes))
    view = memoryview(payload)
    return [
        b"".join(
            (
                HEADER.pack(FIRST_BYTE, VERSION, message_id, index, count, total, checksum),
                view[index * body_bytes : (index + 1) * body_bytes],
            )
        )
        for index in range(count)
    ]


@dataclass(frozen=True, slots=True)
class Chunk:
    """One chunk, its header checked by itself; ``body`` is a view on the payload it came in."""

    message_id: bytes
    index: int
    count: int
    total: int
    checksum: int
    body: memoryview

    @classmethod
    def parse(cls, payload: bytes, *, max_bytes: int) -> Chunk:
        """A chunk of a message of at most ``max_bytes``.

        Raises:
            BadChunk: too short, of another version, or with numbers that contradict each other or the body.
        """
        if len(payload) <= HEADER.size:
            raise bad_chunk("chunk_header", expected=f"more than {HEADER.size} bytes", came=len(payload))
        first, version, message_id, index, count, total, checksum = HEADER.unpack_from(payload)
        if (first, version) != (FIRST_BYTE, VERSION):
            raise bad_chunk("chunk_header", expected=f"a chunk of version {VERSION}", came=(first, version))
        if total > max_bytes or count > MAX_CHUNKS:
            limit = f"at most {max_bytes} bytes in {MAX_CHUNKS} chunks"
            raise bad_chunk("chunk_too_big", expected=limit, came=(total, count))
        chunk = cls(message_id, index, count, total, checksum, memoryview(payload)[HEADER.size :])
        if not chunk.holds_together():
            raise bad_chunk("chunk_header", expected="index < count and a body that fits them", came=(index, count))
        return chunk

    def holds_together(self) -> bool:
        """Whether bodies of this length can make up the whole."""
        size = len(self.body)
        if not self.index < self.count <= self.total:
            return False
        if self.index < self.count - 1:
            return (self.count - 1) * size < self.total <= self.count * size
        if self.count == 1:
            return size == self.total
        rest, odd = divmod(self.total - size, self.count - 1)
        return not odd and rest >= size


def bad_chunk(reason: str, *, expected: str, came: object) -> BadChunk:
    """The error for a chunk that does not fit."""
    return BadChunk(
        "a chunk is not valid", expected=expected, came=str(came)[:80], fix="correct the sender", reason=reason
    )


@dataclass(frozen=True, slots=True)
class Assembled(Generic[Token]):
    """A whole message, and the tokens of all its deliveries in the order they came."""

    payload: bytes
    tokens: tuple[Token, ...]


@dataclass(frozen=True, slots=True)
class Abandoned(Generic[Token]):
    """Deliveries that will be part of no message, and why: their acks are still owed."""

    reason: str
    tokens: tuple[Token, ...]


@dataclass(slots=True)
class _Waiting(Generic[Token]):
    """A message of which chunks are missing."""

    first: Chunk
    since_s: float
    bodies: dict[int, memoryview] = field(default_factory=dict)
    tokens: list[Token] = field(default_factory=list)
    held_bytes: int = 0

    def fits(self, chunk: Chunk) -> bool:
        """Whether a chunk says the same as the first one that came, and as an earlier one of its own index."""
        same = (chunk.count, chunk.total, chunk.checksum) == (self.first.count, self.first.total, self.first.checksum)
        held = self.bodies.get(chunk.index)
        # As bytes: comparing memoryviews goes element by element.
        return same and (held is None or bytes(held) == bytes(chunk.body))


class Assembler(Generic[Token]):
    """Puts chunks together, whatever order they come in, within bounds of memory, number and time.

    Nothing is reserved on a header's word: what is held is what came, plus a fixed cost for each chunk.
    Each token comes back exactly once: in an `Assembled`, in an `Abandoned`, or by `add` raising, which leaves the
    token of that very chunk with the caller.

    Args:
        max_bytes: Bound of one message, and of all unfinished ones together.
        max_messages: Bound of unfinished messages.
        timeout_s: How long a message may be without a new chunk.
        counters: Where abandoned messages and late chunks are counted, by reason.
    """

    def __init__(self, *, max_bytes: int, max_messages: int, timeout_s: float, counters: Counter[str]) -> None:
        self._max_bytes = max_bytes
        self._max_messages = max_messages
        self._timeout_s = timeout_s
        self._counters = counters
        self._waiting: dict[bytes, _Waiting[Token]] = {}  # the one longest without a chunk comes first
        self._held_bytes = 0
        self._finished: deque[bytes] = deque(maxlen=REMEMBERED_MESSAGES)
        self._finished_set: set[bytes] = set()
        self._abandoned: list[Abandoned[Token]] = []

    @property
    def held_bytes(self) -> int:
        """Memory that unfinished messages take, overhead included; never above ``max_bytes``."""
        return self._held_bytes

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, payload: bytes, now_s: float, *, token: Token) -> Assembled[Token] | None:
        """Take in one chunk; the whole message when it was the last one missing.

        A chunk that came before is harmless. To stay within bounds, messages are given up, the one longest without a
        chunk first: ask `take_abandoned` after each call.

        Raises:
            BadChunk: the chunk is not valid by itself, contradicts earlier ones, or completes a message whose checksum
                is wrong. The last two end the message.
        """
        chunk = Chunk.parse(payload, max_bytes=self._max_bytes)
        if chunk.message_id in self._finished_set:
            self._abandon("chunk_late", [token])
            return None
        if chunk.count == 1:
            return self._finish(_Waiting(chunk, now_s, {0: chunk.body}, [token]))
        message = self._waiting.pop(chunk.message_id, None) or _Waiting(chunk, now_s)
        self._waiting[chunk.message_id] = message
        if not message.fits(chunk):
            self._give_up(chunk.message_id, "chunk_contradicts")
            raise bad_chunk(
                "chunk_contradicts", expected="the same header fields as in earlier chunks of the message", came="other"
            )
        message.since_s = now_s
        if chunk.index not in message.bodies:
            self._make_room(chunk)
            self._hold(message, chunk)
        message.tokens.append(token)
        if len(message.bodies) < chunk.count:
            return None
        del self._waiting[chunk.message_id]
        self._held_bytes -= message.held_bytes
        return self._finish(message)

    def take_abandoned(self) -> list[Abandoned[Token]]:
        """What was given up since the last call: those tokens are the caller's again."""
        taken, self._abandoned = self._abandoned, []
        return taken

    def expire(self, now_s: float) -> list[Abandoned[Token]]:
        """Give up messages that got no chunk for ``timeout_s``; returns `take_abandoned`."""
        for message_id, message in list(self._waiting.items()):
            if now_s - message.since_s < self._timeout_s:
                break
            self._give_up(message_id, "chunks_timed_out")
        return self.take_abandoned()

    def _hold(self, message: _Waiting[Token], chunk: Chunk) -> None:
        message.bodies[chunk.index] = chunk.body
        message.held_bytes += len(chunk.body) + CHUNK_OVERHEAD_BYTES
        self._held_bytes += len(chunk.body) + CHUNK_OVERHEAD_BYTES

    def _make_room(self, chunk: Chunk) -> None:
        """Give up the oldest others until a chunk fits."""
        cost = len(chunk.body) + CHUNK_OVERHEAD_BYTES
        while len(self._waiting) > self._max_messages or self._held_bytes + cost > self._max_bytes:
            oldest = next(iter(self._waiting))
            if oldest == chunk.message_id:  # the last one left: it alone is too much
                self._give_up(oldest, "chunk_too_big")
                raise bad_chunk("chunk_too_big", expected=f"at most {self._max_bytes} bytes held", came=chunk.total)
            self._give_up(oldest, "chunks_evicted")

    def _finish(self, message: _Waiting[Token]) -> Assembled[Token]:
        payload = b"".join(message.bodies[index] for index in range(message.first.count))
        if zlib.crc32(payload) != message.first.checksum:
            self._abandon("chunk_checksum", message.tokens[:-1])
            raise bad_chunk("chunk_checksum", expected=f"CRC-32 {message.first.checksum:08x}", came="another")
        if len(self._finished) == REMEMBERED_MESSAGES:
            self._finished_set.discard(self._finished[0])
        self._finished.append(message.first.message_id)
        self._finished_set.add(message.first.message_id)
        return Assembled(payload, tuple(message.tokens))

    def _give_up(self, message_id: bytes, reason: str) -> None:
        message = self._waiting.pop(message_id)
        self._held_bytes -= message.held_bytes
        self._abandon(reason, message.tokens)

    def _abandon(self, reason: str, tokens: list[Token]) -> None:
        self._counters[reason] += 1
        if tokens:
            self._abandoned.append(Abandoned(reason, tuple(tokens)))
