"""What a model made of a frame: of its outputs, into a result's JSON, and out of it again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tiercut.declared import load_json, read
from tiercut.errors import BadMessage, refuse
from tiercut.model.bundle import Bundle
from tiercut.model.variants import Variant
from tiercut.protocol.frames import Stage, Work
from tiercut.protocol.results import MAX_OUTCOME_BYTES, Journey, Result, encode_result, journey_of, result_of
from tiercut.results.kind import Outputs, ResultKind, Said
from tiercut.results.table import KINDS, kind_in, kind_of


@dataclass(frozen=True, slots=True)
class Reading:
    """What a model has made of a frame: the part of a result that also holds for a frame just like it.

    Attributes:
        kind: What kind of result it is.
        said: That kind's fields of the result.
        confidence: How sure the model is, 0..1; ``None`` where unknown.
        exit: The variant at whose end the frame has left.
        seq: The frame's number.
    """

    kind: ResultKind[Any]
    said: Said
    confidence: float | None
    exit: str
    seq: int

    def agrees_with(self, other: Reading) -> bool:
        """Whether it is the same answer."""
        return self.kind is other.kind and self.kind.agree(self.said, other.said)

    @property
    def class_index(self) -> int | None:
        """What can be compared with a data set's label, if anything."""
        return self.kind.class_of(self.said)

    @property
    def headline(self) -> tuple[str, str]:
        """What a person reads first, and a figure to it or nothing."""
        return self.kind.headline(self.said)


def read_outputs(
    seq: int, outputs: Outputs, bundle: Bundle, variant: Variant, kind: ResultKind[Any] | None = None
) -> Reading:
    """What outputs say.

    Args:
        seq: The frame's number.
        outputs: The variant's outputs by name.
        bundle: The model.
        variant: The way through it at whose end the frame has left.
        kind: What its results are, where that is known (`kind_of`).
    """
    kind = kind or kind_of(bundle, variant)
    said, confidence = kind.read(outputs, bundle, variant)
    return Reading(kind, said, confidence, variant.name, seq)


def write_result(
    work: Work,
    reading: Reading,
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
        reading: What the model made of it, or of a frame just like it.
        model_name: What people call the model.
        stages: What took how long, in order.
        finished_by: Node id.
        latency_s: Capture to now, ``None`` while the offset to the device's clock is unknown.
        fallback: Why a node ran more than its plan says.
        cached: ``reading`` is of another frame, that of number ``reading.seq``.
    """
    result = result_of(
        work,
        model_name,
        left_at=reading.exit,
        confidence=reading.confidence,
        stages=stages,
        finished_by=finished_by,
        latency_s=latency_s,
        fallback=fallback,
        cached_from=reading.seq if cached else None,
    )
    return encode_result(result, reading.said)


def read_result(payload: bytes) -> tuple[Journey, Reading]:
    """All of a result: the way of its frame, and what the model made of it.

    Raises:
        BadEnvelope: it is no result, of a kind that this node does not know, or a field is not within its limits.
    """
    fields = load_json(payload, limit=MAX_OUTCOME_BYTES)
    result = read(Result, fields)
    kind = kind_in(fields)
    if kind is None:
        expected = " or ".join(each.fields[0] for each in KINDS.values())
        raise refuse("missing_field", expected=expected, came=None)
    return journey_of(result), Reading(kind, read(kind.said, fields), result.confidence, result.exit, result.seq)


def headline_in(fields: object) -> tuple[str, str]:
    """What a person reads first of a parsed result, and a figure to it or nothing; a dash where nobody can tell."""
    kind = kind_in(fields)
    try:
        return ("-", "") if kind is None else kind.headline(read(kind.said, fields))
    except BadMessage:  # such as one of a newer version
        return "-", ""


def class_in(fields: object) -> int | None:
    """The class that a parsed result names, if any.

    Raises:
        BadEnvelope: a field of its kind is not as it should be.
    """
    kind = kind_in(fields)
    return None if kind is None else kind.class_of(read(kind.said, fields))
