"""The plans that a stream is compared with: each kind's best, under the same objective and constraints."""

from __future__ import annotations

from dataclasses import replace

from tiercut.planner.answer import Answer
from tiercut.planner.best import solve
from tiercut.planner.objectives import LATENCY
from tiercut.planner.plan_cost import slack
from tiercut.planner.problem import Problem

DEVICE_ONLY, EDGE_ONLY, CLOUD_ONLY, ONE_CUT = "device-only", "edge-only", "cloud-only", "best-single-cut"


def alternatives(problem: Problem) -> dict[str, Answer]:
    """The best answer of each kind.

    ``device-only``; ``edge-only`` and ``cloud-only``, where the device runs ``min_first_cut`` blocks and no more (the
    cloud directly or through a relaying edge); ``best-single-cut``, as Neurosurgeon would choose: one cut or none,
    anywhere. Variant, nodes and codecs are free in all of them. A kind with no plan within the constraints has the
    answer of `solve` for that: one that is not feasible.
    """
    bare = problem.min_first_cut
    return {
        DEVICE_ONLY: solve(replace(problem, edges=(), clouds=())),
        EDGE_ONLY: solve(replace(_to_edge(problem), max_first_cut=bare)),
        CLOUD_ONLY: solve(replace(_to_cloud(problem), max_first_cut=bare)),
        ONE_CUT: one_cut(problem),
    }


def one_cut(problem: Problem) -> Answer:
    """The best answer with one cut or none, anywhere."""
    return better(problem, solve(_to_edge(problem)), solve(_to_cloud(problem)))


def _to_edge(problem: Problem) -> Problem:
    return replace(problem, clouds=())


def _to_cloud(problem: Problem) -> Problem:
    """Edges relay at most."""
    return replace(problem, edges=tuple(replace(edge, block_seconds={}) for edge in problem.edges))


def better(problem: Problem, one: Answer, other: Answer) -> Answer:
    """The better of two answers, the first where they are equal in all that the objective looks at and in hops."""
    if one.feasible != other.feasible:
        return one if one.feasible else other
    if one.choice is None or other.choice is None:
        return other if one.choice is None else one
    for objective in (problem.objective, LATENCY) if one.feasible else (LATENCY,):
        gain = objective.gain(one, other)
        if abs(gain) > slack(max(abs(objective.value(one)), abs(objective.value(other)))):
            return other if gain > 0 else one
    return other if other.hops < one.hops else one
