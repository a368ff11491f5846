"""Edgent's own rule, to compare with: one cut, raw tensors, the most accurate exit that meets the deadline.

Li, Zhou and Chen, "Edge intelligence: on-demand deep learning model co-inference with device-edge synergy" (MECOMM
2018), algorithm 1, and its journal version (IEEE TWC 2020), static configuration: exit and cut are fixed for a stream.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from tiercut.planner.alternatives import one_cut
from tiercut.planner.plan_cost import slack
from tiercut.planner.problem import RAW, Problem, Variant, parse


def edgent(problem: Mapping[str, Any]) -> dict[str, Any]:
    """The plan that Edgent's rule takes, whatever the problem's objective.

    Exits are tried from the most accurate down. For each, the cut of least latency is found, between the device and one
    other node (an edge, or a cloud that an edge may relay to), with all on the device and all on that node among them;
    nothing is encoded. The first that meets the deadline is taken.

    Returns:
        The answer in the planning problem's form. Where no exit meets the deadline, ``feasible`` is false, and the plan
        is the fastest of those that were tried.

    Raises:
        SettingsError: the problem is not valid.
    """
    parsed = parse(problem)
    bare = replace(parsed, codecs=(RAW,), objective="latency", max_accuracy_drop=None)
    tried = []
    for variant in _most_accurate_first(parsed):
        tried.append(one_cut(replace(bare, variants=(variant,))))
        if tried[-1]["feasible"]:
            return tried[-1]
    return min(tried, key=_latency)


def _most_accurate_first(problem: Problem) -> Iterable[Variant]:
    """The variants that are accurate enough."""
    allowed = problem.max_accuracy_drop
    floor = 0.0 if allowed is None else problem.best_accuracy - allowed - slack(1.0)
    enough = [variant for variant in problem.variants if variant.accuracy >= floor]
    return sorted(enough, key=lambda variant: -variant.accuracy)


def _latency(answer: Mapping[str, Any]) -> float:
    seconds = answer["latency_seconds"]
    return float("inf") if seconds is None else float(seconds)
