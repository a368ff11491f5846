"""A plan that someone gives by name: checked against a problem, as positions in its lists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tiercut.planner.fields import a_list, a_map, integer, refuse
from tiercut.planner.plan_cost import Choice, usable
from tiercut.planner.problem import Node, Problem


def choice_of(problem: Problem, plan: Mapping[str, Any]) -> Choice:
    """Find a plan's names in a problem.

    Raises:
        SettingsError: a name is unknown, the cuts do not fit the variant, a link is missing, a node cannot run its
            segment, or a codec may not be used at its cut.
    """
    plan = a_map(plan, "plan")
    variant = _position(plan, "variant", [item.name for item in problem.variants])
    names = a_list(plan.get("codecs", []), "plan.codecs")
    known = [codec.name for codec in problem.codecs]
    if variant is None:
        refuse("plan.variant", f"one of {', '.join(item.name for item in problem.variants)}", None)
    choice = Choice(
        variant=variant,
        edge=_position(plan, "edge", [node.id for node in problem.edges]),
        cloud=_position(plan, "cloud", [node.id for node in problem.clouds]),
        codecs=tuple(_index(name, known, f"plan.codecs[{hop}]") for hop, name in enumerate(names)),
        first_cut=integer(plan, "first_cut", "plan"),
        second_cut=integer(plan, "second_cut", "plan"),
    )
    _check_cuts(problem, choice)
    _check_route(problem, choice)
    return choice


def _check_cuts(problem: Problem, choice: Choice) -> None:
    """The cuts fit the variant and the tiers that take part."""
    end, first, second = problem.variants[choice.variant].blocks, choice.first_cut, choice.second_cut
    rules = [
        (first <= second <= end, f"0 <= first_cut <= second_cut <= {end}"),
        (choice.edge is not None or first == second, "first_cut equal to second_cut where no edge takes part"),
        (choice.cloud is not None or second == end, f"second_cut {end} where no cloud takes part"),
        (choice.cloud is None or second < end, f"second_cut below {end} where a cloud takes part"),
        (choice.edge is None or first < end, f"first_cut below {end} where an edge takes part"),
    ]
    for holds, expected in rules:
        if not holds:
            refuse("plan.second_cut", expected, f"first_cut {first}, second_cut {second}", "correct the cuts")


def _check_route(problem: Problem, choice: Choice) -> None:
    """Links exist, nodes can run their segments, codecs may be used."""
    variant = problem.variants[choice.variant]
    route: list[tuple[Node, int, int]] = [(problem.device, 0, choice.first_cut)]
    if choice.edge is not None:
        route.append((problem.edges[choice.edge], choice.first_cut, choice.second_cut))
    if choice.cloud is not None:
        route.append((problem.clouds[choice.cloud], choice.second_cut, variant.blocks))
    for node, start, end in route:
        if end > start and variant.name not in node.block_seconds:
            refuse("plan", f"nodes that can run '{variant.name}'", node.id, "choose another node or variant")
    if len(choice.codecs) != len(route) - 1:
        refuse("plan.codecs", f"one per hop, {len(route) - 1} in all", f"{len(choice.codecs)} codecs")
    for (sender, _, cut), (receiver, _, _), index in zip(route, route[1:], choice.codecs, strict=False):
        codec = problem.codecs[index]
        if (sender.id, receiver.id) not in problem.links:
            refuse("plan", "a link for every hop", f"none from {sender.id} to {receiver.id}", "choose another route")
        if not usable(codec, cut, variant.blocks):
            refuse("plan.codecs", f"a codec that may be used at cut {cut}", codec.name, "choose another codec")


def _position(plan: Mapping[str, Any], key: str, known: Sequence[str]) -> int | None:
    return None if plan.get(key) is None else _index(plan[key], known, f"plan.{key}")


def _index(name: object, known: Sequence[str], field: str) -> int:
    if name not in known:
        refuse(field, f"one of {', '.join(known)}" if known else "nothing", name)
    return known.index(str(name))
