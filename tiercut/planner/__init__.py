"""The planner: where to cut, which nodes, which codecs. Pure: problems in, answers out; no dicts, no I/O.

`document` is the border: it reads a planning problem, version 1 (``docs/planning.md``), and writes answers in its form.
"""

from tiercut.planner.alternatives import alternatives
from tiercut.planner.answer import Answer, Choice
from tiercut.planner.best import evaluate, solve, solve_top, solve_within
from tiercut.planner.contention import beside, taken_by
from tiercut.planner.edgent import edgent
from tiercut.planner.joint import JointPlan, Stream, plan_together
from tiercut.planner.problem import Problem

__all__ = [
    "Answer",
    "Choice",
    "JointPlan",
    "Problem",
    "Stream",
    "alternatives",
    "beside",
    "edgent",
    "evaluate",
    "plan_together",
    "solve",
    "solve_top",
    "solve_within",
    "taken_by",
]
