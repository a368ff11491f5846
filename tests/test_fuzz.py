"""A hundred thousand damaged envelopes: nothing but `BadMessage` comes out, and memory stays where it was."""

from __future__ import annotations

import random
import runpy
from collections import Counter
from pathlib import Path

import msgpack
import numpy as np
import psutil

from tiercut.codecs.base import TENSOR_REASONS
from tiercut.codecs.encode import decode_tensor
from tiercut.declared import decode_json, encode_json
from tiercut.errors import BadMessage
from tiercut.protocol.envelope import decode_work, encode_work
from tiercut.protocol.nodes import NodeStatus
from tiercut.refusal import ENVELOPE_REASONS

MAKE = runpy.run_path(str(Path(__file__).parent / "golden" / "make.py"))
COUNT = 100_000
MB = 1024 * 1024
#: Beginnings of msgpack values that promise much: lists, maps, texts, bytes, extensions of the largest size.
PROMISES = [bytes([first]) + b"\xff" * 4 for first in (0xDD, 0xDF, 0xDB, 0xC6, 0xC9)] + [
    b"\xdc\x00\xff",
    b"\xde\x00\x40",
]
NASTY = [
    b"\xdd\x00\x07\xa1\x20" + b"\x80" * 500_000,
    b"\xdc\x00\xfa" + (b"\xdc\x00\xfa" + (b"\x98" + b"\x80" * 8) * 250) * 250,
    b"\x81\xa1v" * 200_000,
    b"\xdc\x01\x00" * 200_000,
    b"\x8f" + b"".join(b"\xa1%c" % (65 + key) + b"\xdc\x01\x00" + b"\xa0" * 256 for key in range(15)),
    *PROMISES,
]  # fmt: skip


def mutate(seeds: list[bytes], rng: random.Random) -> bytes:
    """One damage of the kinds that happen and the kinds that are made."""
    seed, other = rng.choices(seeds, k=2)
    data = bytearray(seed)
    at = rng.randrange(len(data))
    match rng.randrange(7):
        case 0:
            for _ in range(rng.choice([1, 1, 2, 8])):
                data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        case 1:
            del data[at:]
        case 2:
            data[at:] = other[rng.randrange(len(other)) :]
        case 3:
            data[at : at + rng.randrange(1, 6)] = rng.choice(PROMISES)
        case 4:
            data[at:at] = rng.choice([b"\x81\xa1a", b"\x91", b"\x80", b"\x90"]) * rng.randrange(1, 1500)
        case 5:
            data[at : at + rng.randrange(1, 9)] = rng.randbytes(rng.randrange(9))
        case _:
            data = bytearray(msgpack.packb(mangle(msgpack.unpackb(seed), rng)))
    return bytes(data)


def mangle(envelope: dict[str, object], rng: random.Random) -> dict[str, object]:
    """A well-formed envelope with one value replaced at some depth: what a bit flip seldom reaches."""
    values: list[object] = [None, True, -1, 2**63, 0.5, float("nan"), "", "x" * 300, b"", [], {}, [[]] * 9, {"a": 1}]
    target: object = envelope
    while True:
        keys = list(target) if isinstance(target, dict) else list(range(len(target)))  # type: ignore[arg-type]
        key = rng.choice(keys)
        inner = target[key]  # type: ignore[index]
        if not isinstance(inner, (dict, list)) or not inner or rng.random() < 0.2:
            target[key] = rng.choice(values)  # type: ignore[index]
            return envelope
        target = inner


def outcome(data: bytes) -> str:
    """``ok`` or the reason; anything but `BadMessage` goes through to the test."""
    try:
        for tensor in decode_work(data).tensors:
            array = decode_tensor(tensor)
            assert array.shape == tensor.shape
            assert array.dtype == np.dtype(tensor.dtype)
    except BadMessage as error:
        return error.reason
    return "ok"


def test_mutated_envelopes_raise_only_bad_message_and_keep_memory_bounded() -> None:
    rng, outcomes = random.Random(20261121), Counter[str]()  # noqa: S311 - repeatable
    # Image codecs are slower to decode, and rarer here.
    seeds = [encode_work(MAKE["sample_work"](codec)) for codec in [*MAKE["CODECS"][:6] * 3, *MAKE["CODECS"][6:]]]
    outcomes.update(outcome(seed) for seed in seeds)
    process = psutil.Process()
    before = process.memory_info().rss
    most = before
    for number in range(COUNT):
        seed = NASTY[number // 500 % len(NASTY)] if number % 500 == 0 else mutate(seeds, rng)
        outcomes[outcome(seed)] += 1
        if number % 500 == 0:
            most = max(most, process.memory_info().rss)
    assert set(outcomes) <= ENVELOPE_REASONS | TENSOR_REASONS | {"ok"}
    assert len(outcomes) > 15
    assert most - before < 60 * MB


def test_mutated_json_raises_only_bad_message() -> None:
    rng, outcomes = random.Random(5), Counter[str]()  # noqa: S311 - repeatable
    status = NodeStatus(node="nuc", tier="edge", state="online", version="1", models={"a": "b"}, load={"waiting": 2.0})
    seed = encode_json(status)
    for _ in range(20_000):
        data = bytearray(seed)
        for _ in range(rng.choice([1, 1, 3])):
            at = rng.randrange(len(data))
            data[at : at + rng.randrange(3)] = rng.choice(
                [b"", b'"', b"{", b"[", b"9", b"null", b"1e999", b"\xff", b"-"]
            )
        try:
            decode_json(NodeStatus, bytes(data))
        except BadMessage as error:
            outcomes[error.reason] += 1
    assert set(outcomes) <= ENVELOPE_REASONS
    assert len(outcomes) > 3
