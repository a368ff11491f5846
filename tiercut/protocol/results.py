"""A frame's result: JSON on the stream's ``result`` topic, for people and other systems.

What the model made of the frame is the matter of `tiercut.results`: a kind of result adds its own fields.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from tiercut.declared import iso_time, load_json, read, unix_time
from tiercut.errors import refuse
from tiercut.fields import Confidence, Count, IsoTime, Milliseconds, ModelId, Name, ShortText, reason
from tiercut.limits import MAX_PAYLOAD_BYTES, MAX_STAGES
from tiercut.names import check_name
from tiercut.plan import FULL, Plan
from tiercut.protocol.frames import Stage, StageKind, Work
from tiercut.protocol.wirefields import Fields, plan_from_map, plan_to_map

MAX_OUTCOME_BYTES = 256 * 1024
#: The fields of a kind stand in front of this one.
_AFTER_KIND = "confidence"


def _doc(description: str) -> Meta:
    return Meta(description=description)


class SpentTime(msgspec.Struct, frozen=True, kw_only=True):
    """Time that a frame spent on one thing."""

    where: Annotated[Name, _doc("Node id; for wire the node that received.")]
    kind: Annotated[StageKind, reason("bad_stage")]
    ms: Annotated[Milliseconds, reason("bad_stage")]
    payload_bytes: (
        Annotated[int, Meta(ge=0, le=MAX_PAYLOAD_BYTES), _doc("What crossed the wire."), reason("bad_stage")]
        | UnsetType
    ) = msgspec.field(default=UNSET, name="bytes")
    emulated: Annotated[bool, _doc("An emulated link or a slowed node: no measurement.")] | UnsetType = UNSET

    @classmethod
    def of(cls, stage: Stage) -> SpentTime:
        """As a result says it."""
        return cls(
            where=stage.where,
            kind=stage.kind,
            ms=_ms(stage.seconds),
            payload_bytes=stage.payload_bytes if stage.kind == "wire" else UNSET,
            emulated=stage.emulated or UNSET,
        )

    def stage(self) -> Stage:
        """As nodes reckon with it."""
        return Stage(self.where, self.kind, self.ms / 1e3, bool(self.emulated), self.payload_bytes or 0)


class NamedModel(msgspec.Struct, frozen=True, kw_only=True):
    """The model."""

    name: str = ""
    sha256: ModelId


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What a model has made of a frame, and the frame's way. A kind of result has further fields: `tiercut.results`."""

    stream: Annotated[Name, _doc("The stream.")]
    seq: Annotated[Count, _doc("Number of the frame in its stream, from 0 at each start of its sensor.")]
    label: Annotated[str, _doc("What the sensor calls the frame, such as a file's name.")] | None = None
    captured_at: IsoTime
    confidence: Annotated[Confidence, _doc("How sure the model is; null where that is not known.")] | None = None
    exit: Annotated[ShortText, _doc("Variant of the model: full, an early exit, or another input size.")] = FULL
    plan: dict[str, Any]
    finished_by: Annotated[str, _doc("Node id.")] = "?"
    fallback: Annotated[str, _doc("Why a node ran more than the plan says; null where it did not.")] | None = None
    cached: (
        Annotated[bool, _doc("An edge has answered with what it remembers of a frame just like this one.")] | UnsetType
    ) = UNSET
    cached_from: Annotated[Count, _doc("Number of that frame.")] | UnsetType = UNSET
    stages: Annotated[tuple[SpentTime, ...], Meta(max_length=MAX_STAGES), _doc("What took how long, in order.")]
    latency_ms: Annotated[Milliseconds, _doc("Capture to result; null while clocks are not known.")] | None = None
    deadline_ms: Annotated[float, _doc("The frame's deadline, where it has one.")] | UnsetType = UNSET
    deadline_met: Annotated[bool, _doc("Null while clocks are not known.")] | UnsetType | None = UNSET
    emulated_links: Annotated[tuple[str, ...], _doc("Nodes with an emulated link before them.")] = ()
    emulated_nodes: Annotated[tuple[str, ...], _doc("Nodes that were slowed on purpose.")] = ()
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
        cached_from: Number of the frame that the answer is of, where that is another one.
    """
    met: bool | UnsetType | None = UNSET
    if work.deadline_s is not None:
        met = None if latency_s is None else latency_s <= work.deadline_s
    return Result(
        stream=work.stream,
        seq=work.seq,
        label=work.label,
        captured_at=iso_time(work.captured_unix_s, digits="microseconds"),
        confidence=confidence,
        exit=left_at,
        plan=plan_to_map(work.plan),
        finished_by=finished_by,
        fallback=fallback,
        cached=UNSET if cached_from is None else True,
        cached_from=UNSET if cached_from is None else cached_from,
        stages=tuple(map(SpentTime.of, stages)),
        latency_ms=None if latency_s is None else _ms(latency_s),
        deadline_ms=UNSET if work.deadline_s is None else _ms(work.deadline_s),
        deadline_met=met,
        emulated_links=_emulated(stages, "wire"),
        emulated_nodes=_emulated(stages, "compute"),
        model=NamedModel(name=model_name, sha256=work.model),
    )


def encode_result(result: Result, said: Mapping[str, Any]) -> bytes:
    """A result's JSON, with the fields of its kind."""
    fields: dict[str, Any] = msgspec.to_builtins(result)
    text: dict[str, Any] = {}
    for name, value in fields.items():
        if name == _AFTER_KIND:
            text |= said
        text[name] = value
    return json.dumps(text, separators=(",", ":"), allow_nan=False).encode()


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
        latency_s: Capture to result; ``None`` where the device's clock was not known.
        fallback: Why a node ran more than the plan says.
        exit: The variant at whose end it has left.
        deadline_met: Whether it came in time; ``None`` for a frame without a deadline, or of unknown age.
        cached: It was answered by what an edge remembers.
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


def read_journey(payload: bytes) -> Journey:
    """The way of a result's frame.

    Raises:
        BadEnvelope: it is no result, or a time or size is beyond its limit.
    """
    return journey_of(read(Result, load_json(payload, limit=MAX_OUTCOME_BYTES)))


def journey_of(result: Result) -> Journey:
    """The way of a result's frame.

    Raises:
        BadEnvelope: its plan does not hold together, or its time is none.
    """
    return Journey(
        stream=result.stream,
        seq=result.seq,
        model=result.model.sha256,
        plan=plan_from_map(Fields(result.plan, "plan")),
        stages=tuple(each.stage() for each in result.stages),
        captured_unix_s=unix_time(result.captured_at),
        latency_s=None if result.latency_ms is None else result.latency_ms / 1e3,
        fallback=result.fallback,
        exit=result.exit,
        deadline_met=None if result.deadline_met is UNSET else result.deadline_met,
        cached=bool(result.cached),
    )


class _Outcome(msgspec.Struct):
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
    except (ValueError, RecursionError) as error:
        expected = "a JSON object with stream as text and seq as a whole number"
        raise refuse("bad_outcome", expected=expected, came=payload[:60]) from error
    check_name(outcome.stream, field_name="stream")
    return outcome.stream, outcome.seq


def _emulated(stages: Sequence[Stage], kind: StageKind) -> tuple[str, ...]:
    return tuple(sorted({stage.where for stage in stages if stage.emulated and stage.kind == kind}))


def _ms(seconds: float) -> float:
    return round(seconds * 1e3, 3)
