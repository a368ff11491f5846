"""Messages about streams besides plans: who reads which sensor, and how that goes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from tiercut.declared import decode_json, encode_json, fit_sentence, iso_time, unix_time
from tiercut.errors import SettingsError
from tiercut.fields import Count, IsoTime, ModelId, Name, Sentence, ShortText, reason
from tiercut.limits import MAX_INTEGER, MAX_TEXT
from tiercut.names import NAME
from tiercut.plan import Plan
from tiercut.protocol.frames import MAX_LANES
from tiercut.protocol.stream_settings import StreamSettings
from tiercut.settings import from_table, to_table

StreamState = Literal["running", "waiting", "refused", "failed", "ended"]
STREAM_STATES: tuple[StreamState, ...] = get_args(StreamState)
SourceState = Literal["running", "silent", "waiting", "failed", "ended"]

#: Counters and reasons that one report may have.
MAX_ENTRIES = 64
#: Streams that one node may be asked to read, and what their settings may take together.
MAX_STREAMS = 256
MAX_ASSIGNED_BYTES = 6 * 1024 * 1024
MAX_SETTINGS_BYTES = 16 * 1024
#: Frames per second that a sensor may be asked for: the samples of a fast signal, one by one.
MAX_FPS = 1e9

_Frames = Annotated[Mapping[str, Count], Meta(max_length=MAX_ENTRIES)]


class Trouble(Struct, frozen=True):
    """Why frames of a stream were dropped before they set out.

    Attributes:
        reason: Name of the counter.
        message: The last one's message: expected, came, what to do.
        count: How many, since the sensor was opened.
        last_at: When it last happened.
    """

    reason: Name
    message: Sentence
    count: Count
    last_at: IsoTime

    def __post_init__(self) -> None:
        fit_sentence(self, "message")
        unix_time(self.last_at)

    @property
    def last_unix_s(self) -> float:
        """When it last happened."""
        return unix_time(self.last_at)


_Troubles = Annotated[tuple[Trouble, ...], Meta(max_length=MAX_ENTRIES)]


class PlanReport(Struct, frozen=True, kw_only=True):
    """How one of the plans does that a stream's frames follow at once, from the node that reads the sensor.

    Attributes:
        plan: The plan.
        share: Part of the frames that are to follow it.
        frames: How many have, since these plans were taken up; without those sent again.
        window: How many of them may be in flight now, on average.
        works: Its nodes are there, and outcomes come back; else its share goes to the others.
    """

    plan: Plan
    share: Annotated[float, Meta(ge=0, le=1)]
    frames: Count
    window: Annotated[float, Meta(ge=0, le=MAX_INTEGER)]
    works: bool


class SourceReport(Struct, frozen=True, kw_only=True):
    """State of a stream's sensor, from the node that reads it.

    Attributes:
        stream: Stream name.
        node: Node id of the device or gateway.
        state: ``waiting``: for the model; ``silent``: the sensor is open and has given nothing yet.
        model: Identity of the model that its frames are for; empty where it is not open.
        message: Why it waits or has failed.
        frames: Counters: ``captured``, ``done``, ``dropped.<reason>``.
        trouble: Reasons of drops with what was wrong.
        window: How many frames may be in flight now, on average; left out where the sensor is not open.
        plans: How each plan does, where several run at once.
        frames_per_second: What its settings ask for; left out where that is as many as are taken.
    """

    stream: Name
    node: Name
    state: Annotated[SourceState, reason("bad_state")]
    model: ShortText = ""
    message: Sentence = ""
    frames: _Frames = msgspec.field(default_factory=dict)
    trouble: _Troubles = ()
    window: Annotated[float, Meta(ge=0, le=MAX_INTEGER)] | UnsetType = UNSET
    plans: Annotated[tuple[PlanReport, ...], Meta(max_length=MAX_LANES)] | UnsetType = UNSET
    frames_per_second: Annotated[float, Meta(gt=0, le=MAX_FPS), reason("bad_number")] | UnsetType = UNSET

    def __post_init__(self) -> None:
        fit_sentence(self, "message")
        if len(self.trouble) > MAX_ENTRIES:
            msgspec.structs.force_setattr(self, "trouble", self.trouble[:MAX_ENTRIES])


class StreamStatus(Struct, frozen=True, kw_only=True):
    """State of a stream, from the hub: retained, for people and for ``tiercut stream``.

    Attributes:
        stream: Stream name.
        state: ``running``; ``waiting`` for a node, a model or a first frame; ``refused``: its settings do not fit;
            ``failed``: its sensor; ``ended``: the sensor came to its end.
        message: Why it does not run, what was expected, what to do.
        model: Name of its model.
        sensor: Kind of its sensor; empty where the device's own settings say.
        device: Node that reads the sensor; null while there is none.
        gateway: That node is an edge which reads it from the bus.
        frames: Counters of the node that reads the sensor.
        trouble: Reasons of drops with what was wrong.
        since: In this state since then.
        settings_id: Which retained settings it speaks of, by `settings_id`; empty where none are, left out by hubs that
            do not say.
    """

    stream: Name
    state: Annotated[StreamState, reason("bad_state")]
    message: Sentence = ""
    model: ShortText = ""
    sensor: ShortText = ""
    device: ShortText | None = None
    gateway: bool = False
    frames: _Frames = msgspec.field(default_factory=dict)
    trouble: _Troubles = ()
    since: IsoTime = iso_time(0)
    settings_id: ShortText | UnsetType = UNSET

    def __post_init__(self) -> None:
        fit_sentence(self, "message")
        unix_time(self.since)
        if len(self.trouble) > MAX_ENTRIES:
            msgspec.structs.force_setattr(self, "trouble", self.trouble[:MAX_ENTRIES])

    @property
    def since_unix_s(self) -> float:
        """In this state since then."""
        return unix_time(self.since)


def settings_id(payload: bytes) -> str:
    """Identity of a stream's settings as they are retained; empty for none."""
    return hashlib.sha256(payload).hexdigest()[:16] if payload else ""


