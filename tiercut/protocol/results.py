"""A frame's result: JSON on the stream's ``result`` topic, for people and other systems.

What the model made of the frame is said in fields of its kind of result, beside these: `tiercut.results`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from tiercut.declared import decode_json, iso_time, load_json, read, unix_time
from tiercut.errors import BadEnvelope, SettingsError, refuse
from tiercut.fields import Confidence, Count, IsoTime, Milliseconds, ModelId, Name, ShortText, always, reason
from tiercut.limits import MAX_STAGES
from tiercut.names import check_name
from tiercut.plan import FULL, Plan
from tiercut.protocol.frames import Stage, StageKind, StageReport, Work

MAX_OUTCOME_BYTES = 256 * 1024
#: No longer plan is remembered: strangers' must not fill the memory.
_MAX_KNOWN_BYTES = 1024
#: The fields of the kind stand in front of this one. In front of it are texts and numbers; in a text, each quote has a
#: backslash before it.
_BEHIND_KIND = b',"confidence":'


class ResultStage(StageReport, frozen=True, kw_only=True, omit_defaults=True):
    """Time that a frame spent on one thing.

    Attributes:
        where: Node id; for ``wire`` the node that received.
        kind: What it was spent on.
        ms: Length.
        payload_bytes: What crossed the wire.
        emulated: An emulated link or a slowed node: no measurement.
    """


class NamedModel(Struct, frozen=True, kw_only=True):
    """The model.

    Attributes:
        name: What people call it.
        sha256: Its identity.
    """

    name: str = ""
    sha256: ModelId


class Result(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a model has made of a frame, and the frame's way. It has the fields of one kind of result besides.

    Attributes:
        stream: The stream.
        seq: Number of the frame in its stream, from 0 at each start of its sensor.
        label: What the sensor calls the frame, such as a file's name.
        captured_at: When the device captured it, on its wall clock.
        confidence: How sure the model is; null where that is unknown.
        exit: The variant at whose end the frame has left: full, an early exit, or another input size.
        plan: The plan it has followed.
        finished_by: Node id.
        fallback: Why a node ran more than the plan says; null where none did.
        cached: An edge has given the cached answer of a frame just like this one.
        cached_from: Number of that frame.
        stages: What took how long, in order.
        latency_ms: Capture to result; null while clock offsets are unknown.
        deadline_ms: The frame's deadline, where it has one.
        deadline_met: Whether it came in time; null while clock offsets are unknown.
        emulated_links: Nodes with an emulated link before them.
        emulated_nodes: Nodes that were slowed on purpose.
        model: The model.
    """

    stream: Name
    seq: Count
    label: str | None = always(None)
    captured_at: IsoTime
    confidence: Confidence | None = always(None)
    exit: ShortText = always(FULL)
    plan: Plan
    finished_by: Name = always("?")
    fallback: str | None = always(None)
    cached: bool = False
    cached_from: Count | UnsetType = UNSET
    stages: Annotated[tuple[Annotated[ResultStage, reason("bad_stage")], ...], Meta(max_length=MAX_STAGES)]
    latency_ms: Milliseconds | None = always(None)
    deadline_ms: Milliseconds | UnsetType = UNSET
    deadline_met: bool | UnsetType | None = UNSET
    emulated_links: tuple[str, ...] = always(())
    emulated_nodes: tuple[str, ...] = always(())
    model: NamedModel


def result_of(
    work: Work,
    model_name: str,
    *,
    left_at: str,
    confidence: float | None,
    stages: Sequence[Stage],
    finished_by: str,
    latency_s: float | None,
    fallback: str | None = None,
    cached_from: int | None = None,
) -> Result:
    """The result of a frame, but for the fields of its kind.

    Args:
        work: The frame's envelope as it came.
        model_name: What people call the model.
        left_at: The variant at whose end it has left.
        confidence: How sure the model is.
        stages: What took how long, in order.
        finished_by: Node id.
        latency_s: Capture to now, ``None`` while the offset to the device's clock is unknown.
        fallback: Why a node ran more than its plan says.
        cached_from: Number of the frame whose answer it is, where that is another frame.
    """
    deadline_s = work.deadline_s
    slowed = [each for each in stages if each.emulated]
    return Result(
        stream=work.stream,
        seq=work.seq,
        label=work.label,
        captured_at=iso_time(work.captured_unix_s, digits="microseconds"),
        confidence=confidence,
        exit=left_at,
        plan=work.plan,
        finished_by=finished_by,
        fallback=fallback,
        cached=cached_from is not None,
        cached_from=UNSET if cached_from is None else cached_from,
        stages=tuple(
            [
                ResultStage(
                    where=each.where,
                    kind=each.kind,
                    ms=round(each.seconds * 1e3, 3),
                    payload_bytes=each.payload_bytes,
                    emulated=each.emulated,
                )
                for each in stages
            ]
        ),
        latency_ms=None if latency_s is None else _ms(latency_s),
        deadline_ms=UNSET if deadline_s is None else _ms(deadline_s),
        deadline_met=UNSET if deadline_s is None else None if latency_s is None else latency_s <= deadline_s,
        emulated_links=_where(slowed, "wire") if slowed else (),
        emulated_nodes=_where(slowed, "compute") if slowed else (),
        model=NamedModel(name=model_name, sha256=work.model),
    )


