"""Messages about frames: one declaration each. The envelope around a frame is `envelope`'s matter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, Self

from msgspec import UNSET, Meta, Struct, UnsetType, field

from tiercut.codecs.encoded import EncodedTensor
from tiercut.declared import cut_sentence
from tiercut.fields import (
    Count,
    Milliseconds,
    ModelId,
    Name,
    Seconds,
    Sentence,
    ShortText,
    UnixTime,
    always,
    reason,
)
from tiercut.limits import MAX_PAYLOAD_BYTES, MAX_SECONDS, MAX_STAGES, MAX_TENSORS, MAX_TEXT
from tiercut.plan import DeliveryMode, Plan

#: Version of the wire format.
VERSION = 1

#: Plans that the frames of a stream follow at once.
MAX_LANES = 8

StageKind = Literal["prepare", "queue", "decode", "compute", "encode", "wire"]
_PayloadBytes = Annotated[int, Meta(ge=0, le=MAX_PAYLOAD_BYTES)]


class ClockStamp(Struct, frozen=True, array_like=True):
    """A time on a named monotonic clock: only readers of the same clock, or with an offset to it, may use it."""

    clock_id: Annotated[str, Meta(min_length=1, max_length=MAX_TEXT), reason("bad_clock")]
    seconds: Annotated[float, Meta(ge=-MAX_SECONDS, le=MAX_SECONDS), reason("bad_clock")]


class Stage(Struct, frozen=True, array_like=True):
    """Time that a frame spent on one thing.

    Attributes:
        where: Node id; for ``wire`` the node that received.
        kind: ``prepare`` makes a model's input of what the sensor gave, ``queue`` waits for its turn, ``decode`` makes
            tensors of bytes, ``compute`` runs the segment, ``encode`` makes bytes of tensors, ``wire`` is from the
            sender's publish to the receiver's last byte.
        seconds: Length, >= 0.
        emulated: An emulated link was in front of the wire, or the node was slowed on purpose: no measurement.
        payload_bytes: What crossed the wire; 0 for other kinds.
    """

    where: ShortText  # `envelope` checks that it is a name, once for all stages of a node
    kind: StageKind
    seconds: Seconds
    emulated: bool = False
    payload_bytes: _PayloadBytes = 0


Stages = Annotated[tuple[Annotated[Stage, reason("bad_stage")], ...], Meta(max_length=MAX_STAGES)]


class StageReport(Struct, frozen=True, kw_only=True):
    """A stage as people read it.

    Attributes:
        where: Node id; for ``wire`` the node that received.
        kind: What it was spent on.
        ms: Length.
        payload_bytes: What crossed the wire.
        emulated: An emulated link or a slowed node: no measurement.
    """

    where: Name
    kind: StageKind
    ms: Milliseconds
    payload_bytes: _PayloadBytes = field(name="bytes", default=0)
    emulated: bool = False

    @classmethod
    def of(cls, stage: Stage) -> Self:
        """The report of a stage."""
        return cls(
            where=stage.where,
            kind=stage.kind,
            ms=round(stage.seconds * 1e3, 3),
            payload_bytes=stage.payload_bytes,
            emulated=stage.emulated,
        )

    @property
    def stage(self) -> Stage:
        """The stage that it reports."""
        return Stage(self.where, self.kind, self.ms / 1e3, self.emulated, self.payload_bytes)


StageReports = Annotated[tuple[Annotated[StageReport, reason("bad_stage")], ...], Meta(max_length=MAX_STAGES)]


class Work(Struct, frozen=True, kw_only=True, tag_field="v", tag=VERSION):
    """One frame on its way, with all that a node needs to do its part.

    Attributes:
        site: Site the stream belongs to.
        stream: Stream name.
        seq: Number of the frame in its stream, from 0.
        model: Identity of the bundle: its SHA-256 in hex.
        plan: The plan this frame follows, to its end.
        delivery: What to do when it has to wait.
        cut: Cut point at which ``tensors`` are alive.
        tensors: The tensors alive there.
        captured_unix_s: Wall clock of the device at capture, for people.
        captured: The same moment on the device's monotonic clock, for durations.
        sent: When the sender published, on its monotonic clock.
        stages: What took how long so far, in order.
        deadline_s: Seconds after capture within which the result is of use; ``None`` forever.
        label: What the sensor calls the frame (a file's name), for people.
        return_to: Topic on the bus where the last hop arrived, for whoever finishes or drops the frame; ``None``:
            straight to the stream's own topics.
        emulated: The link of the last hop is emulated.
        outcomes: ``device``: its outcome goes to the device's return topic, as the device puts those of its stream in
            order; absent: to the stream's own topics.
        results_to: ``cloud``: its outcome goes to the cloud's bus, too, where that is another than the site's.
        lane: Frames of a stream wait for each other at a node where this is the same; absent: 0. Frames of plans that
            run at once have one for each plan.
    """

    site: Name
    stream: Name
    seq: Count
    model: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z"), reason("bad_model")]
    plan: Plan
    delivery: Annotated[DeliveryMode, reason("bad_delivery")]
    cut: Count
    captured_unix_s: UnixTime
    captured: ClockStamp
    sent: ClockStamp
    stages: Stages = ()
    deadline_s: Annotated[float, Meta(gt=0, le=MAX_SECONDS), reason("bad_deadline")] | None = None
    label: ShortText | None = None
    return_to: ShortText | None = None
    emulated: bool = False
    outcomes: Annotated[Literal["device"], reason("bad_return")] | UnsetType = UNSET
    results_to: Annotated[Literal["cloud"], reason("bad_return")] | UnsetType = UNSET
    lane: Annotated[int, Meta(ge=0, lt=MAX_LANES)] | UnsetType = UNSET
    tensors: Annotated[tuple[EncodedTensor, ...], Meta(max_length=MAX_TENSORS)]


class DroppedWay(Struct, frozen=True, kw_only=True):
    """The way of a frame until it was dropped.

    Attributes:
        model: Identity of its model.
        plan: The plan it followed.
        cut: Cut point it had got to.
        reports: What took how long so far, in order.
        age_ms: Milliseconds since capture.
    """

    model: ModelId
    plan: Plan
    cut: Count
    reports: StageReports = field(name="stages")
    age_ms: Milliseconds

    @classmethod
    def of(cls, *, model: str, plan: Plan, cut: int, stages: Sequence[Stage], age_s: float) -> DroppedWay:
        """The report of a dropped frame's way, when it is ``age_s`` old."""
        reports = tuple(map(StageReport.of, stages))
        return cls(model=model, plan=plan, cut=cut, reports=reports, age_ms=round(age_s * 1e3, 3))

    @property
    def stages(self) -> tuple[Stage, ...]:
        """What took how long so far, in order."""
        return tuple(each.stage for each in self.reports)

    @property
    def age_s(self) -> float:
        """Seconds since capture."""
        return self.age_ms / 1e3


class Dropped(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A frame that will have no result, and why: JSON on the stream's ``dropped`` topic.

    Attributes:
        stream: Stream name.
        seq: Number of the frame in its stream, from 0 at each start of its sensor.
        where: Node id that dropped it.
        reason: Name of the counter, ``lower_snake_case``.
        message: One sentence for a person.
        way: How far it had come, for a frame that was too late: what takes long is in no result.
    """

    stream: Name
    seq: Count
    where: Name
    reason: Name
    message: Sentence = always("")
    way: DroppedWay | None = None

    def __post_init__(self) -> None:
        cut_sentence(self, "message")
