"""What the coordinator hears, each event with its time: the same events in the same order give the same actions."""

from __future__ import annotations

from dataclasses import dataclass

from tiercut.coordinator.node_view import NodeKey
from tiercut.coordinator.stream_goal import StreamGoal
from tiercut.profiling.profile import Profile
from tiercut.protocol.frames import Dropped
from tiercut.protocol.nodes import NodeStatus, Progress, Ready, StreamControl, StreamPlan
from tiercut.protocol.results import Journey
from tiercut.protocol.streams import SourceReport


@dataclass(frozen=True, slots=True)
class StreamWanted:
    """A stream is to be planned (again, with another goal)."""

    goal: StreamGoal


@dataclass(frozen=True, slots=True)
class StreamUnwanted:
    """A stream is not to be planned any more."""

    stream: str


@dataclass(frozen=True, slots=True)
class PlanHeard:
    """A retained plan from before the coordinator started: the stream follows it, and so does the coordinator."""

    message: StreamPlan


@dataclass(frozen=True, slots=True)
class ControlHeard:
    """A person wants a plan, or to keep what there is, or leaves it to the coordinator again."""

    stream: str
    control: StreamControl


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusHeard:
    """A node's presence, at a moment of the hub's monotonic clock and of its wall clock."""

    status: NodeStatus
    site: str
    now_s: float
    unix_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileHeard:
    """A node's profile of a model."""

    tier: str
    node: str
    profile: Profile
    site: str


@dataclass(frozen=True, slots=True)
class ResultHeard:
    """A frame has a result."""

    journey: Journey
    now_s: float


@dataclass(frozen=True, slots=True)
class ResultPassed:
    """A frame has a result that was not read: `Coordinator.reads` says which ones to."""

    stream: str
    now_s: float


@dataclass(frozen=True, slots=True)
class ProgressHeard:
    """Probes that have crossed a hop, and frames that are late on one or on a thread."""

    node: NodeKey
    progress: Progress
    now_s: float


@dataclass(frozen=True, slots=True)
class DroppedHeard:
    """A frame has no result; one that was too late says how long it took so far."""

    message: Dropped
    now_s: float


@dataclass(frozen=True, slots=True)
class ReadyHeard:
    """A node has loaded a segment, or says that it will not."""

    ready: Ready
    now_s: float


@dataclass(frozen=True, slots=True)
class SourceHeard:
    """How a stream's sensor does: how many frames it gives, and how many got through."""

    report: SourceReport
    now_s: float


@dataclass(frozen=True, slots=True)
class PublishFailed:
    """A plan could not be published: the broker refuses it."""

    stream: str
    why: str


@dataclass(frozen=True, slots=True)
class UplinkHeard:
    """Whether the way to the cloud's broker is there: without it the site's plans do without cloud nodes."""

    connected: bool


@dataclass(frozen=True, slots=True)
class Tick:
    """Time passes: a few times a second, the streams that have waited longest are evaluated."""

    now_s: float


Event = (
    StreamWanted
    | StreamUnwanted
    | PlanHeard
    | ControlHeard
    | StatusHeard
    | ProfileHeard
    | ResultHeard
    | ResultPassed
    | ProgressHeard
    | DroppedHeard
    | ReadyHeard
    | SourceHeard
    | PublishFailed
    | UplinkHeard
    | Tick
)
