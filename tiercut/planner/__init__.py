"""The planner: where to cut, which nodes, which codecs. Pure: numbers in, plans out.

The problem and the answer are those of the planning problem, version 1 (``docs/planning.md``).
"""

from tiercut.planner.alternatives import alternatives
from tiercut.planner.beside import beside, taken_by
from tiercut.planner.best import evaluate, solve
from tiercut.planner.edgent import edgent
from tiercut.planner.joint import JointPlan, Stream, plan_together
from tiercut.planner.k_best import solve_top
from tiercut.planner.problem import FORMAT

__all__ = [
    "FORMAT",
    "JointPlan",
    "Stream",
    "alternatives",
    "beside",
    "edgent",
    "evaluate",
    "plan_together",
    "solve",
    "solve_top",
    "taken_by",
]
