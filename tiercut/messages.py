"""Every message that nodes exchange: frozen, checked in its constructor. How they become bytes is `wire`'s matter."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal, get_args

from tiercut.errors import BadEnvelope
from tiercut.plan import DELIVERY_MODES, TIERS, DeliveryMode, Plan, Tier

#: Names of sites, nodes and streams: one level of a topic, no wildcard, readable in a log.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")

StageKind = Literal["prepare", "queue", "decode", "compute", "encode", "wire"]
STAGE_KINDS: tuple[StageKind, ...] = get_args(StageKind)

#: What may at most stand in one envelope; a reader refuses more before it makes room for it.
MAX_TENSORS = 256
MAX_DIMENSIONS = 8
MAX_STAGES = 64
MAX_TEXT = 256
#: Stages that a frame may arrive with; each node adds a few.
MAX_STAGES_ARRIVING = MAX_STAGES - 16
#: Bounds of times, so that no arithmetic and no calendar goes over them: a century, and the year 9999.
MAX_SECONDS = 4e9
MAX_UNIX_S = 253_402_300_799.0
MAX_TENSOR_BYTES = 256 * 1024 * 1024
MAX_PAYLOAD_BYTES = 2**40
#: Nothing is sent or run for so long without being given up.
MAX_TRANSFER_S = 3600.0
#: A probe: so many messages of at most so many bytes (with the rest of its JSON it stays below 64 KiB).
MAX_PROBES, MAX_PROBE_BYTES = 4, 60_000
#: Power of one node: a small power station.
MAX_WATTS = 1e6


def refuse(reason: str, *, expected: str, came: object, what: str = "a message is not valid") -> BadEnvelope:
    """The error for a message that does not fit; ``came`` is quoted shortened, as it is the sender's text."""
    shown = came if isinstance(came, (int, float)) else repr(came)[:80]
    return BadEnvelope(what, expected=expected, came=str(shown), fix="correct the sender", reason=reason)


@lru_cache(maxsize=4096)
def _is_name(value: str) -> bool:
    return NAME.fullmatch(value) is not None


def check_name(value: str, *, field_name: str) -> None:
    """Refuse a name that could not be one level of a topic."""
    if not _is_name(value):
        raise refuse("bad_name", expected=f"{field_name} as {NAME.pattern}", came=value)


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


