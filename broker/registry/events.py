"""What the registry is told: facts as they are heard, and that time passes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tiercut.model.bundle import Bundle
from tiercut.protocol.nodes import NodeStatus
from tiercut.protocol.stream_settings import StreamSettings
from tiercut.protocol.streams import Assignment, SourceReport


@dataclass(frozen=True, slots=True)
class ModelsFound:
    """The models that the hub has by now, by name."""

    by_name: Mapping[str, Bundle]


@dataclass(frozen=True, slots=True)
class StreamFixed:
    """A stream of the hub's own settings; one that does not fit its model is an error."""

    settings: StreamSettings


@dataclass(frozen=True, slots=True)
class StreamWanted:
    """What is retained of a stream: its settings as they came, or nothing any more."""

    name: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class ReaderHeard:
    """The presence of a node of the device tier."""

    status: NodeStatus
    now_s: float


@dataclass(frozen=True, slots=True)
class EdgeHeard:
    """There is an edge of this name: its gateway may read sensors."""

    node: str


@dataclass(frozen=True, slots=True)
class ReportHeard:
    """How a sensor does, by the node that reads it."""

    report: SourceReport


@dataclass(frozen=True, slots=True)
class AssignmentHeard:
    """What a node was told to read before this hub started: it stays with it."""

    node: str
    streams: tuple[Assignment, ...]


@dataclass(frozen=True, slots=True)
class AssignmentFailed:
    """The broker did not take what a node is to read: it is tried again."""

    node: str


@dataclass(frozen=True, slots=True)
class StatusForgotten:
    """The broker has lost a stream's status: it is published again."""

    stream: str


@dataclass(frozen=True, slots=True)
class PlanTroubles:
    """Why streams have no better plan, by stream; the others have no trouble."""

    by_stream: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Tick:
    """Time passes: check all streams. Comes a few times a second; the only event with actions."""

    now_s: float
    unix_s: float


#: What comes from the bus, or back from it.
Heard = StreamWanted | ReaderHeard | EdgeHeard | ReportHeard | AssignmentHeard | AssignmentFailed | StatusForgotten
Event = Heard | ModelsFound | PlanTroubles | StreamFixed | Tick
