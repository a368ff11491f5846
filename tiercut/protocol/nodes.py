"""What nodes and the hub say to each other besides frames: frozen, checked in its constructor, JSON by `jsonwire`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

from tiercut.errors import refuse
from tiercut.limits import MAX_PAYLOAD_BYTES, MAX_SECONDS, MAX_TEXT, MAX_UNIX_S
from tiercut.names import check_name
from tiercut.plan import FULL, TIERS, Plan, Tier

#: Nothing is sent or run for so long without being given up.
MAX_TRANSFER_S = 3600.0
#: A probe: so many messages of at most so many bytes (with the rest of its JSON it stays below 64 KiB).
MAX_PROBES, MAX_PROBE_BYTES = 4, 60_000
#: Power of one node: a small power station.
MAX_WATTS = 1e6


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
        gateway: A device-tier node inside an edge: it can read any sensor that publishes on the bus.
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
    gateway: bool = False

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
    """A question for a node's clock, or the answer to one (times on the answering node's monotonic clock).

    Attributes:
        clock_id: The clock of the node that asks, or in an answer of the node that answers.
        asked_s: The question's number, drawn at random in place of a time: its answer repeats it exactly.
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
        variant: Whose cuts these are.
    """

    model: str
    start: int
    stop: int
    seconds: float
    variant: str = FULL

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
        variant: Whose cuts these are.
        leaves_early: Frames may leave at exits on the way: their heads are needed too.
        codec: Codec of what it sends, for a node that has conditions; empty where nothing is sent.
    """

    site: str
    stream: str
    epoch: int
    model: str
    start: int
    stop: int
    variant: str = FULL
    leaves_early: bool = False
    codec: str = ""

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