@dataclass(frozen=True, slots=True)
class EncodedTensor:
    """One tensor on its way.

    Attributes:
        name: Name in the model's graph.
        dtype: numpy name of the decoded element type (``"float32"``).
        shape: Shape of the decoded tensor.
        codec: What ``data`` is in: a name from `codecs.CODECS`. May differ from the plan's codec where that does not
            take such a tensor.
        data: The bytes.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    codec: str
    data: bytes

    def __post_init__(self) -> None:
        if not 0 < len(self.name) <= MAX_TEXT:
            raise refuse("bad_tensor_name", expected=f"1 to {MAX_TEXT} characters", came=self.name)
        if len(self.shape) > MAX_DIMENSIONS or any(n < 0 for n in self.shape):
            raise refuse("bad_shape", expected=f"at most {MAX_DIMENSIONS} dimensions >= 0", came=self.shape)


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
class Dropped:
    """A frame that will have no result, and why: JSON on the stream's ``dropped`` topic.

    Attributes:
        where: Node id that dropped it.
        reason: Name of the counter, ``lower_snake_case``.
        message: One sentence for a person.
    """

    stream: str
    seq: int
    where: str
    reason: str
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamPlan:
    """What the retained plan topic of a stream says: the plan and what the stream is.

    Attributes:
        stream: Stream name.
        model: Identity of the bundle.
        model_name: Name of the bundle, for people.
        plan: The plan.
        reason: Why this plan, for people.
    """

    stream: str
    model: str
    model_name: str
    plan: Plan
    reason: str = field(default="given by hand")


NodeState = Literal["online", "offline"]
NODE_STATES: tuple[NodeState, ...] = get_args(NodeState)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeStatus:
    """Presence, capacity and load of a node: retained JSON on its status topic.

    Attributes:
        node: Node id.
        tier: Its tier, or ``hub``.
        state: ``online``; ``offline`` is said by the node's goodbye or by its will.
        version: Version of tiercut it runs.
        clock_id: Its monotonic clock.
        models: Identities of the bundles it has, by name.
        load: Figures of now: ``waiting`` frames, ``busy`` fraction of the last period, counters.
        emulated_link: A sentence about an emulated link in front of it.
        reaches_cloud: It can send to cloud nodes without an edge between.
        power_watts: Drawn while computing; 0 where it is not known.
        instance: Drawn anew at each start of the program: two of them at once are two nodes with one name.
        sent_unix_s: Wall clock of the node; 0 where it is not said (a will is said by nobody).
    """

    node: str
    tier: str
    state: NodeState
    version: str
    clock_id: str = ""
    models: dict[str, str] = field(default_factory=dict)
    load: dict[str, float] = field(default_factory=dict)
    emulated_link: str | None = None
    reaches_cloud: bool = True
    power_watts: float = 0.0
    instance: str = ""
    sent_unix_s: float = 0.0

    def __post_init__(self) -> None:
        check_name(self.node, field_name="node")
        if not 0 <= self.power_watts <= MAX_WATTS:
            raise refuse("bad_status", expected=f"power_watts of 0 to {MAX_WATTS:g}", came=self.power_watts)
        if not 0 <= self.sent_unix_s <= MAX_UNIX_S:
            raise refuse("bad_clock", expected="sent_unix_s from 1970 to 9999", came=self.sent_unix_s)
        if self.tier not in (*TIERS, "hub") or self.state not in NODE_STATES:
            raise refuse("bad_status", expected="a known tier and state", came=(self.tier, self.state))


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockProbe:
    """A question for a node's clock, or the answer to one (all times on the named node's monotonic clock).

    Attributes:
        clock_id: The clock of the node that asks, or in an answer of the node that answers.
        asked_s: When the question was sent, on the asker's clock.
        heard_s: When it was heard, on the answerer's clock; ``None`` in a question.
        answered_s: When the answer was sent, on the answerer's clock; ``None`` in a question.
    """

    clock_id: str
    asked_s: float
    heard_s: float | None = None
    answered_s: float | None = None

    def __post_init__(self) -> None:
        times = [each for each in (self.asked_s, self.heard_s, self.answered_s) if each is not None]
        if not all(abs(each) <= MAX_SECONDS for each in times):
            raise refuse("bad_clock", expected=f"times of at most {MAX_SECONDS:g} s", came=times)


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """Bytes between two nodes besides frames' own reports: a probe that has crossed, or a frame that is late.

    Attributes:
        tier: Tier of the receiver.
        node: Its node id.
        payload_bytes: Size.
        seconds: How long it took, or has been under way.
        arrived: It has crossed; if not, it is still under way.
    """

    tier: Tier
    node: str
    payload_bytes: int
    seconds: float
    arrived: bool

    def __post_init__(self) -> None:
        check_name(self.node, field_name="node")
        if not 0 <= self.seconds <= MAX_TRANSFER_S or not 0 <= self.payload_bytes <= MAX_PAYLOAD_BYTES:
            expected = f"0 to {MAX_TRANSFER_S:g} seconds and bytes >= 0"
            raise refuse("bad_number", expected=expected, came=(self.seconds, self.payload_bytes))


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A segment that a node has been running for long.

    Attributes:
        model: Identity of the bundle.
        start: First cut of the segment.
        stop: Its last cut.
        seconds: For how long so far.
    """

    model: str
    start: int
    stop: int
    seconds: float

    def __post_init__(self) -> None:
        if not 0 <= self.start <= self.stop or not 0 <= self.seconds <= MAX_TRANSFER_S:
            expected = f"0 <= start <= stop and 0 to {MAX_TRANSFER_S:g} seconds"
            raise refuse("bad_number", expected=expected, came=(self.start, self.stop, self.seconds))


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What a node says between frames' own reports: probes that have crossed, and what takes long.

    Attributes:
        transfers: To other nodes.
        running: On its threads.
    """

    transfers: tuple[Transfer, ...] = ()
    running: tuple[Running, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """Asks a node to send small messages to another, and to say how long they took.

    Attributes:
        tier: Tier of the receiver.
        node: Its node id.
        sizes: Bytes of each message, sent one after the other.
    """

    tier: Tier
    node: str
    sizes: tuple[int, ...]

    def __post_init__(self) -> None:
        check_name(self.node, field_name="node")
        if not 0 < len(self.sizes) <= MAX_PROBES or not all(0 <= size <= MAX_PROBE_BYTES for size in self.sizes):
            expected = f"1 to {MAX_PROBES} sizes of at most {MAX_PROBE_BYTES} bytes"
            raise refuse("bad_number", expected=expected, came=self.sizes)


ControlMode = Literal["auto", "freeze", "plan"]
CONTROL_MODES: tuple[ControlMode, ...] = get_args(ControlMode)


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamControl:
    """What a person wants of a stream's plan: retained, so it outlives a restart of the hub.

    Attributes:
        mode: ``auto`` lets the coordinator choose, ``freeze`` keeps what there is, ``plan`` takes ``plan``.
        plan: The plan by hand; its epoch is not used.
        id: Drawn by who says it, echoed by the explanation (``control_id``); empty where nobody waits for that.
    """

    mode: ControlMode
    plan: Plan | None = None
    id: str = ""

    def __post_init__(self) -> None:
        if len(self.id) > MAX_TEXT:
            raise refuse("bad_text", expected=f"an id of at most {MAX_TEXT} characters", came=self.id)
        if self.mode not in CONTROL_MODES or (self.plan is None) != (self.mode != "plan"):
            expected = f"a mode of {CONTROL_MODES}, and a plan with 'plan' only"
            raise refuse("bad_control", expected=expected, came=(self.mode, self.plan is not None))


@dataclass(frozen=True, slots=True, kw_only=True)
class PrepareSegment:
    """Asks a node to load the segment that a plan to come will need.

    Attributes:
        site: Site of the stream.
        stream: Stream name.
        epoch: Epoch of the plan to come.
        model: Identity of the bundle.
        start: First cut of the segment.
        stop: Its last cut.
    """

    site: str
    stream: str
    epoch: int
    model: str
    start: int
    stop: int

    def __post_init__(self) -> None:
        check_name(self.site, field_name="site")
        check_name(self.stream, field_name="stream")
        if self.epoch < 0 or not 0 <= self.start <= self.stop:
            raise refuse("bad_number", expected="0 <= start <= stop", came=(self.epoch, self.start, self.stop))


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """A node's answer: the segment is loaded, or will not be, and why.

    Attributes:
        stream: Stream name.
        epoch: Epoch of the plan to come.
        node: Node id.
        ok: It is loaded.
        message: Why not.
        tier: Tier of the node; empty where it is not said.
    """

    stream: str
    epoch: int
    node: str
    ok: bool
    message: str = ""
    tier: str = ""

    def __post_init__(self) -> None:
        check_name(self.stream, field_name="stream")
        check_name(self.node, field_name="node")
