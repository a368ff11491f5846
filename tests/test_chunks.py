"""Messages in pieces: put together in any order, within bounds, every token handed back once."""

from __future__ import annotations

import random
import runpy
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiercut.errors import BadChunk, SettingsError
from tiercut.protocol.chunks import ABANDONED_REASONS, CHUNK_REASONS, HEADER, Assembler, is_chunk, split
from tiercut.protocol.envelope import encode_work

GOLDEN = Path(__file__).parent / "golden"


def assembler(*, max_bytes: int = 100_000, max_messages: int = 4) -> Assembler[int]:
    return Assembler(max_bytes=max_bytes, max_messages=max_messages, timeout_s=10.0, counters=Counter())


def test_payload_that_fits_stays_as_it_is() -> None:
    assert split(b"\x80abc", 100) == [b"\x80abc"]
    assert not is_chunk(b"\x80abc")


@given(st.binary(min_size=1, max_size=2000), st.integers(HEADER.size + 1, 300), st.randoms(use_true_random=False))
def test_message_comes_back_whatever_the_order(payload: bytes, max_bytes: int, rng: random.Random) -> None:
    chunks = split(payload, max_bytes)
    assert all(len(chunk) <= max_bytes for chunk in chunks)
    if len(chunks) == 1 and not is_chunk(chunks[0]):
        return
    rng.shuffle(chunks)
    target = Assembler[int](max_bytes=2_000_000, max_messages=1, timeout_s=1.0, counters=Counter())
    *early, last = [target.add(chunk, 0.0, token=number) for number, chunk in enumerate(chunks)]
    assert early == [None] * (len(chunks) - 1)
    assert last is not None
    assert (last.payload, last.tokens) == (payload, tuple(range(len(chunks))))
    assert target.held_bytes == 0


def test_golden_chunks_are_written_and_read_byte_for_byte() -> None:
    make = runpy.run_path(str(GOLDEN / "make.py"))
    payload = encode_work(make["sample_work"]("int8"))
    golden = [path.read_bytes() for path in sorted(GOLDEN.glob("chunk-*.bin"))]
    target = assembler()
    whole = [target.add(chunk, 0.0, token=0) for chunk in golden][-1]
    assert golden == split(payload, make["CHUNK_BYTES"], message_id=make["MESSAGE_ID"])
    assert whole is not None
    assert whole.payload == payload


def test_redelivered_chunk_is_harmless_and_its_token_comes_back() -> None:
    first, second = split(b"x" * 120, 100)
    target = assembler()
    assert target.add(first, 0.0, token=1) is None
    assert target.add(first, 0.0, token=2) is None
    done = target.add(second, 0.0, token=3)
    assert done is not None
    assert done.tokens == (1, 2, 3)


def test_chunk_of_a_finished_message_is_handed_back_at_once() -> None:
    target = assembler()
    chunks = split(b"x" * 120, 100)
    for token, chunk in enumerate([*chunks, chunks[0]]):
        target.add(chunk, 0.0, token=token)
    assert [(late.reason, late.tokens) for late in target.take_abandoned()] == [("chunk_late", (2,))]
    assert len(target) == 0


def test_oldest_message_is_given_up_for_a_new_one() -> None:
    target = assembler(max_messages=2)
    for token in range(3):
        target.add(split(b"x" * 120, 100)[0], float(token), token=token)
    assert [(lost.reason, lost.tokens) for lost in target.take_abandoned()] == [("chunks_evicted", (0,))]
    assert len(target) == 2


def test_message_without_new_chunks_times_out() -> None:
    target = assembler()
    target.add(split(b"x" * 120, 100)[0], 0.0, token=5)
    assert target.expire(9.0) == []
    assert [(lost.reason, lost.tokens) for lost in target.expire(10.0)] == [("chunks_timed_out", (5,))]
    assert target.held_bytes == 0


def test_memory_stays_bounded_under_a_flood_of_tiny_chunks() -> None:
    target = assembler(max_bytes=50_000, max_messages=1000)
    for token in range(2000):
        target.add(split(b"x" * 50, HEADER.size + 1)[0], 0.0, token=token)
        assert target.held_bytes <= 50_000
    given_back = [token for lost in target.take_abandoned() for token in lost.tokens]
    assert given_back == list(range(2000 - len(target)))


def test_message_whose_chunks_alone_exceed_the_bound_is_refused() -> None:
    target = assembler(max_bytes=5000)
    chunks = split(b"x" * 100, HEADER.size + 1)
    for token in range(12):
        target.add(chunks[token], 0.0, token=token)
    with pytest.raises(BadChunk) as caught:
        target.add(chunks[12], 0.0, token=12)
    assert caught.value.reason == "chunk_too_big"
    assert target.held_bytes == 0


@pytest.mark.parametrize(
    ("offset", "value", "reason"),
    [
        (1, b"\x02", "chunk_header"),
        (18, b"\x00\x00\x00\x09", "chunk_header"),
        (22, b"\x00\x00\x00\x00", "chunk_header"),
        (22, b"\xff\xff\xff\xff", "chunk_too_big"),
        (26, b"\xff" * 8, "chunk_too_big"),
        (26, b"\x00" * 8, "chunk_header"),
    ],
)
def test_header_that_contradicts_itself_is_refused(offset: int, value: bytes, reason: str) -> None:
    chunk = bytearray(split(b"x" * 120, 100)[0])
    chunk[offset : offset + len(value)] = value
    with pytest.raises(BadChunk) as caught:
        assembler().add(bytes(chunk), 0.0, token=0)
    assert caught.value.reason == reason


@pytest.mark.parametrize(("at", "reason"), [(37, "chunk_contradicts"), (60, "chunk_checksum")])
def test_damaged_chunk_ends_its_message_and_frees_the_others(at: int, reason: str) -> None:
    first, second = split(b"x" * 120, 100)
    damaged = bytearray(second)
    damaged[at] ^= 1
    target = assembler()
    target.add(first, 0.0, token=1)
    with pytest.raises(BadChunk) as caught:
        target.add(bytes(damaged), 0.0, token=2)
    assert caught.value.reason == reason
    assert [(lost.reason, lost.tokens) for lost in target.take_abandoned()] == [(reason, (1,))]


def test_random_bytes_raise_nothing_but_bad_chunk() -> None:
    rng, target = random.Random(1), assembler()  # noqa: S311 - repeatable
    good, reasons = split(bytes(500), 200), set[str]()
    for _ in range(20_000):
        chunk = bytearray(rng.choice(good))
        for _ in range(rng.randrange(4)):
            chunk[rng.randrange(len(chunk))] = rng.randrange(256)
        try:
            target.add(bytes(chunk[: rng.choice([len(chunk), rng.randrange(len(chunk))])]), 0.0, token=0)
        except BadChunk as error:
            reasons.add(error.reason)
        assert target.held_bytes <= 100_000
    assert reasons <= CHUNK_REASONS
    assert {lost.reason for lost in target.take_abandoned()} <= CHUNK_REASONS | ABANDONED_REASONS


def test_limit_without_room_for_a_body_is_refused() -> None:
    with pytest.raises(SettingsError):
        split(b"x" * 100, HEADER.size)
