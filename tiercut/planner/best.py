"""The best plan of a problem: equal to trying every plan, ties included.

Plans compare by the objective, then by latency, each within the tolerance of `answer.slack`: of all plans equal to the
best in the one, those equal to the best in the other. What is left is ordered: fewer hops, greater accuracy, then by
position: variant and edge as listed (no edge last), codecs with ``raw`` first, the smaller first cut, cloud as listed,
the smaller second cut.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from tiercut.planner.answer import Choice, no_answer, score, slack
from tiercut.planner.bottleneck import Stages
from tiercut.planner.costs import Costs, costs_of
from tiercut.planner.given import choice_of
from tiercut.planner.problem import Problem, parse
from tiercut.planner.search import Tables, accuracies, energies, least_latency


def solve(problem: Mapping[str, Any]) -> dict[str, Any]:
    """Find the best plan of a planning problem, version 1.

    Returns:
        The answer of that form. Where no plan satisfies the constraints, ``feasible`` is false, ``violates`` says what
        the plan that comes nearest violates, and the plan is given up to the deadline first, then to the accuracy,
        then to ``min_first_cut``.

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
    choice = best_choice(replace(problem, objective="latency", deadline_seconds=None))
    anything = replace(problem, objective="accuracy", deadline_seconds=None, max_accuracy_drop=None)
    first_cut = min(problem.min_first_cut, max(variant.blocks for variant in problem.variants))
    while choice is None and first_cut >= 0:
        choice = best_choice(replace(anything, min_first_cut=first_cut))
        first_cut -= 1
    return choice


def best_choice(problem: Problem) -> Choice | None:
    """The best plan that satisfies all constraints, ``None`` if none does."""
    costs = costs_of(problem)
    allowed = problem.max_accuracy_drop
    floor = -np.inf if allowed is None else problem.best_accuracy - allowed - slack(1.0)
    deadline = (
        np.inf if problem.deadline_seconds is None else problem.deadline_seconds + slack(problem.deadline_seconds)
    )
    latency = least_latency(costs, floor).within(deadline)
    if not np.isfinite(latency.least()):
        return None
    if problem.objective == "accuracy":
        latency = _keep_least(latency, *(-values for values in accuracies(costs)))
    elif problem.objective == "energy":
        latency = _keep_least(latency, *energies(costs))
    elif problem.objective == "throughput":
        return _most_frames(costs, floor, deadline, latency)
    return _first_of_equals(costs, latency, np.inf)


def _most_frames(costs: Costs, floor: float, deadline: float, latency: Tables) -> Choice:
    """The plan of the shortest longest stage."""
    stages = Stages(costs, floor, latency.least())
    limit = stages.shortest(deadline, latency)
    limit += slack(limit)
    variants = stages.best_variants(limit)
    few = costs.only(variants)
    choice = _first_of_equals(few, Stages(few, floor, latency.least()).least_latency(limit), limit)
    return replace(choice, variant=int(variants[choice.variant]))


def _keep_least(latency: Tables, *values: np.ndarray[Any, Any]) -> Tables:
    """Only the groups whose value is the least of those that exist."""
    tables = (latency.none, latency.one, latency.two)
    least = min(
        float(np.min(np.broadcast_to(value, table.shape), where=np.isfinite(table), initial=np.inf))
        for table, value in zip(tables, values, strict=True)
    )
    none, one, two = (value <= least + slack(least) for value in values)
    return latency.keep(none, one, two)


def _first_of_equals(costs: Costs, latency: Tables, limit: float) -> Choice:
    """The plan that comes first among those of equal latency; ``limit`` is on the stages."""
    least = latency.least()
    bound = least + slack(least)
    for table, accuracy in zip((latency.none, latency.one, latency.two), accuracies(costs), strict=True):
        equals = np.argwhere(table <= bound)
        if len(equals):
            shown = np.broadcast_to(accuracy, table.shape)[tuple(equals.T)]
            groups = equals[shown >= shown.max() - slack(1.0)].tolist()
            return _choice(costs, min(groups, key=lambda group: _place(costs, group)), bound, limit)
    message = "no group within its own least latency"
    raise AssertionError(message)


def _place(costs: Costs, group: list[int]) -> list[int]:
    """Where a group stands among its equals; see the top of this file."""
    if len(group) == 4:  # noqa: PLR2004 - the axes of `Tables.one`: a cloud's place comes after the first cut
        variant, station, codec, cut = group
        return [variant, min(station, costs.edges), codec, cut, station]
    return group


def _choice(costs: Costs, group: list[int], bound: float, limit: float) -> Choice:
    """The plan of a group: with two hops, the first cloud and the smallest second cut that keep both limits."""
    if len(group) == 1:
        end = int(costs.blocks[group[0]])
        return Choice(group[0], None, None, (), end, end)
    if len(group) == 4:  # noqa: PLR2004 - the axes of `Tables.one`
        variant, station, codec, cut = group
        if station < costs.edges:
            return Choice(variant, station, None, (codec,), cut, int(costs.blocks[variant]))
        return Choice(variant, None, station - costs.edges, (codec,), cut, cut)
    variant, edge, codec, second_codec, cut = group
    before = costs.device[variant, cut] + costs.first[variant, edge, codec, cut]
    middle = np.concatenate(([0.0], costs.edge_queue[edge] + np.cumsum(costs.edge_steps[variant, edge, cut:])))
    hop = costs.second[variant, edge, :, second_codec, cut:]
    finish = costs.finish[variant, costs.edges :, cut:]
    keeps = np.maximum(np.maximum(middle, hop), finish) <= limit
    total = np.where(keeps, before + middle + hop + finish, np.inf)
    equals = np.argwhere(total <= bound)
    cloud, offset = equals[0] if len(equals) else np.unravel_index(total.argmin(), total.shape)
    return Choice(variant, edge, int(cloud), (codec, second_codec), cut, cut + int(offset))
