"""Whether a stream's problem is still about the one that was solved last: then so is its answer, and nothing is solved.

Figures are compared with those of the problem that was solved, not with the last ones, so that many small moves add up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tiercut.planner import Answer, Problem, alternatives
from tiercut.planner.document import AnswerForm, form_of
from tiercut.planner.objectives import Floats
from tiercut.planner.problem import Link, Node

#: Figures that have moved by less than this part say the same: a plan that is better by less is not worth a change.
SAME = 0.05
#: … as do times, below this: timers and schedulers are all that differs.
SAME_S = 0.0005
#: A deadline that has moved by less than this part is the same.
SAME_DEADLINE = 0.01
#: An answer is found anew after this long in any case.
STANDS_S = 15.0


@dataclass(frozen=True, slots=True)
class Judged:
    """What a stream was judged by.

    Attributes:
        problem: Its problem.
        facts: What else the judgement rests on, and what is the same or is not.
        best: The best answer.
        at_s: When.
    """

    problem: Problem
    facts: tuple[object, ...]
    best: Answer
    at_s: float

    def stands(self, problem: Problem, facts: tuple[object, ...], now_s: float) -> bool:
        """Whether a problem and what else is known have moved so little that the same would follow."""
        return now_s - self.at_s < STANDS_S and facts == self.facts and alike(self.problem, problem)


@dataclass(frozen=True, slots=True)
class Compared:
    """The plans that a stream is compared with, by kind: found again only where its problem has moved."""

    problem: Problem
    answers: Mapping[str, AnswerForm]

    @classmethod
    def of(cls, problem: Problem, known: Compared | None) -> Compared:
        """Those of a problem: the known ones, if they are of one like it."""
        if known is not None and alike(known.problem, problem):
            return known
        return cls(problem, {kind: form_of(answer) for kind, answer in alternatives(problem).items()})


def alike(one: Problem, other: Problem) -> bool:
    """Whether two problems of one stream differ by hardly anything; its variants and codecs' names are the same."""
    same = one.objective is other.objective and one.codecs == other.codecs and one.min_noise == other.min_noise
    return (
        same
        and (one.min_first_cut, one.max_accuracy_drop) == (other.min_first_cut, other.max_accuracy_drop)
        and _near_deadlines(one.deadline_seconds, other.deadline_seconds)
        and _alike_links(one.links, other.links)
        and len(one.nodes) == len(other.nodes)
        and all(map(_alike_nodes, one.nodes, other.nodes))
    )


def near(one: float | None, other: float | None, part: float = SAME, least: float = 0.0) -> bool:
    """Whether two figures differ by hardly anything; one that is not known is not like one that is."""
    if one is None or other is None:
        return one is other
    return abs(one - other) <= max(part * abs(one), least)


def _near_deadlines(one_s: float | None, other_s: float | None) -> bool:
    return near(one_s, other_s, SAME_DEADLINE)


def _alike_links(one: Mapping[tuple[str, str], Link], other: Mapping[tuple[str, str], Link]) -> bool:
    return one.keys() == other.keys() and all(
        near(link.mbps, other[ends].mbps) and near(link.latency_seconds, other[ends].latency_seconds, least=SAME_S)
        for ends, link in one.items()
    )


def _alike_nodes(one: Node, other: Node) -> bool:
    return (
        one.id == other.id
        and near(one.slowdown, other.slowdown)
        and near(one.queue_seconds, other.queue_seconds, least=SAME_S)
        and near(one.power_watts, other.power_watts)
        and _alike_blocks(one.block_seconds, other.block_seconds)
    )


def _alike_blocks(one: Mapping[str, Floats], other: Mapping[str, Floats]) -> bool:
    return one.keys() == other.keys() and all(
        seconds is other[name] or bool(np.all(np.abs(seconds - other[name]) <= SAME * seconds))
        for name, seconds in one.items()
    )
