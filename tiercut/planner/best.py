"""The best plan of a problem: equal to trying every plan, ties included.

Plans compare by the objective, then by latency, each within the tolerance of `answer.slack`: of all plans equal to the
best in the one, those equal to the best in the other. `equals` says which of them goes first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from tiercut.planner.costs import Costs, costs_of
from tiercut.planner.fields import Floats
from tiercut.planner.plan_cost import Choice, no_answer, score, slack
from tiercut.planner.plan_lookup import choice_of
from tiercut.planner.problem import Problem, parse
from tiercut.planner.search import Tables, best_accuracy, energies, min_latency
from tiercut.planner.throughput import Stages
from tiercut.planner.tie_break import first_of_equals

#: Stands for no deadline where what is impossible must not count.
LONGEST = float(np.finfo(np.float64).max)


def solve(problem: Mapping[str, Any]) -> dict[str, Any]:
    """Find the best plan of a planning problem, version 1.

    Returns:
        The answer of that form. Where no plan satisfies the constraints, ``feasible`` is false, ``violates`` says what
        the plan that comes nearest violates: given up are the deadline first, then the accuracy, then ``min_noise``,
        then ``min_first_cut``.

    Raises:
        SettingsError: the problem is not valid; the message names the field.
    """
    return solve_parsed(parse(problem))


def evaluate(problem: Mapping[str, Any], plan: Mapping[str, Any]) -> dict[str, Any]:
    """The answer for one given plan (``variant``, ``edge``, ``cloud``, ``first_cut``, ``second_cut``, ``codecs``).

    Raises:
        SettingsError: the problem is not valid, or the plan is not possible in it.
    """
    parsed = parse(problem)
    return score(parsed, choice_of(parsed, plan))


def solve_parsed(problem: Problem) -> dict[str, Any]:
    """The same as `solve`, on a problem that has been read."""
    choice = best_choice(problem) or nearest_choice(problem)
    return no_answer(problem) if choice is None else score(problem, choice)


def nearest_choice(problem: Problem) -> Choice | None:
    """The plan that comes nearest where none satisfies the constraints; see `solve`."""
    given_up: dict[str, Any] = {"objective": "latency", "deadline_seconds": None}
    choice = best_choice(replace(problem, **given_up))
    for more in ({"objective": "accuracy", "max_accuracy_drop": None}, {"min_noise": None}):
        if choice is None:
            given_up |= more
            choice = best_choice(replace(problem, **given_up))
    first_cut = min(problem.min_first_cut, max(variant.blocks for variant in problem.variants))
    while choice is None and first_cut >= 0:
        choice = best_choice(replace(problem, **given_up, min_first_cut=first_cut))
        first_cut -= 1
    return choice


def best_choice(problem: Problem) -> Choice | None:
    """The best plan that satisfies all constraints, ``None`` if none does."""
    limit, allowed = problem.deadline_seconds, problem.max_accuracy_drop
    deadline = np.inf if limit is None else limit + slack(limit)
    floor = -np.inf if allowed is None else problem.best_accuracy - allowed - slack(1.0)
    costs = costs_of(problem, floor)
    if problem.objective == "accuracy":
        best = best_accuracy(costs, min(deadline, LONGEST))
        if best < floor or best == -np.inf:
            return None
        # What is left is the quickest of the plans that are as accurate.
        costs = costs_of(problem, max(floor, best - slack(best)))
    latency = min_latency(costs).within(deadline)
    if not np.isfinite(latency.least()):
        return None
    if problem.objective == "throughput":
        return _max_frames(costs, deadline, latency)
    if problem.objective == "energy":
        latency = _keep_least(latency, *energies(costs))
    return first_of_equals(costs, latency)


def _max_frames(costs: Costs, deadline: float, latency: Tables) -> Choice:
    """The plan of the shortest longest stage."""
    stages = Stages(costs, latency.least())
    limit = stages.shortest(deadline, latency)
    limit += slack(limit)
    return first_of_equals(costs, stages.min_latency(limit), limit)


def _keep_least(latency: Tables, *values: Floats) -> Tables:
    """Only the groups whose value is the least of those that exist."""
    tables = (latency.none, latency.one, latency.two)
    least = min(
        float(np.min(value, where=np.isfinite(table), initial=np.inf))
        for table, value in zip(tables, values, strict=True)
    )
    none, one, two = (value <= least + slack(least) for value in values)
    return latency.keep(none, one, two)
