"""Frames on their way through a simulated site, and what becomes of each."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tiercut.plan import Plan

RESULT = "result"


@dataclass(slots=True)
class Flight:
    """One frame.

    Attributes:
        seq: Its number.
        captured_s: When.
        plan: What it follows, from the moment it sets out.
        cut: Cut point its tensors are alive at.
        stages: Stage times as a result's JSON has them.
        fallback: Why a node ran more than the plan says.
        where: The node that it came to last.
        outcome: ``result``, or the reason why there is none; ``None`` while it is under way.
        done_s: When that was decided.
        finished_s: When the model's end was reached; a frame that is ``lost`` by then goes on all the same.
    """

    seq: int
    captured_s: float
    plan: Plan | None = None
    cut: int = 0
    stages: list[dict[str, Any]] = field(default_factory=list)
    fallback: str | None = None
    where: str = ""
    outcome: str | None = None
    done_s: float = 0.0
    finished_s: float | None = None

    @property
    def latency_s(self) -> float | None:
        """Capture to result, ``None`` without one."""
        return self.done_s - self.captured_s if self.outcome == RESULT else None

    def stage(self, where: str, kind: str, seconds: float, **more: int) -> None:
        """Note how long something took."""
        self.stages.append({"where": where, "kind": kind, "ms": round(seconds * 1e3, 3)} | more)


def result_document(flight: Flight, stream: str, model: str, model_name: str) -> dict[str, Any]:
    """The JSON of a frame's result, without what the model said."""
    plan, finished_s = flight.plan, flight.finished_s
    assert plan is not None  # noqa: S101 - it has set out
    assert finished_s is not None  # noqa: S101 - it has a result
    return {
        "stream": stream,
        "seq": flight.seq,
        "plan": {
            "epoch": plan.epoch,
            "first_cut": plan.first_cut,
            "second_cut": plan.second_cut,
            "exit": plan.exit,
            "device": plan.device,
            "edge": plan.edge,
            "cloud": plan.cloud,
            "codecs": list(plan.codecs),
        },
        "finished_by": flight.where,
        "fallback": flight.fallback,
        "stages": flight.stages,
        "latency_ms": round((finished_s - flight.captured_s) * 1e3, 3),
        "model": {"name": model_name, "sha256": model},
    }
