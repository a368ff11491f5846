"""What hub and nodes say of streams besides plans: who reads which sensor, how that goes. With its JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, get_args

from tiercut.errors import SettingsError, refuse
from tiercut.limits import MAX_TEXT, MAX_UNIX_S
from tiercut.names import check_name, printable
from tiercut.protocol.jsonwire import load_json
from tiercut.protocol.stream_settings import StreamSettings
from tiercut.protocol.wirefields import Fields
from tiercut.settings import from_table, to_table

StreamState = Literal["running", "waiting", "refused", "failed", "ended"]
STREAM_STATES: tuple[StreamState, ...] = get_args(StreamState)
SourceState = Literal["running", "silent", "waiting", "failed", "ended"]
SOURCE_STATES: tuple[SourceState, ...] = get_args(SourceState)

MAX_SENTENCE = 1024
#: Counters and reasons that one report may have.
MAX_ENTRIES = 64
#: Streams that one node may be asked to read, and what their settings may take together.
MAX_STREAMS = 256
MAX_ASSIGNED_BYTES = 6 * 1024 * 1024
MAX_SETTINGS_BYTES = 16 * 1024


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why frames of a stream were dropped before they set out.

    Attributes:
        reason: Name of the counter.
        message: What the last one said: expected, came, what to do.
        count: How many, since the sensor was opened.
        last_unix_s: When it last happened.
    """

    reason: str
    message: str
    count: int
    last_unix_s: float

    def __post_init__(self) -> None:
        check_name(self.reason, field_name="reason")
        if self.count < 0 or not 0 <= self.last_unix_s <= MAX_UNIX_S:
            raise refuse("bad_number", expected="a count >= 0 and a time", came=(self.count, self.last_unix_s))


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceReport:
    """How a stream's sensor does, by the node that reads it.

    Attributes:
        stream: Stream name.
        node: Node id of the device or gateway.
        state: ``waiting``: for the model; ``silent``: the sensor is open and has given nothing yet.
        model: Identity of the model that its frames are for; empty where it is not open.
        message: Why it waits or has failed.
        frames: Counters: ``captured``, ``done``, ``dropped.<reason>``.
        trouble: Reasons of drops with what was wrong.
    """

    stream: str
    node: str
    state: SourceState
    model: str = ""
    message: str = ""
    frames: Mapping[str, int] = field(default_factory=dict)
    trouble: tuple[Trouble, ...] = ()

    def __post_init__(self) -> None:
        check_name(self.stream, field_name="stream")
        check_name(self.node, field_name="node")
        if self.state not in SOURCE_STATES:
            raise refuse("bad_state", expected=f"one of {SOURCE_STATES}", came=self.state)


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamStatus:
    """How a stream does, by the hub: retained, for people and for ``tiercut stream``.

    Attributes:
        stream: Stream name.
        state: ``running``; ``waiting`` for a node, a model or a first frame; ``refused``: its settings do not fit;
            ``failed``: its sensor; ``ended``: the sensor came to its end.
        message: Why it does not run, what was expected, what to do.
        model: Name of its model.
        sensor: Kind of its sensor; empty where the device's own settings say.
        device: Node that reads the sensor; ``None`` while there is none.
        gateway: That node is an edge which reads it from the bus.
        frames: Counters of the node that reads the sensor.
        trouble: Reasons of drops with what was wrong.
        since_unix_s: In this state since then.
    """

    stream: str
    state: StreamState
    message: str = ""
    model: str = ""
    sensor: str = ""
    device: str | None = None
    gateway: bool = False
    frames: Mapping[str, int] = field(default_factory=dict)
    trouble: tuple[Trouble, ...] = ()
    since_unix_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Assignment:
    """A stream whose sensor a node is to read.

    Attributes:
        settings: The stream's settings.
        model: Identity of its model.
    """

    settings: StreamSettings
    model: str


# ---------------------------------------------------------------------- JSON


def encode_source_report(report: SourceReport) -> bytes:
    """The JSON of a stream's ``source`` topic."""
    return _dump(
        {
            "stream": report.stream,
            "node": report.node,
            "state": report.state,
            "model": report.model,
            "message": report.message[:MAX_SENTENCE],
            "frames": dict(report.frames),
            "trouble": [_trouble(each) for each in report.trouble[:MAX_ENTRIES]],
        }
    )


def decode_source_report(data: bytes) -> SourceReport:
    """The report in such a JSON; ``BadEnvelope`` for anything else."""
    root = load_json(data, "source report")
    state = next((each for each in SOURCE_STATES if each == root.text("state")), None)
    if state is None:
        raise refuse("bad_state", expected=f"one of {SOURCE_STATES}", came=root.text("state"))
    return SourceReport(
        stream=root.name("stream"),
        node=root.name("node"),
        state=state,
        model=root.optional_text("model") or "",
        message=printable(root.optional_text("message", limit=MAX_SENTENCE) or ""),
        frames=_counts(root),
        trouble=_troubles(root),
    )


