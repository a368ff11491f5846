"""What people and other systems read: the JSON of a result, and its CloudEvents attributes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from tiercut.declared import decode_json, unix_time
from tiercut.errors import refuse
from tiercut.fields import Count, Finite, IsoTime, Milliseconds, Name, ShortText
from tiercut.limits import MAX_TENSORS
from tiercut.model.bundle import Bundle
from tiercut.model.confidence import confidence, probabilities
from tiercut.model.variants import Variant
from tiercut.names import check_name
from tiercut.plan import FULL, Plan
from tiercut.protocol.frames import Stage, StageReports, Work

RESULT_TYPE = "tiercut.result.v1"
DROPPED_TYPE = "tiercut.dropped.v1"
CONTENT_TYPE = "application/json"
SPEC_VERSION = "1.0"
#: CloudEvents attributes that an outcome has, as user properties; ``datacontenttype`` is the message's content type.
REQUIRED = ("specversion", "id", "source", "type", "time")
#: What an outcome may have besides: nobody here says it, whoever hands an outcome on keeps it.
OPTIONAL = ("subject", "dataschema")
MAX_OUTCOME_BYTES = 256 * 1024

TOP = 5
#: An output of at most so many numbers is given whole, a larger one as a summary.
WHOLE_OUTPUT = 16


def event_id(seq: int, captured_unix_s: float) -> str:
    """What names a frame's outcome within its stream, over restarts of its device."""
    return f"{seq}-{round(captured_unix_s * 1e3)}"


def event_source(site: str, stream: str, kind: str) -> str:
    """Where an outcome comes from.

    A frame that was dropped on one way may have a result on another: these are two events, and have the same id.
    """
    return f"/tiercut/{site}/{stream}" + ("/dropped" if kind == DROPPED_TYPE else "")


def attributes(work: Work, *, kind: str, unix_s: float) -> list[tuple[str, str]]:
    """CloudEvents 1.0 attributes of a frame's outcome, as user properties (MQTT binding, section 3.1).

    ``(source, id)`` names the event: QoS 1 may deliver it twice, and this is the key to tell. The capture time is part
    of the id because a device that starts again counts its frames from 0.
    """
    return [
        ("specversion", SPEC_VERSION),
        ("id", event_id(work.seq, work.captured_unix_s)),
        ("source", event_source(work.site, work.stream, kind)),
        ("type", kind),
        ("time", _iso(unix_s)),
    ]


def read_attributes(properties: Iterable[tuple[str, str]], *, site: str, stream: str) -> list[tuple[str, str]]:
    """The attributes of an outcome among user properties, and no others.

    Args:
        properties: As they came.
        site: The site whose outcome it is to be.
        stream: The stream that its payload names.

    Raises:
        BadEnvelope: one is missing or twice, or it is no outcome of that stream.
    """
    found = [(name, value) for name, value in properties if name in REQUIRED or name in OPTIONAL]
    values = dict(found)
    missing = [name for name in REQUIRED if not values.get(name)]
    if missing or len(values) != len(found):
        came = [name for name, _ in found]
        raise refuse("bad_return", expected=f"the attributes {list(REQUIRED)}, each once", came=came)
    expected = {"specversion": SPEC_VERSION, "source": event_source(site, stream, values["type"])}
    wrong = {name: values[name] for name, value in expected.items() if values[name] != value}
    if wrong:
        raise refuse("bad_return", expected=f"{expected}", came=wrong)
    return found


@dataclass(frozen=True, slots=True)
class Reading:
    """What a model has made of a frame: the part of a result that also holds for a frame just like it.

    Attributes:
        said: ``labels`` or ``outputs``, and ``confidence``, as they stand in the result.
        exit: The variant at whose end the frame has left.
        seq: The frame's number.
    """

    said: Mapping[str, Any]
    exit: str
    seq: int


