"""What the registry knows of streams and of the nodes that read their sensors, and what it says is to be done."""

from __future__ import annotations

from dataclasses import dataclass

from tiercut.coordinator.stream_goal import StreamGoal
from tiercut.model.bundle import Bundle
from tiercut.protocol.stream_settings import StreamSettings
from tiercut.protocol.streams import Assignment, SourceReport, StreamStatus


@dataclass(frozen=True, slots=True)
class Assign:
    """A node is to read the sensors of these streams, and of no others."""

    node: str
    streams: tuple[Assignment, ...]


@dataclass(frozen=True, slots=True)
class SayStatus:
    """Publish how a stream does."""

    status: StreamStatus


@dataclass(frozen=True, slots=True)
class PlanStream:
    """The coordinator is to plan a stream, or to plan it anew as another node reads its sensor."""

    goal: StreamGoal


@dataclass(frozen=True, slots=True)
class Unplan:
    """A stream does not run any more: it is not planned, and its plan is not retained."""

    stream: str


@dataclass(frozen=True, slots=True)
class Remove:
    """A stream is there no more: nothing stays retained of it."""

    stream: str


Action = Assign | SayStatus | PlanStream | Unplan | Remove


@dataclass(slots=True)
class Entry:
    """A stream of the registry.

    Attributes:
        name: Its name.
        payload: What was last wanted of it, as it came.
        settings: Its settings; ``None`` where they cannot be read.
        fixed: It stands in the hub's settings.
        refusal: Why it does not run.
        bundle: Its model.
        node: Who reads its sensor.
        planned_for: The node it was last planned with.
        report: The last word of the node that reads its sensor.
        rival: The last word of another device that reads a sensor for a stream of this name.
        taken: Somebody wants another stream by the name of one in the hub's settings.
        said: The last status.
        said_s: When that was.
        checked_s: When its settings were last checked.
    """

    name: str
    payload: bytes = b""
    settings: StreamSettings | None = None
    fixed: bool = False
    refusal: str = ""
    bundle: Bundle | None = None
    node: str | None = None
    planned_for: str | None = None
    report: SourceReport | None = None
    rival: SourceReport | None = None
    taken: bool = False
    said: StreamStatus | None = None
    said_s: float = float("-inf")
    checked_s: float = float("-inf")

    @property
    def runnable(self) -> StreamSettings | None:
        """Its settings, where it may run."""
        return None if self.refusal or self.bundle is None else self.settings


@dataclass(slots=True)
class Reader:
    """A node of the device tier.

    Attributes:
        claims: It says that it can read any sensor that publishes on the bus.
        edge: There is an edge of that name, so it may: only an edge may publish an edge's status.
        online: Its last word.
        away_s: Since when it is gone.
        told: What it was last told to read; ``None`` where nobody knows.
    """

    claims: bool = False
    edge: bool = False
    online: bool = False
    away_s: float = float("-inf")
    told: tuple[Assignment, ...] | None = None

    @property
    def gateway(self) -> bool:
        """It is a gateway."""
        return self.claims and self.edge

    def is_away(self, now_s: float, after_s: float) -> bool:
        """Gone, and for so long that it will not be back in a moment."""
        return not self.online and now_s - self.away_s >= after_s
