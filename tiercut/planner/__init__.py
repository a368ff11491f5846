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
    from tiercut.planner.problem import Problem
    from tiercut.planner.site.plan import SitePlan, StreamShare, Way
    from tiercut.planner.site.problem import SharedLine, SiteProblem, SiteStream
    from tiercut.planner.site.solve import plan_site, plan_site_with

__all__ = [
    "Answer",
    "Choice",
    "Problem",
    "SharedLine",
    "SitePlan",
    "SiteProblem",
    "SiteStream",
    "StreamShare",
    "Way",
    "beside",
    "evaluate",
    "plan_site",
    "plan_site_with",
    "solve",
    "solve_top",
    "solve_within",
    "taken_by",
]

_HOMES = {
    "Answer": "answer",
    "Choice": "answer",
    "Problem": "problem",
    "SharedLine": "site.problem",
    "SitePlan": "site.plan",
    "SiteProblem": "site.problem",
    "SiteStream": "site.problem",
    "StreamShare": "site.plan",
    "Way": "site.plan",
    "beside": "contention",
    "evaluate": "best",
    "plan_site": "site.solve",
    "plan_site_with": "site.solve",
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
