"""Whether a stream's problem is still about the one that was solved last: then so is its answer, and nothing is solved.

Figures are compared with those of the problem that was solved, not with the last ones, so that many small moves add up.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tiercut.planner import Answer, Problem
from tiercut.planner.alternatives import alternatives
from tiercut.planner.answer_form import AnswerForm, form_of
from tiercut.planner.objectives import Floats
from tiercut.planner.problem import Link, Node

#: Figures that have moved by less than this part say the same: a plan that is better by less is not worth a change.
SAME = 0.05
#: … as do times, below this: timers and schedulers are all that differs.
SAME_S = 0.0005
#: Blocks that take less differ in nothing.
TINY_S = 1e-6
#: A deadline that has moved by less than this part of that is the same.
OF_DEADLINE = 0.2
#: An answer is found anew after this long in any case; before this long only where figures move by more than that: what
#: changes abruptly is told by itself.
STANDS_S, SOON_S, MUCH = 15.0, 1.0, 0.25
#: Plans are compared anew, where hardly anything but figures has changed, after this long.
COMPARED_S = 10.0


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
        age_s = now_s - self.at_s
        return (
            age_s < STANDS_S and facts == self.facts and alike(self.problem, problem, SAME if age_s >= SOON_S else MUCH)
        )


@dataclass(frozen=True, slots=True)
class Compared:
    """The plans that a stream is compared with, by kind: found again where its problem has moved, not too often."""

    problem: Problem
    answers: Mapping[str, AnswerForm]
    at_s: float

    @classmethod
    def of(cls, problem: Problem, known: Compared | None, now_s: float) -> Compared:
        """Those of a problem: the known ones, if they are of one like it."""
        if known is not None and alike(known.problem, problem, SAME if now_s - known.at_s >= COMPARED_S else math.inf):
            return known
        return cls(problem, {kind: form_of(answer) for kind, answer in alternatives(problem).items()}, now_s)


def alike(one: Problem, other: Problem, part: float = SAME) -> bool:
    """Whether two problems of one stream differ by hardly anything; they have the same variants.

    Args:
        one: The first.
        other: The second.
        part: What figures may have moved by, as a part of them; infinite where only nodes and links count.
    """
    same = one.objective is other.objective and one.codecs == other.codecs and one.min_noise == other.min_noise
    return (
        same
        and (one.min_first_cut, one.max_accuracy_drop) == (other.min_first_cut, other.max_accuracy_drop)
        and _waits(one) == _waits(other)
        and near(one.deadline_seconds, other.deadline_seconds, OF_DEADLINE * part)
        and _alike_links(one.links, other.links, part)
        and len(one.nodes) == len(other.nodes)
        and all(_alike_nodes(node, node_now, part) for node, node_now in zip(one.nodes, other.nodes, strict=True))
    )


def _waits(problem: Problem) -> str | None:
    """Who waits for results."""
    return None if problem.way_back is None else problem.way_back.destination


def near(one: float | None, other: float | None, part: float = SAME, *, least: float = 0.0) -> bool:
    """Whether two figures differ by hardly anything; one that is not known is not like one that is."""
    if one is None or other is None:
        return one is other
    if part == math.inf:
        return True
    return abs(one - other) <= max(part * abs(one), least)


def _alike_links(one: Mapping[tuple[str, str], Link], other: Mapping[tuple[str, str], Link], part: float) -> bool:
    return one.keys() == other.keys() and all(
        near(link.mbps, other[ends].mbps, part)
        and near(link.latency_seconds, other[ends].latency_seconds, part, least=SAME_S)
        for ends, link in one.items()
    )


def _alike_nodes(one: Node, other: Node, part: float) -> bool:
    return (
        one.id == other.id
        and near(one.slowdown, other.slowdown, part)
        and near(one.queue_seconds, other.queue_seconds, part, least=SAME_S)
        and near(one.power_watts, other.power_watts, part)
        and (one.memory_mb, one.memory_taken_mb, one.loaded) == (other.memory_mb, other.memory_taken_mb, other.loaded)
        and _alike_blocks(one.block_seconds, other.block_seconds, part)
    )


def _alike_blocks(one: Mapping[str, Floats], other: Mapping[str, Floats], part: float) -> bool:
    return one.keys() == other.keys() and all(
        seconds.shape == other[name].shape
        and (part == math.inf or bool(np.all(np.abs(seconds - other[name]) <= part * seconds + TINY_S)))
        for name, seconds in one.items()
    )
