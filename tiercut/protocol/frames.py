"""What nodes say of frames: frozen, checked in its constructor. How it becomes bytes is `wire`'s matter."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, get_args

from tiercut.codecs.encoded import EncodedTensor
from tiercut.errors import refuse
from tiercut.limits import MAX_PAYLOAD_BYTES, MAX_SECONDS, MAX_STAGES, MAX_TENSORS, MAX_TEXT, MAX_UNIX_S
from tiercut.names import check_name
from tiercut.plan import DELIVERY_MODES, DeliveryMode, Plan

StageKind = Literal["prepare", "queue", "decode", "compute", "encode", "wire"]
STAGE_KINDS: tuple[StageKind, ...] = get_args(StageKind)


@dataclass(frozen=True, slots=True)
class ClockStamp:
    """A time on a named monotonic clock: only readers of the same clock, or with an offset to it, may use it."""

    clock_id: str
    seconds: float

    def __post_init__(self) -> None:
        if not 0 < len(self.clock_id) <= MAX_TEXT or not abs(self.seconds) <= MAX_SECONDS:
            raise refuse("bad_clock", expected="a clock's id and finite seconds", came=(self.clock_id, self.seconds))


@dataclass(frozen=True, slots=True)
class Stage:
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

    where: str
    kind: StageKind
    seconds: float
    emulated: bool = False
    payload_bytes: int = 0

    def __post_init__(self) -> None:
        check_name(self.where, field_name="stage.where")
        if self.kind not in STAGE_KINDS:
            raise refuse("bad_stage", expected=f"a kind of {STAGE_KINDS}", came=self.kind)
        if not 0 <= self.seconds <= MAX_SECONDS:
            raise refuse("bad_stage", expected="seconds >= 0", came=self.seconds)
        if not 0 <= self.payload_bytes <= MAX_PAYLOAD_BYTES:
            expected = f"payload_bytes of 0 to {MAX_PAYLOAD_BYTES}"
            raise refuse("bad_stage", expected=expected, came=self.payload_bytes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
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
        deadline_s: Seconds after capture within which the result is of use; ``None`` for ever.
        label: What the sensor calls the frame (a file's name), for people.
        return_to: Topic on the bus where the last hop arrived, for whoever finishes or drops the frame; ``None``:
            straight to the stream's own topics.
        emulated: The link of the last hop is emulated.
    """

    site: str
    stream: str
    seq: int
    model: str
    plan: Plan
    delivery: DeliveryMode
    cut: int
    tensors: tuple[EncodedTensor, ...]
    captured_unix_s: float
    captured: ClockStamp
    sent: ClockStamp
    stages: tuple[Stage, ...] = ()
    deadline_s: float | None = None
    label: str | None = None
    return_to: str | None = None
    emulated: bool = False

    def __post_init__(self) -> None:
        check_name(self.site, field_name="site")
        check_name(self.stream, field_name="stream")
        if self.seq < 0 or self.cut < 0:
            raise refuse("bad_number", expected="seq and cut >= 0", came=(self.seq, self.cut))
        if not re.fullmatch(r"[0-9a-f]{64}", self.model):
            raise refuse("bad_model", expected="64 hex digits", came=self.model)
        if self.delivery not in DELIVERY_MODES:
            raise refuse("bad_delivery", expected=f"one of {DELIVERY_MODES}", came=self.delivery)
        if len(self.tensors) > MAX_TENSORS or len(self.stages) > MAX_STAGES:
            raise refuse(
                "too_many",
                expected=f"at most {MAX_TENSORS} tensors and {MAX_STAGES} stages",
                came=(len(self.tensors), len(self.stages)),
            )
        if not 0 <= self.captured_unix_s <= MAX_UNIX_S:
            raise refuse("bad_clock", expected="captured_unix_s from 1970 to 9999", came=self.captured_unix_s)
        if self.deadline_s is not None and not 0 < self.deadline_s <= MAX_SECONDS:
            raise refuse("bad_deadline", expected="deadline_s > 0", came=self.deadline_s)
        for text in (self.label, self.return_to):
            if text is not None and len(text) > MAX_TEXT:
                raise refuse("bad_text", expected=f"at most {MAX_TEXT} characters", came=text)


@dataclass(frozen=True, slots=True, kw_only=True)
class DroppedWay:
    """The way of a frame until it was dropped.

    Attributes:
        model: Identity of its model.
        plan: The plan it followed.
        cut: Cut point it had got to.
        stages: What took how long so far, in order.
        age_s: Seconds since capture.
    """

    model: str
    plan: Plan
    cut: int
    stages: tuple[Stage, ...]
    age_s: float

    def __post_init__(self) -> None:
        if self.cut < 0 or not 0 <= self.age_s <= MAX_SECONDS or len(self.stages) > MAX_STAGES:
            expected = f"a cut and an age >= 0, and at most {MAX_STAGES} stages"
            raise refuse("bad_outcome", expected=expected, came=(self.cut, self.age_s, len(self.stages)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropped:
    """A frame that will have no result, and why: JSON on the stream's ``dropped`` topic.

    Attributes:
        where: Node id that dropped it.
        reason: Name of the counter, ``lower_snake_case``.
        message: One sentence for a person.
        way: How far it had come, for a frame that was too late: what takes long is in no result.
    """

    stream: str
    seq: int
    where: str
    reason: str
    message: str = ""
    way: DroppedWay | None = None
