"""How streams slow each other: every node and link is shared, and slower the more of its time is taken.

A stream that sends r frames a second, each of which keeps a node (or a line) busy for s seconds, takes the part r·s of
its time. With the part u taken by the *other* streams, a stage lasts s / (1 - u): the mean of a processor that serves
all its jobs in turns (M/G/1 processor sharing; Kleinrock, Queueing Systems II, chapter 4). A stream's own frames come
one after the other and do not stand in each other's way. Above u = 0.9 the curve goes on as a straight line, so that
what is overloaded is always worse than what is not, and more overloaded is worse still.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from tiercut.planner.answer import Choice
from tiercut.planner.plan_cost import stages_of
from tiercut.planner.plan_lookup import index_of
from tiercut.planner.problem import Link, Node, Problem

#: Part of the time taken from which the curve is straight.
STRAIGHT_FROM = 0.9

#: What is taken, by node id or by both ids of a link with an arrow, as in ``stages[].where``.
Load = Mapping[str, float]


def stretch(taken: float) -> float:
    """Factor on a stage's time where the others take a share ``taken`` (1 is all of the time)."""
    if taken <= STRAIGHT_FROM:
        return 1 / (1 - taken)
    free = 1 - STRAIGHT_FROM
    return 1 / free + (taken - STRAIGHT_FROM) / free**2


def taken_by(problem: Problem, choice: Choice, frames_per_second: float) -> dict[str, float]:
    """The part of its time that a plan takes of each node (id) and link (``from -> to``) that it has to itself.

    Raises:
        SettingsError: the plan is not possible in the problem.
    """
    stages = stages_of(problem, index_of(problem, choice))
    return {stage.where: frames_per_second * stage.busy_seconds for stage in stages}


def beside(problem: Problem, others: Load) -> Problem:
    """The problem as one stream sees it beside the others: with nodes and links slowed by what those take of them.

    What others take is modelled here, so the wait that was measured at their nodes is not counted once more.
    """

    def seen(node: Node) -> Node:
        taken = others.get(node.id)
        return replace(node, slowdown=node.slowdown * stretch(taken), queue_seconds=0.0) if taken else node

    def crossed(where: str, link: Link) -> Link:
        taken = others.get(where)
        return replace(link, mbps=link.mbps / stretch(taken)) if taken else link

    links = {(start, end): crossed(f"{start} -> {end}", link) for (start, end), link in problem.links.items()}
    return replace(problem.with_nodes(seen), links=links)