def encode_stream_status(status: StreamStatus) -> bytes:
    """The JSON of a stream's ``state`` topic."""
    return _dump(status_document(status))


def status_document(status: StreamStatus) -> dict[str, Any]:
    """A stream's status as JSON has it."""
    return {
        "stream": status.stream,
        "state": status.state,
        "message": status.message[:MAX_SENTENCE],
        "model": status.model,
        "sensor": status.sensor,
        "device": status.device,
        "gateway": status.gateway,
        "frames": dict(status.frames),
        "trouble": [_trouble(each) for each in status.trouble[:MAX_ENTRIES]],
        "since": _iso(status.since_unix_s),
    }


def decode_stream_status(data: bytes) -> StreamStatus:
    """The status in such a JSON; ``BadEnvelope`` for anything else."""
    root = load_json(data, "stream status")
    state = next((each for each in STREAM_STATES if each == root.text("state")), None)
    if state is None:
        raise refuse("bad_state", expected=f"one of {STREAM_STATES}", came=root.text("state"))
    return StreamStatus(
        stream=root.name("stream"),
        state=state,
        message=printable(root.optional_text("message", limit=MAX_SENTENCE) or ""),
        model=root.optional_text("model") or "",
        sensor=root.optional_text("sensor") or "",
        device=root.optional_text("device"),
        gateway=root.flag("gateway"),
        frames=_counts(root),
        trouble=_troubles(root),
        since_unix_s=_time(root.text("since")),
    )


def encode_wanted(settings: StreamSettings) -> bytes:
    """The JSON of a stream's ``wanted`` topic: its settings, as far as they differ from the defaults."""
    return _dump(to_table(settings))


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


def encode_assigned(assigned: tuple[Assignment, ...]) -> bytes:
    """The JSON of a node's ``streams`` topic."""
    return _dump({"streams": [{"settings": to_table(each.settings), "model": each.model} for each in assigned]})


def decode_assigned(data: bytes) -> tuple[tuple[Assignment, ...], dict[str, str]]:
    """The assignments in such a JSON; an empty payload is none.

    Returns:
        Those that can be read; and for each other stream, by name, why not: one of another version stops no others.

    Raises:
        BadEnvelope: it is no such JSON.
    """
    if not data:
        return (), {}
    root = load_json(data, "assignment", limit=MAX_ASSIGNED_BYTES)
    good, bad = [], {}
    for each in root.sequence("streams", limit=MAX_STREAMS):
        fields = Fields(each, "streams")
        table = fields.mapping("settings", limit=MAX_ENTRIES)
        try:
            settings = from_table(StreamSettings, table, where="an assigned stream")
            good.append(Assignment(settings, fields.text("model")))
        except SettingsError as error:
            if isinstance(table.get("name"), str):
                bad[table["name"]] = str(error)
    return tuple(good), bad


def _trouble(trouble: Trouble) -> dict[str, Any]:
    last = _iso(trouble.last_unix_s)
    return {
        "reason": trouble.reason,
        "message": trouble.message[:MAX_SENTENCE],
        "count": trouble.count,
        "last_at": last,
    }


def _troubles(root: Fields) -> tuple[Trouble, ...]:
    entries = (Fields(each, "trouble") for each in root.sequence("trouble", limit=MAX_ENTRIES))
    return tuple(
        Trouble(
            reason=each.text("reason"),
            message=printable(each.optional_text("message", limit=MAX_SENTENCE) or ""),
            count=each.integer("count"),
            last_unix_s=_time(each.text("last_at")),
        )
        for each in entries
    )


def _counts(fields: Fields) -> dict[str, int]:
    counts = fields.mapping("frames", limit=MAX_ENTRIES)
    good = all(type(n) is int and n >= 0 for n in counts.values())
    if not good:
        raise refuse("bad_number", expected="counters >= 0", came=str(counts))
    return counts


def _unreadable(stream: str, expected: str, came: str) -> SettingsError:
    return SettingsError(
        f"the settings of stream '{stream}' cannot be read",
        expected=expected,
        came=came,
        fix="correct what is retained",
    )


def _iso(unix_s: float) -> str:
    return datetime.fromtimestamp(unix_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _time(text: str) -> float:
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError) as error:
        raise refuse("bad_clock", expected="a time in ISO 8601", came=text) from error


def _dump(document: dict[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":"), allow_nan=False).encode()
