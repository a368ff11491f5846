"""Messages between nodes and the hub besides frames, in JSON: one declaration each."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from msgspec import UNSET, Meta, Struct, UnsetType, field

from tiercut.declared import cut_sentence
from tiercut.errors import refuse
from tiercut.fields import Count, Finite, ModelId, Name, Sentence, ShortText, UnixTime, always, reason
from tiercut.limits import MAX_PAYLOAD_BYTES, MAX_SECONDS
from tiercut.plan import FULL, TIERS, Plan, Tier
from tiercut.protocol.frames import MAX_LANES
from tiercut.protocol.streams import MAX_FPS

#: No transfer or segment takes longer than this: it is given up before.
MAX_TRANSFER_S = 3600.0
#: A probe: at most this many messages, and bytes in each (with the rest of its JSON it stays below 64 KiB).
MAX_PROBES, MAX_PROBE_BYTES = 4, 60_000
#: Power of one node: a small power station.
MAX_WATTS = 1e6
#: Memory of one node.
MAX_MEMORY_MB = 1e9
#: Models, figures, transfers or running segments in one message.
MAX_ENTRIES = 1024
#: Plans that a stream's frames follow at the same time, besides the first.
MAX_OTHER_PLANS = MAX_LANES - 1
#: The lowest rate that there may be room for, as the lowest of a stream's settings.
MIN_FPS = 1e-6

_TransferSeconds = Annotated[float, Meta(ge=0, le=MAX_TRANSFER_S)]
_ClockSeconds = Annotated[float, Meta(ge=-MAX_SECONDS, le=MAX_SECONDS), reason("bad_clock")]
_KnownTier = Annotated[Tier, reason("bad_name")]


class OtherPlan(Struct, frozen=True, kw_only=True):
    """A plan that a part of a stream's frames follows at the same time.

    Attributes:
        plan: It has the epoch of the stream's first plan.
        share: Part of the stream's frames that follow it.
    """

    plan: Plan
    share: Annotated[float, Meta(gt=0, lt=1)]


class StreamPlan(Struct, frozen=True, kw_only=True):
    """What the retained plan topic of a stream says: the plan and what the stream is.

    Attributes:
        stream: Stream name.
        model: Identity of the bundle.
        model_name: Name of the bundle, for people.
        plan: The plan; of several, that of most frames.
        others: Plans that the other frames follow at the same time; what their shares leave follows ``plan``.
        frames_per_second: How many frames the site has room for; the sensor's node lets no more set out.
        reason: Why this plan, for people.
    """

    stream: Name
    model: ModelId
    model_name: ShortText
    plan: Plan
    others: Annotated[tuple[OtherPlan, ...], Meta(max_length=MAX_OTHER_PLANS)] | UnsetType = UNSET
    frames_per_second: Annotated[float, Meta(ge=MIN_FPS, le=MAX_FPS)] | UnsetType = UNSET
    reason: Sentence = "given by hand"

    def __post_init__(self) -> None:
        cut_sentence(self, "reason")
        others = () if self.others is UNSET else self.others
        if sum(each.share for each in others) >= 1 or any(each.plan.epoch != self.plan.epoch for each in others):
            shares = [each.share for each in others]
            raise refuse("bad_plan", expected="shares of less than 1 in all, and one epoch", came=shares)

    @property
    def mix(self) -> tuple[tuple[Plan, float], ...]:
        """All plans with their shares of the frames, that of most frames first."""
        if self.others is UNSET or not self.others:
            return ((self.plan, 1.0),)
        others = tuple((each.plan, each.share) for each in self.others)
        return ((self.plan, 1 - sum(share for _, share in others)), *others)


NodeState = Literal["online", "offline"]
StatusTier = Literal["device", "edge", "cloud", "hub"]


class NodeStatus(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Presence, capacity and load of a node: retained JSON on its status topic.

    Attributes:
        node: Node id.
        tier: Its tier, or ``hub``.
        state: ``online``; ``offline`` comes from the node's goodbye or its will.
        version: Version of tiercut it runs.
        clock_id: Its monotonic clock.
        models: Identities of the bundles it has, by name.
        load: Figures of now: ``waiting`` frames, ``busy`` fraction of the last period, counters.
        emulated_link: A sentence about an emulated link in front of it.
        reaches_cloud: It can send to cloud nodes without an edge between.
        power_watts: Drawn while computing; 0 where unknown.
        instance: Drawn again at each start of the program: two of them at once are two nodes with one name.
        sent_unix_s: Wall clock of the node; 0 where not given (a will has none).
        gateway: A device-tier node inside an edge: it can read any sensor that publishes on the bus.
        relays: It puts outcomes of the site's devices on the cloud's bus, which is another than the site's.
        mixes: Its streams may follow several plans at once, at the rate that the site has room for.
        memory_mb: Memory that models may take there; absent without a limit.
        memory_used_mb: By how much the program has grown since its start, where there is a limit.
    """

    node: Name
    tier: Annotated[StatusTier, reason("bad_status")]
    state: Annotated[NodeState, reason("bad_status")]
    version: ShortText
    clock_id: ShortText = always("")
    models: Annotated[dict[str, ModelId], Meta(max_length=MAX_ENTRIES)] = always({})
    load: Annotated[dict[str, Finite], Meta(max_length=MAX_ENTRIES)] = always({})
    emulated_link: Sentence | None = always(None)
    reaches_cloud: bool = always(True)
    power_watts: Annotated[float, Meta(ge=0, le=MAX_WATTS), reason("bad_status")] = always(0.0)
    instance: ShortText = always("")
    sent_unix_s: UnixTime = always(0.0)
    gateway: bool = False
    relays: bool = False
    mixes: bool = False
    memory_mb: Annotated[float, Meta(gt=0, le=MAX_MEMORY_MB), reason("bad_status")] | UnsetType = UNSET
    memory_used_mb: Annotated[float, Meta(ge=0, le=MAX_MEMORY_MB), reason("bad_status")] | UnsetType = UNSET