@dataclass(frozen=True, slots=True)
class Assignment:
    """A stream whose sensor a node is to read.

    Attributes:
        settings: The stream's settings.
        model: Identity of its model.
    """

    settings: StreamSettings
    model: str


class AssignedStream(Struct, frozen=True, kw_only=True):
    """One of the streams whose sensors a node is to read.

    Attributes:
        settings: As in the stream's TOML file, as far as they differ from the defaults.
        model: Identity of its model.
    """

    settings: Annotated[
        dict[str, Any],
        Meta(max_length=MAX_ENTRIES, extra_json_schema={"$ref": "#/components/schemas/StreamSettings"}),
    ] = msgspec.field(default_factory=dict)
    model: ModelId


class Assigned(Struct, frozen=True):
    """The streams whose sensors a node is to read.

    Attributes:
        streams: All of them.
    """

    streams: Annotated[tuple[AssignedStream, ...], Meta(max_length=MAX_STREAMS)]


def encode_assigned(assigned: tuple[Assignment, ...]) -> bytes:
    """The JSON of a node's ``streams`` topic."""
    return encode_json(
        Assigned(tuple(AssignedStream(settings=to_table(each.settings), model=each.model) for each in assigned))
    )


def decode_assigned(data: bytes) -> tuple[tuple[Assignment, ...], dict[str, str]]:
    """The assignments in such a JSON; an empty payload is none.

    Returns:
        Those that can be read; and for each other stream, by name, why not: one of another version stops no others.

    Raises:
        BadEnvelope: it is no such JSON.
    """
    good, bad = [], {}
    for each in decode_json(Assigned, data, limit=MAX_ASSIGNED_BYTES).streams if data else ():
        try:
            settings = from_table(StreamSettings, each.settings, where="an assigned stream")
            good.append(Assignment(settings, each.model))
        except SettingsError as error:
            if isinstance(name := each.settings.get("name"), str) and NAME.fullmatch(name):
                bad[name] = str(error)
    return tuple(good), bad


def encode_wanted(settings: StreamSettings) -> bytes:
    """The JSON of a stream's ``wanted`` topic: its settings, as far as they differ from the defaults."""
    return json.dumps(to_table(settings), separators=(",", ":"), allow_nan=False).encode()


def decode_wanted(data: bytes, stream: str) -> StreamSettings:
    """The settings in such a JSON.

    Raises:
        SettingsError: they are none, or are of a stream of another name; says why.
    """
    if len(data) > MAX_SETTINGS_BYTES:
        raise _unreadable(stream, f"at most {MAX_SETTINGS_BYTES} bytes", f"{len(data)}")
    try:
        table = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise _unreadable(stream, "JSON", str(error)[:MAX_TEXT]) from error
    if not isinstance(table, dict):
        raise _unreadable(stream, "a JSON object of settings", type(table).__name__)
    settings = from_table(StreamSettings, {"name": stream} | table, where=f"the stream '{stream}'")
    if settings.name != stream:
        raise SettingsError(
            f"the stream '{stream}' has another name in its settings",
            expected=f"name '{stream}', as in the topic",
            came=f"'{settings.name}'",
            fix="correct one of them",
        )
    return settings


def _unreadable(stream: str, expected: str, came: str) -> SettingsError:
    return SettingsError(
        f"the settings of stream '{stream}' cannot be read",
        expected=expected,
        came=came,
        fix="correct what is retained",
    )
