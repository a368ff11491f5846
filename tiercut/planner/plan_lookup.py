"""A plan that someone gives by name: checked against a problem, as positions in its lists."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tiercut.planner.answer import Choice
from tiercut.planner.plan_cost import PlanIndex, usable
from tiercut.planner.problem import Node, Problem
from tiercut.planner.reading import Reader

READER = Reader("planning problem")


def index_of(problem: Problem, choice: Choice) -> PlanIndex:
    """Find a plan's names in a problem.

    Raises:
        SettingsError: a name is unknown, the cuts do not fit the variant, a link is missing, a node cannot run its
            segment, or a codec may not be used at its cut.
    """
    known = [codec.name for codec in problem.codecs]
    found = PlanIndex(
        variant=_position(choice.variant, [variant.name for variant in problem.variants], "plan.variant"),
        edge=_node_position(choice.edge, problem.edges, "plan.edge"),
        cloud=_node_position(choice.cloud, problem.clouds, "plan.cloud"),
        codecs=tuple(_position(name, known, f"plan.codecs[{hop}]") for hop, name in enumerate(choice.codecs)),
        first_cut=choice.first_cut,
        second_cut=choice.second_cut,
    )
    _check_cuts(problem, found)
    _check_route(problem, found)
    return found


def _check_cuts(problem: Problem, plan: PlanIndex) -> None:
    """The cuts fit the variant and the tiers that take part."""
    end, first, second = problem.variants[plan.variant].blocks, plan.first_cut, plan.second_cut
    rules = [
        (0 <= first <= second <= end, f"0 <= first_cut <= second_cut <= {end}"),
        (plan.edge is not None or first == second, "first_cut equal to second_cut where no edge takes part"),
        (plan.cloud is not None or second == end, f"second_cut {end} where no cloud takes part"),
        (plan.cloud is None or second < end, f"second_cut below {end} where a cloud takes part"),
        (plan.edge is None or first < end, f"first_cut below {end} where an edge takes part"),
    ]
    for holds, expected in rules:
        if not holds:
            READER.refuse("plan.second_cut", expected, f"first_cut {first}, second_cut {second}", "correct the cuts")


def _check_route(problem: Problem, plan: PlanIndex) -> None:
    """Links exist, nodes can run their segments, codecs may be used."""
    variant, route = problem.variants[plan.variant], plan.route(problem)
    for node, start, end in route:
        if end > start and variant.name not in node.block_seconds:
            READER.refuse("plan", f"nodes that can run '{variant.name}'", node.id, "choose another node or variant")
    last = route[-1][0].id
    if problem.way_back is not None and not math.isfinite(problem.back_seconds(last)):
        back = f"a way for the result, to the {problem.way_back.destination}"
        READER.refuse("plan", back, f"none from {last}", "choose another route")
    if len(plan.codecs) != len(route) - 1:
        READER.refuse("plan.codecs", f"one per hop, {len(route) - 1} in all", f"{len(plan.codecs)} codecs")
    for (sender, _, cut), (receiver, _, _), index in zip(route, route[1:], plan.codecs, strict=False):
        codec = problem.codecs[index]
        if (sender.id, receiver.id) not in problem.links:
            missing = f"none from {sender.id} to {receiver.id}"
            READER.refuse("plan", "a link for every hop", missing, "choose another route")
        if not usable(codec, cut, variant.blocks):
            READER.refuse("plan.codecs", f"a codec that may be used at cut {cut}", codec.name, "choose another codec")


def _node_position(name: str | None, nodes: Sequence[Node], field: str) -> int | None:
    return None if name is None else _position(name, [node.id for node in nodes], field)


def _position(name: str, known: Sequence[str], field: str) -> int:
    if name not in known:
        READER.refuse(field, f"one of {', '.join(known)}" if known else "nothing", name)
    return known.index(name)
