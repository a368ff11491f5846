"""The planner through its border: problems and plans as JSON has them in, answers as JSON has them out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tiercut import planner
from tiercut.planner.alternatives import alternatives as alternatives_of
from tiercut.planner.document import read_problem, solve, written
from tiercut.planner.edgent import edgent as edgent_of

__all__ = ["Stream", "alternatives", "choice_of", "edgent", "evaluate", "plan_together", "solve", "solve_top"]

Document = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """`planner.Stream` with its problem as JSON has it."""

    name: str
    problem: Document
    frames_per_second: float

    def read(self) -> planner.Stream:
        """With its problem read."""
        problem = read_problem(self.problem)
        return planner.Stream(name=self.name, problem=problem, frames_per_second=self.frames_per_second)


@dataclass(frozen=True, slots=True)
class JointPlan:
    """`planner.JointPlan` with answers as JSON has them."""

    answers: dict[str, Document]
    load: dict[str, float]
    frames_in_flight: float
    rounds: int
    settled: bool


def choice_of(plan: Mapping[str, Any]) -> planner.Choice:
    return planner.Choice(
        variant=plan["variant"],
        edge=plan.get("edge"),
        cloud=plan.get("cloud"),
        first_cut=plan["first_cut"],
        second_cut=plan["second_cut"],
        codecs=tuple(plan["codecs"]),
    )


def evaluate(problem: Document, plan: Mapping[str, Any]) -> Document:
    return written(planner.evaluate(read_problem(problem), choice_of(plan)))


def solve_top(problem: Document, k: int) -> list[Document]:
    return [written(answer) for answer in planner.solve_top(read_problem(problem), k)]


def alternatives(problem: Document) -> dict[str, Document]:
    return {kind: written(answer) for kind, answer in alternatives_of(read_problem(problem)).items()}


def edgent(problem: Document) -> Document:
    return written(edgent_of(read_problem(problem)))


def plan_together(streams: Sequence[Stream]) -> JointPlan:
    joint = planner.plan_together([stream.read() for stream in streams])
    answers = {name: written(answer) for name, answer in joint.answers.items()}
    return JointPlan(answers, joint.load, joint.frames_in_flight, joint.rounds, joint.settled)
