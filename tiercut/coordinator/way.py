"""The way of a frame through the nodes of its plan."""

from __future__ import annotations

from collections.abc import Iterable

from tiercut.coordinator.node_view import NodeKey
from tiercut.plan import Plan
from tiercut.protocol.frames import Stage


def along(plan: Plan, stages: Iterable[Stage]) -> Iterable[tuple[NodeKey, NodeKey | None, Stage]]:
    """Each stage with the node it belongs to, and for ``wire`` with the node that sent.

    Stages name nodes without their tier; where two tiers have a node of one name, the order of the route tells.
    """
    route: list[NodeKey] = [("device", plan.device)]
    route += [(to, name) for _, to in plan.hops if (name := plan.node(to)) is not None]
    at = 0
    for stage in stages:
        ahead = range(at + 1 if stage.kind == "wire" else at, len(route))
        found = next((index for index in ahead if route[index][1] == stage.where), None)
        if found is not None:
            at = found
            yield route[at], route[at - 1] if stage.kind == "wire" else None, stage


def route(plan: Plan) -> list[NodeKey]:
    """The nodes of a plan, in order."""
    stops: list[NodeKey] = [("device", plan.device)]
    for _, tier in plan.hops:
        name = plan.node(tier)
        if name is not None:
            stops.append((tier, name))
    return stops