class ClockProbe(Struct, frozen=True, kw_only=True):
    """A question for a node's clock, or the answer to one (times on the answering node's monotonic clock).

    Attributes:
        clock_id: The clock of the node that asks, or in an answer of the node that answers.
        asked_s: The question's number, drawn at random in place of a time: its answer repeats it exactly.
        heard_s: When it was heard, on the answerer's clock; ``None`` in a question.
        answered_s: When the answer was sent, on the answerer's clock; ``None`` in a question.
    """

    clock_id: ShortText
    asked_s: _ClockSeconds
    heard_s: _ClockSeconds | None = None
    answered_s: _ClockSeconds | None = None


class EchoProbe(ClockProbe, frozen=True, kw_only=True):
    """A question for a node's clock that measures the link to it.

    Attributes:
        padding: Makes the message as large as it is to be.
    """

    padding: str


class Transfer(Struct, frozen=True, kw_only=True):
    """A transfer between two nodes that no result reports: a probe that has arrived, or a late frame.

    Attributes:
        tier: Tier of the receiver.
        node: Its node id.
        payload_bytes: Size.
        seconds: How long it took, or has been in flight.
        arrived: It has arrived; if not, it is still in flight.
    """

    tier: _KnownTier
    node: Name
    payload_bytes: Annotated[int, Meta(ge=0, le=MAX_PAYLOAD_BYTES)] = field(name="bytes")
    seconds: _TransferSeconds
    arrived: bool = False


class Running(Struct, frozen=True, kw_only=True):
    """A segment that a node has been running for long.

    Attributes:
        model: Identity of the bundle.
        start: First cut of the segment.
        stop: Its last cut.
        seconds: How long so far.
        variant: Whose cuts these are.
    """

    model: ModelId
    start: Count
    stop: Count
    seconds: _TransferSeconds
    variant: ShortText = FULL

    def __post_init__(self) -> None:
        _check_segment(self.start, self.stop)


def _check_segment(start: int, stop: int) -> None:
    if not 0 <= start <= stop:
        raise refuse("bad_number", expected="0 <= start <= stop", came=(start, stop))


class Progress(Struct, frozen=True, kw_only=True):
    """A node's report between results: probes that have arrived, and what takes long.

    Attributes:
        transfers: To other nodes.
        running: On its threads.
    """

    transfers: Annotated[tuple[Transfer, ...], Meta(max_length=MAX_ENTRIES)] = ()
    running: Annotated[tuple[Running, ...], Meta(max_length=MAX_ENTRIES)] = ()


class Probe(Struct, frozen=True, kw_only=True):
    """Asks a node to send small messages to another, and to say how long they took.

    Attributes:
        tier: Tier of the receiver.
        node: Its node id.
        sizes: Bytes of each message, sent one after the other.
    """

    tier: _KnownTier
    node: Name
    sizes: Annotated[
        tuple[Annotated[int, Meta(ge=0, le=MAX_PROBE_BYTES)], ...], Meta(min_length=1, max_length=MAX_PROBES)
    ]


ControlMode = Literal["auto", "freeze", "plan"]
CONTROL_MODES: tuple[ControlMode, ...] = get_args(ControlMode)


class StreamControl(Struct, frozen=True, kw_only=True):
    """A person's command for a stream's plan: retained, so it outlives a restart of the hub.

    Attributes:
        mode: ``auto`` lets the coordinator choose, ``freeze`` keeps what there is, ``plan`` takes ``plan``.
        plan: The plan by hand; its epoch is not used.
        id: Drawn by the sender, echoed by the explanation (``control_id``); empty where nobody waits for that.
    """

    mode: Annotated[ControlMode, reason("bad_control")]
    plan: Plan | None = None
    id: ShortText = ""

    def __post_init__(self) -> None:
        if (self.plan is None) != (self.mode != "plan"):
            expected = f"a mode of {CONTROL_MODES}, and a plan with 'plan' only"
            raise refuse("bad_control", expected=expected, came=(self.mode, self.plan is not None))


class PrepareSegment(Struct, frozen=True, kw_only=True):
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

    site: Name
    stream: Name
    epoch: Count
    model: ModelId
    start: Count
    stop: Count
    variant: ShortText = FULL
    leaves_early: bool = False
    codec: ShortText = ""

    def __post_init__(self) -> None:
        _check_segment(self.start, self.stop)


class Ready(Struct, frozen=True, kw_only=True):
    """A node's answer: the segment is loaded, or will not be, and why.

    Attributes:
        stream: Stream name.
        epoch: Epoch of the plan to come.
        node: Node id.
        ok: It is loaded.
        message: Why not.
        tier: Tier of the node; empty where not given.
    """

    stream: Name
    epoch: Count
    node: Name
    ok: bool = False
    message: Sentence = ""
    tier: Annotated[ShortText, Meta(extra_json_schema={"enum": [*TIERS, ""]})] = ""

    def __post_init__(self) -> None:
        cut_sentence(self, "message")
