"""Actions of the registry."""

from __future__ import annotations

from dataclasses import dataclass

from tiercut.coordinator.stream_goal import StreamGoal
from tiercut.protocol.streams import Assignment, StreamStatus


@dataclass(frozen=True, slots=True)
class Assign:
    """A node is to read the sensors of these streams, and of no others."""

    node: str
    streams: tuple[Assignment, ...]


@dataclass(frozen=True, slots=True)
class SayStatus:
    """Publish the state of a stream."""

    status: StreamStatus


@dataclass(frozen=True, slots=True)
class PlanStream:
    """The coordinator is to plan a stream, or to replan it as another node reads its sensor."""

    goal: StreamGoal


@dataclass(frozen=True, slots=True)
class Unplan:
    """A stream does not run any more: it is not planned, and its plan is not retained."""

    stream: str


@dataclass(frozen=True, slots=True)
class Remove:
    """A stream is gone: nothing of it stays retained."""

    stream: str


Action = Assign | SayStatus | PlanStream | Unplan | Remove
