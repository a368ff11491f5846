"""A frame's way in the parts that can be short: each node's processor and queue, and each line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tiercut.coordinator.way import along
from tiercut.plan import node_id
from tiercut.planner import Answer, Problem
from tiercut.planner.answer import Stage as PlannedStage
from tiercut.planner.problem import Codec
from tiercut.protocol.explanations import Resource
from tiercut.protocol.results import Journey


@dataclass(frozen=True, slots=True)
class Part:
    """One of them.

    Attributes:
        resource: What it is.
        where: A node's id, or both ids of a line with an arrow, as in a plan's stages.
    """

    resource: Resource
    where: str

    @property
    def name(self) -> str:
        """For people: ``the processor of edge/e``."""
        return f"the line {self.where}" if self.resource == "line" else f"the {self.resource} of {self.where}"


#: Seconds of a frame by part.
Parts = Mapping[Part, float]


def planned_parts(problem: Problem, answer: Answer) -> dict[Part, float]:
    """What each part of a plan takes of a frame's time; coding is work of the nodes, not of the line."""
    seconds: dict[Part, float] = {}

    def add(part: Part, more_s: float) -> None:
        seconds[part] = seconds.get(part, 0.0) + more_s

    for stage, codec in _with_codecs(problem, answer):
        if codec is None:
            add(Part("processor", stage.where), stage.busy_seconds)
            add(Part("queue", stage.where), stage.seconds - stage.busy_seconds)
            continue
        sender, _, receiver = stage.where.partition(" -> ")
        size_mb = stage.sent_bytes * codec.ratio / 1e6
        encode_s, decode_s = size_mb * codec.encode_seconds_per_mb, size_mb * codec.decode_seconds_per_mb
        add(Part("processor", sender), encode_s)
        add(Part("processor", receiver), decode_s)
        add(Part("line", stage.where), max(0.0, stage.seconds - encode_s - decode_s))
    return seconds


def busy_parts(problem: Problem, answer: Answer) -> dict[Part, float]:
    """How long a plan keeps each processor and line from the next frame: without queues and latencies."""
    busy = {part: s for part, s in planned_parts(problem, answer).items() if part.resource == "processor"}
    return busy | {Part("line", stage.where): stage.busy_seconds for stage in answer.stages if stage.kind == "transfer"}


def measured_parts(journey: Journey) -> dict[Part, float]:
    """What each part took of a frame's time; what the device did before the plan begins is none of them."""
    seconds: dict[Part, float] = {}
    for key, sender, stage in along(journey.plan, journey.stages):
        if stage.kind == "prepare":
            continue
        where = node_id(*key)
        if sender is not None:
            part = Part("line", f"{node_id(*sender)} -> {where}")
        else:
            part = Part("queue" if stage.kind == "queue" else "processor", where)
        seconds[part] = seconds.get(part, 0.0) + stage.seconds
    return seconds


def _with_codecs(problem: Problem, answer: Answer) -> list[tuple[PlannedStage, Codec | None]]:
    """Each stage of a plan, a transfer with its codec."""
    assert answer.choice is not None  # noqa: S101 - a plan that is followed, or may be
    known = {codec.name: codec for codec in problem.codecs}
    codecs = iter(answer.choice.codecs)
    stages = (stage for stage in answer.stages if stage.kind != "return")  # takes nobody's time, and is not measured
    return [(stage, known[next(codecs)] if stage.kind == "transfer" else None) for stage in stages]
