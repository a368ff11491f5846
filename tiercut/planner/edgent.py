"""Edgent's own rule, to compare with: one cut, raw tensors, the most accurate exit that meets the deadline.

Li, Zhou and Chen, "Edge intelligence: on-demand deep learning model co-inference with device-edge synergy" (MECOMM
2018), algorithm 1, and its journal version (IEEE TWC 2020), static configuration: exit and cut are fixed for a stream.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from tiercut.planner.alternatives import one_cut
from tiercut.planner.answer import Answer
from tiercut.planner.objectives import LATENCY
from tiercut.planner.plan_cost import slack
from tiercut.planner.problem import RAW, Codec, Problem, Variant


def edgent(problem: Problem, *, coded: bool = False) -> Answer:
    """The plan that Edgent's rule takes, whatever the problem's objective.

    Exits are tried from the most accurate down. For each, the cut of least latency is found, between the device and one
    other node (an edge, or a cloud that an edge may relay to), with all on the device and all on that node among them;
    nothing is encoded. The first that meets the deadline is taken.

    Args:
        problem: The problem.
        coded: With the problem's codecs, and its limit on what exit and codecs give away together, which the paper
            does not have.

    Returns:
        The answer. Where no exit meets the deadline it is not feasible, and the plan is the fastest of those that were
        tried.
    """
    bare = replace(problem, objective=LATENCY, max_accuracy_drop=None)
    tried: list[Answer] = []
    for variant in _most_accurate_first(problem):
        codecs = tuple(_within(problem, variant)) if coded else (RAW,)
        tried.append(one_cut(replace(bare, codecs=codecs, variants=(variant,))))
        if tried[-1].feasible:
            return tried[-1]
    return min(tried, key=lambda answer: answer.latency_seconds)


def _within(problem: Problem, variant: Variant) -> Iterable[Codec]:
    """The codecs that lose no more than the limit leaves to one cut of a variant."""
    limit = problem.max_accuracy_drop
    left = 1.0 if limit is None else limit - (problem.best_accuracy - variant.accuracy) + slack(1.0)
    return (codec for codec in problem.codecs if codec.accuracy_drop <= left)


def _most_accurate_first(problem: Problem) -> Iterable[Variant]:
    """The variants that are accurate enough."""
    allowed = problem.max_accuracy_drop
    floor = 0.0 if allowed is None else problem.best_accuracy - allowed - slack(1.0)
    enough = [variant for variant in problem.variants if variant.accuracy >= floor]
    return sorted(enough, key=lambda variant: -variant.accuracy)
