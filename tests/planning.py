"""The planner through its border: problems and plans as JSON has them in, answers as JSON has them out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tiercut import planner
from tiercut.planner.alternatives import alternatives as alternatives_of
from tiercut.planner.document import read_problem, solve, written
from tiercut.planner.edgent import edgent as edgent_of

__all__ = ["alternatives", "choice_of", "edgent", "evaluate", "solve", "solve_top"]

Document = dict[str, Any]


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