def encode_result(result: Result, said: Struct) -> bytes:
    """A result's JSON, with the fields of its kind; ASCII alone, as many readers take no other.

    Raises:
        ValueError: a number is not finite.
    """
    if result.confidence is not None and not math.isfinite(result.confidence):
        raise ValueError(f"a confidence of {result.confidence}")
    encoded, fields = msgspec.json.encode(result), msgspec.json.encode(said)
    if not encoded.isascii():
        encoded = _ascii_json(result)
    if not fields.isascii() or b"null" in fields:  # which is what becomes of a number that is not finite
        fields = _ascii_json(said)
    front, mark, back = encoded.partition(_BEHIND_KIND)
    fields = fields[1:-1]
    return b"".join((front, b"," if fields else b"", fields, mark, back))


def _ascii_json(said: Struct) -> bytes:
    return json.dumps(msgspec.to_builtins(said), separators=(",", ":"), allow_nan=False).encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Journey:
    """What a result says of its frame's way: all but what the model made of it.

    Attributes:
        stream: Its stream.
        seq: Its number there.
        model: Identity of the model.
        plan: The plan it has followed.
        stages: What took how long, in order.
        captured_unix_s: When the device captured it, on its wall clock.
        latency_s: Capture to result; ``None`` where the device's clock was unknown.
        fallback: Why a node ran more than the plan says.
        exit: The variant at whose end it has left.
        deadline_met: Whether it came in time; ``None`` for a frame without a deadline, or of unknown age.
        cached: It is a cached answer of an edge.
    """

    stream: str
    seq: int
    model: str
    plan: Plan
    stages: tuple[Stage, ...]
    captured_unix_s: float
    latency_s: float | None
    fallback: str | None
    exit: str = FULL
    deadline_met: bool | None = None
    cached: bool = False


class _Way(Struct, frozen=True, kw_only=True):
    """The fields of a `Result` that its frame's way is made of: all others are skipped."""

    stream: Name
    seq: Count
    captured_at: IsoTime
    exit: ShortText = FULL
    plan: msgspec.Raw
    fallback: str | None = None
    cached: bool = False
    stages: Annotated[tuple[ResultStage, ...], Meta(max_length=MAX_STAGES)]
    latency_ms: Milliseconds | None = None
    deadline_met: bool | None = None
    model: NamedModel


_WAYS = msgspec.json.Decoder(_Way)


def _plan(text: bytes) -> Plan:
    """Most frames of a stream have the plan of the one before, to the letter; what is too long is not remembered."""
    return _known_plan(text) if len(text) <= _MAX_KNOWN_BYTES else _new_plan(text)


def _new_plan(text: bytes) -> Plan:
    return msgspec.json.decode(text, type=Plan)


_known_plan = lru_cache(maxsize=256)(_new_plan)


def read_journey(payload: bytes) -> Journey:
    """The way of a result's frame; fields that do not say it are not looked at.

    Raises:
        BadEnvelope: it is no result, or a time or size is beyond its limit.
    """
    if len(payload) <= MAX_OUTCOME_BYTES:
        with suppress(msgspec.MsgspecError, SettingsError, ValueError, RecursionError):
            way = _WAYS.decode(payload)
            return _journey(way, _plan(bytes(way.plan)), way.deadline_met)
    return journey_of(decode_json(Result, payload, limit=MAX_OUTCOME_BYTES))  # a rarer form of it, or a refusal


def journey_of(result: Result) -> Journey:
    """The way of a result's frame.

    Raises:
        BadEnvelope: its time of capture is none.
    """
    return _journey(result, result.plan, None if result.deadline_met is UNSET else result.deadline_met)


def _journey(said: Result | _Way, plan: Plan, deadline_met: bool | None) -> Journey:
    return Journey(
        stream=said.stream,
        seq=said.seq,
        model=said.model.sha256,
        plan=plan,
        stages=tuple(each.stage for each in said.stages),
        captured_unix_s=unix_time(said.captured_at),
        latency_s=None if said.latency_ms is None else said.latency_ms / 1e3,
        fallback=said.fallback,
        exit=said.exit,
        deadline_met=deadline_met,
        cached=said.cached,
    )


class _Outcome(Struct):
    stream: str
    seq: int


def read_outcome(payload: bytes) -> tuple[str, int]:
    """Stream and seq of a result or a drop.

    Raises:
        BadEnvelope: it is neither.
    """
    if len(payload) > MAX_OUTCOME_BYTES:
        raise refuse("too_large", expected=f"an outcome of at most {MAX_OUTCOME_BYTES} bytes", came=len(payload))
    try:
        outcome = msgspec.json.decode(payload, type=_Outcome)
    except (ValueError, RecursionError):
        outcome = None
    try:
        outcome = outcome or read(_Outcome, load_json(payload, limit=MAX_OUTCOME_BYTES))
    except BadEnvelope as error:
        expected = "a JSON object with stream as text and seq as a whole number"
        raise refuse("bad_outcome", expected=expected, came=payload[:60]) from error
    check_name(outcome.stream, field_name="stream")
    return outcome.stream, outcome.seq


def _where(stages: Sequence[Stage], kind: StageKind) -> tuple[str, ...]:
    return tuple(sorted({stage.where for stage in stages if stage.kind == kind}))


def _ms(seconds: float) -> float:
    return round(seconds * 1e3, 3)
