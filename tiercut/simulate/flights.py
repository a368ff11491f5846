"""Frames on their way through a simulated site, and what becomes of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from tiercut.coordinator.stream_goal import StreamGoal
from tiercut.plan import Plan
from tiercut.protocol.frames import Stage, StageKind
from tiercut.protocol.results import Journey

RESULT = "result"


@dataclass(slots=True)
class Flight:
    """One frame.

    Attributes:
        stream: Its stream's name.
        seq: Its number there.
        captured_s: When.
        plan: What it follows, from the moment it sets out.
        lane: Number of that among the plans that its stream follows at once.
        cut: Cut point its tensors are alive at.
        stages: What took how long so far.
        fallback: Why a node ran more than the plan says.
        where: The node that it came to last.
        outcome: ``result``, or the reason why there is none; ``None`` while it is in flight.
        done_s: When that was decided.
        finished_s: When the model's end was reached; a frame that is ``lost`` by then goes on all the same.
    """

    stream: str
    seq: int
    captured_s: float
    plan: Plan | None = None
    lane: int = 0
    cut: int = 0
    stages: list[Stage] = field(default_factory=list)
    fallback: str | None = None
    where: str = ""
    outcome: str | None = None
    done_s: float = 0.0
    finished_s: float | None = None

    @property
    def latency_s(self) -> float | None:
        """Capture to result, ``None`` without one."""
        return self.done_s - self.captured_s if self.outcome == RESULT else None

    def stage(self, where: str, kind: StageKind, seconds: float, payload_bytes: int = 0) -> None:
        """Note how long something took."""
        self.stages.append(Stage(where, kind, seconds, payload_bytes=payload_bytes))


def journey(flight: Flight, goal: StreamGoal) -> Journey:
    """What the result of a frame says of its way."""
    plan, finished_s = flight.plan, flight.finished_s
    assert plan is not None  # noqa: S101 - it has set out
    assert finished_s is not None  # noqa: S101 - it has a result
    latency_s, deadline_s = finished_s - flight.captured_s, goal.deadline_s
    return Journey(
        stream=goal.name,
        seq=flight.seq,
        model=goal.model,
        plan=plan,
        stages=tuple(flight.stages),
        captured_unix_s=flight.captured_s,
        latency_s=latency_s,
        fallback=flight.fallback,
        exit=plan.exit,
        deadline_met=None if deadline_s is None else latency_s <= deadline_s,
    )


def cost_s(flights: Sequence[Flight], timeout_s: float) -> float:
    """Mean latency over all frames; one without a result counts as the timeout, so that dropping is no gain."""
    return sum(timeout_s if each.latency_s is None else each.latency_s for each in flights) / len(flights)
