"""The plans that a stream is compared with: each kind's best, under the same objective and constraints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tiercut.planner.best import solve_parsed
from tiercut.planner.plan_cost import slack
from tiercut.planner.problem import Objective, Problem, parse

DEVICE_ONLY, EDGE_ONLY, CLOUD_ONLY, ONE_CUT = "device-only", "edge-only", "cloud-only", "best-single-cut"
ALTERNATIVES = (DEVICE_ONLY, EDGE_ONLY, CLOUD_ONLY, ONE_CUT)

#: What each objective compares by, in order; the sign that makes less better.
KEYS: dict[Objective, tuple[tuple[str, int], ...]] = {
    "latency": (("latency_seconds", 1),),
    "accuracy": (("accuracy", -1), ("latency_seconds", 1)),
    "energy": (("energy_joules", 1), ("latency_seconds", 1)),
    "throughput": (("bottleneck_seconds", 1), ("latency_seconds", 1)),
}


def alternatives(problem: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The best answer of each kind.

    ``device-only``; ``edge-only`` and ``cloud-only``, where the device runs ``min_first_cut`` blocks and no more (the
    cloud directly or through a relaying edge); ``best-single-cut``, as Neurosurgeon would choose: one cut or none,
    anywhere. Variant, nodes and codecs are free in all of them. A kind with no plan within the constraints has the
    answer of `solve` for that: ``feasible`` false.

    Raises:
        SettingsError: the problem is not valid.
    """
    parsed = parse(problem)
    bare = parsed.min_first_cut
    return {
        DEVICE_ONLY: solve_parsed(replace(parsed, edges=(), clouds=())),
        EDGE_ONLY: solve_parsed(replace(_to_edge(parsed), max_first_cut=bare)),
        CLOUD_ONLY: solve_parsed(replace(_to_cloud(parsed), max_first_cut=bare)),
        ONE_CUT: one_cut(parsed),
    }


def one_cut(problem: Problem) -> dict[str, Any]:
    """The best answer with one cut or none, anywhere."""
    return better(problem, solve_parsed(_to_edge(problem)), solve_parsed(_to_cloud(problem)))


def _to_edge(problem: Problem) -> Problem:
    return replace(problem, clouds=())


def _to_cloud(problem: Problem) -> Problem:
    """Edges relay at most."""
    return replace(problem, edges=tuple(replace(edge, block_seconds={}) for edge in problem.edges))


def better(problem: Problem, one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """The better of two answers, the first where they are equal in all that the objective looks at and in hops."""
    if one["feasible"] != other["feasible"]:
        return one if one["feasible"] else other
    if one["latency_seconds"] is None or other["latency_seconds"] is None:
        return other if one["latency_seconds"] is None else one
    for name, sign in KEYS[problem.objective if one["feasible"] else "latency"]:
        gain = sign * (one[name] - other[name])
        if abs(gain) > slack(max(abs(one[name]), abs(other[name]))):
            return other if gain > 0 else one
    return other if len(other["codecs"]) < len(one["codecs"]) else one
