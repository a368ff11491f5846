"""The best plan of a problem: equal to trying every plan, ties included.

Plans compare by the objective, then by latency, each within the tolerance of `plan_cost.slack`: of all plans equal to
the best in the one, those equal to the best in the other. `tie_break` says which of them goes first.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from tiercut.planner.answer import Answer, Choice
from tiercut.planner.costs import Costs, costs_of
from tiercut.planner.k_best import k_best
from tiercut.planner.objectives import ACCURACY, LATENCY, Floats, Search
from tiercut.planner.plan_cost import PlanIndex, no_answer, price, slack, too_large
from tiercut.planner.plan_lookup import index_of
from tiercut.planner.problem import Problem
from tiercut.planner.search import Tables, best_accuracy, energies, min_latency
from tiercut.planner.throughput import LongestStages
from tiercut.planner.tie_break import first_of_equals

#: Stands for no deadline where what is impossible must not count.
LONGEST = float(np.finfo(np.float64).max)


def solve(problem: Problem) -> Answer:
    """Find the best plan of a problem.

    Returns:
        Its answer. Where no plan satisfies the constraints it is not feasible, and says what the plan that comes
        nearest violates: given up are the deadline first, then the accuracy, then ``min_noise``, then
        ``min_first_cut``. Memory is never given up: where nothing fits there is no plan, and the answer says what the
        fastest one would need.
    """
    plan = best_plan(problem) or nearest_plan(problem)
    return nothing_fits(problem) if plan is None else price(problem, plan)


def evaluate(problem: Problem, choice: Choice) -> Answer:
    """The answer for one given plan.

    Raises:
        SettingsError: the plan is not possible in the problem.
    """
    return price(problem, index_of(problem, choice))


def solve_top(problem: Problem, k: int) -> list[Answer]:
    """The best ``k`` different plans, best first: the first is that of `solve`.

    Slower than `solve`: every plan is priced, half a second at 160 blocks and 5 variants.

    Returns:
        Fewer than ``k`` if no more plans satisfy the constraints; where none does, the answer of `solve` alone.
    """
    return [price(problem, plan) for plan in k_best(problem, k)] or [solve(problem)]


def nearest_plan(problem: Problem) -> PlanIndex | None:
    """The plan that comes nearest where none satisfies the constraints; see `solve`."""
    given_up: dict[str, Any] = {"objective": LATENCY, "deadline_seconds": None}
    plan = best_plan(replace(problem, **given_up))
    for more in ({"objective": ACCURACY, "max_accuracy_drop": None}, {"min_noise": None}):
        if plan is None:
            given_up |= more
            plan = best_plan(replace(problem, **given_up))
    first_cut = min(problem.min_first_cut, max(variant.blocks for variant in problem.variants))
    while plan is None and first_cut >= 0:
        plan = best_plan(replace(problem, **given_up, min_first_cut=first_cut))
        first_cut -= 1
    return plan


def solve_within(problem: Problem, stage_seconds: float) -> Answer | None:
    """The quickest plan that satisfies all constraints and none of whose stages takes longer.

    A stage that is no longer than the time between two frames holds none of them up, so this is the quickest plan that
    keeps up with a sensor. A transfer counts whole, with the line's latency.

    Args:
        problem: The problem; its objective does not count.
        stage_seconds: The longest that a stage may take.

    Returns:
        Its answer; ``None`` where no plan is like that.
    """
    deadline, floor = limits_of(problem)
    costs = costs_of(problem, floor)
    limit = stage_seconds + slack(stage_seconds)
    latency = LongestStages(costs, stage_seconds).min_latency(limit).within(deadline)
    return price(problem, first_of_equals(costs, latency, limit)) if np.isfinite(latency.least()) else None


def nothing_fits(problem: Problem) -> Answer:
    """The answer where no plan is possible, whatever is given up: what is in its way, memory or the network."""
    if any(node.free_mb is not None for node in problem.nodes):
        roomy = problem.with_nodes(lambda node: replace(node, memory_mb=None))
        plan = best_plan(replace(roomy, objective=LATENCY, deadline_seconds=None)) or nearest_plan(roomy)
        if plan is not None:
            return replace(no_answer(problem), violates=tuple(too_large(problem, plan)))
    return no_answer(problem)


def limits_of(problem: Problem) -> tuple[float, float]:
    """The longest latency and the least accuracy that plans may have, give or take what counts as equal."""
    limit, allowed = problem.deadline_seconds, problem.max_accuracy_drop
    deadline = np.inf if limit is None else limit + slack(limit)
    floor = -np.inf if allowed is None else problem.best_accuracy - allowed - slack(1.0)
    return deadline, floor


def best_plan(problem: Problem) -> PlanIndex | None:
    """The best plan that satisfies all constraints, ``None`` if none does."""
    search = problem.objective.search
    if search == Search.EVERY_PLAN:
        return next(iter(k_best(problem, 1)), None)
    deadline, floor = limits_of(problem)
    costs = costs_of(problem, floor)
    if search == Search.ACCURACY:
        best = best_accuracy(costs, min(deadline, LONGEST))
        if best < floor or best == -np.inf:
            return None
        # What is left is the quickest of the plans that are as accurate.
        costs = costs_of(problem, max(floor, best - slack(best)))
    latency = min_latency(costs).within(deadline)
    if not np.isfinite(latency.least()):
        return None
    if search == Search.LONGEST_STAGE:
        return _max_frames(costs, deadline, latency)
    if search == Search.DEVICE_ENERGY:
        latency = _keep_least(latency, *energies(costs))
    return first_of_equals(costs, latency)


def _max_frames(costs: Costs, deadline: float, latency: Tables) -> PlanIndex:
    """The plan of the shortest longest stage."""
    stages = LongestStages(costs, latency.least())
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