def reading(seq: int, outputs: Mapping[str, NDArray[Any]], bundle: Bundle, variant: Variant) -> Reading:
    """What outputs say: labels where the model has them, a summary of each where not; and how sure the model is.

    Args:
        seq: The frame's number.
        outputs: The variant's outputs by name.
        bundle: The model.
        variant: The way through it at whose end the frame has left.
    """
    return Reading(_said(outputs, bundle, variant), variant.name, seq)


def build(
    work: Work,
    read: Reading,
    model_name: str,
    *,
    stages: Sequence[Stage],
    finished_by: str,
    latency_s: float | None,
    fallback: str | None = None,
    cached: bool = False,
) -> bytes:
    """The result of a frame as JSON.

    Args:
        work: The frame's envelope as it came.
        read: What the model made of it, or of a frame just like it.
        model_name: What people call the model.
        stages: What took how long, in order.
        finished_by: Node id.
        latency_s: Capture to now, ``None`` while the offset to the device's clock is unknown.
        fallback: Why a node ran more than its plan says.
        cached: ``read`` is of another frame, that of number ``read.seq``.
    """
    result: dict[str, Any] = {
        "stream": work.stream,
        "seq": work.seq,
        "label": work.label,
        "captured_at": _iso(work.captured_unix_s),
        **read.said,
        "exit": read.exit,
        "plan": msgspec.to_builtins(work.plan),
        "finished_by": finished_by,
        "fallback": fallback,
        **({"cached": True, "cached_from": read.seq} if cached else {}),
        "stages": [_stage(stage) for stage in stages],
        "latency_ms": None if latency_s is None else _ms(latency_s),
        **_deadline(work.deadline_s, latency_s),
        "emulated_links": _emulated(stages, "wire"),
        "emulated_nodes": _emulated(stages, "compute"),
        "model": {"name": model_name, "sha256": work.model},
    }
    return json.dumps(result, separators=(",", ":"), allow_nan=False).encode()


