"""The planner: where to cut, which nodes, which codecs. Pure: problems in, answers out; no dicts, no I/O.

`document` is the border: it reads a planning problem, version 1 (``docs/planning.md``), and writes answers in its form.
Names are imported when they are first used: a node says and hears of codecs and answers, and never plans.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tiercut.planner.answer import Answer, Choice
    from tiercut.planner.best import evaluate, solve, solve_top, solve_within
    from tiercut.planner.contention import beside, taken_by
    from tiercut.planner.joint import JointPlan, Stream, plan_together
    from tiercut.planner.problem import Problem

__all__ = [
    "Answer",
    "Choice",
    "JointPlan",
    "Problem",
    "Stream",
    "beside",
    "evaluate",
    "plan_together",
    "solve",
    "solve_top",
    "solve_within",
    "taken_by",
]

_HOMES = {
    "Answer": "answer",
    "Choice": "answer",
    "JointPlan": "joint",
    "Problem": "problem",
    "Stream": "joint",
    "beside": "contention",
    "evaluate": "best",
    "plan_together": "joint",
    "solve": "best",
    "solve_top": "best",
    "solve_within": "best",
    "taken_by": "contention",
}


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        message = f"module 'tiercut.planner' has no attribute '{name}'"
        raise AttributeError(message)
    return getattr(importlib.import_module(f"tiercut.planner.{home}"), name)