def read_outcome(payload: bytes) -> tuple[str, int]:
    """Stream and seq of a result or a drop.

    Raises:
        BadEnvelope: it is neither.
    """
    if len(payload) > MAX_OUTCOME_BYTES:
        raise refuse("too_large", expected=f"an outcome of at most {MAX_OUTCOME_BYTES} bytes", came=len(payload))
    try:
        outcome = json.loads(payload)
        stream, seq = outcome["stream"], outcome["seq"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise refuse("bad_outcome", expected="a JSON object with stream and seq", came=payload[:60]) from error
    if not isinstance(stream, str) or not isinstance(seq, int):
        raise refuse("bad_outcome", expected="stream as text and seq as a whole number", came=payload[:60])
    check_name(stream, field_name="stream")
    return stream, seq


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


class _Model(msgspec.Struct):
    sha256: ShortText


class _Said(msgspec.Struct):
    """The part of a result's JSON that is read here."""

    stream: Name
    seq: Count
    model: _Model
    plan: Plan
    stages: StageReports
    captured_at: IsoTime
    latency_ms: Milliseconds | None = None
    fallback: str | None = None
    exit: ShortText = FULL
    deadline_met: bool | None = None
    cached: bool = False
    labels: Annotated[list[Any], msgspec.Meta(max_length=TOP)] | None = None
    outputs: Annotated[list[Any], msgspec.Meta(max_length=MAX_TENSORS)] | None = None
    confidence: Finite | None = None


def read_journey(payload: bytes) -> Journey:
    """The way of a result's frame.

    Raises:
        BadEnvelope: it is no result, or a time or size is beyond its limit.
    """
    return _journey(decode_json(_Said, payload, limit=MAX_OUTCOME_BYTES))


def read_result(payload: bytes) -> tuple[Journey, Reading]:
    """All of a result: the way of its frame, and what the model made of it.

    Raises:
        BadEnvelope: it is no result, or says something that is no finite number.
    """
    said = decode_json(_Said, payload, limit=MAX_OUTCOME_BYTES)
    made = {"labels": said.labels} if said.labels is not None else {"outputs": said.outputs}
    if said.labels is None and said.outputs is None:
        raise refuse("missing_field", expected="'labels' or 'outputs'", came=None)
    return _journey(said), Reading(made | {"confidence": said.confidence}, said.exit, said.seq)


def _journey(said: _Said) -> Journey:
    return Journey(
        stream=said.stream,
        seq=said.seq,
        model=said.model.sha256,
        plan=said.plan,
        stages=tuple(each.stage for each in said.stages),
        captured_unix_s=unix_time(said.captured_at),
        latency_s=None if said.latency_ms is None else said.latency_ms / 1e3,
        fallback=said.fallback,
        exit=said.exit,
        deadline_met=said.deadline_met,
        cached=said.cached,
    )


def top_labels(scores: NDArray[Any], labels: Sequence[str], *, top: int = TOP) -> list[dict[str, Any]]:
    """The ``top`` best of one row of scores, best first.

    Args:
        scores: ``(classes,)``.
        labels: A name per class.
        top: How many.
    """
    values = scores.ravel()
    best = np.argpartition(values, -top)[-top:] if top < values.size else np.arange(values.size)
    best = best[np.argsort(values[best])[::-1]]
    return [{"class": int(i), "label": labels[int(i)], "score": _finite(round(float(values[i]), 6))} for i in best]


def _said(outputs: Mapping[str, NDArray[Any]], bundle: Bundle, variant: Variant) -> dict[str, Any]:
    labels = bundle.labels or ()
    temperature = 1.0 if variant.exit is None else variant.exit.temperature
    for spec in variant.outputs:
        if labels and outputs[spec.name].size == len(labels):
            scores = outputs[spec.name]
            if spec.scores == "softmax":
                scores = probabilities(scores.reshape(-1), temperature)
            sure = round(float(scores.max()), 6) if spec.scores == "softmax" and np.isfinite(scores).all() else None
            return {"labels": top_labels(scores, labels), "confidence": sure}
    sure = None
    if variant.exit is not None:
        sure = round(confidence(outputs[variant.exit.output.name], temperature), 6)
    return {"outputs": [_summary(name, array) for name, array in outputs.items()], "confidence": sure}


def _deadline(deadline_s: float | None, latency_s: float | None) -> dict[str, Any]:
    """Whether the frame's deadline was met; nothing for a frame without one."""
    if deadline_s is None:
        return {}
    met = None if latency_s is None else latency_s <= deadline_s
    return {"deadline_ms": _ms(deadline_s), "deadline_met": met}


def _summary(name: str, array: NDArray[Any]) -> dict[str, Any]:
    summary: dict[str, Any] = {"name": name, "shape": list(array.shape), "dtype": str(array.dtype)}
    if array.size <= WHOLE_OUTPUT:
        return {**summary, "values": [_finite(value) for value in array.ravel().tolist()]}
    values = array.astype(np.float64)
    return {
        **summary,
        "min": _finite(float(values.min())),
        "max": _finite(float(values.max())),
        "mean": _finite(float(values.mean())),
        "argmax": int(values.argmax()),
    }


def _finite(value: float) -> float | str:
    """JSON has no NaN and no infinity: those are said in words."""
    return value if np.isfinite(value) else str(value)


def _stage(stage: Stage) -> dict[str, Any]:
    said: dict[str, Any] = {"where": stage.where, "kind": stage.kind, "ms": _ms(stage.seconds)}
    if stage.kind == "wire":
        said["bytes"] = stage.payload_bytes
    if stage.emulated:
        said["emulated"] = True
    return said


def _emulated(stages: Sequence[Stage], kind: str) -> list[str]:
    return sorted({stage.where for stage in stages if stage.emulated and stage.kind == kind})


def _ms(seconds: float) -> float:
    return round(seconds * 1e3, 3)


def _iso(unix_s: float) -> str:
    return datetime.fromtimestamp(unix_s, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
