"""One stream beside others that stay as they are: what they take, and the problem as it is then."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tiercut.planner.load import Load, stretch
from tiercut.planner.plan_cost import stages_of
from tiercut.planner.plan_lookup import choice_of
from tiercut.planner.problem import parse


def taken_by(problem: Mapping[str, Any], plan: Mapping[str, Any], frames_per_second: float) -> dict[str, float]:
    """The part of its time that a plan takes of each node (id) and link (``from -> to``).

    Raises:
        SettingsError: the problem is not valid, or the plan is not possible in it.
    """
    parsed = parse(problem)
    stages = stages_of(parsed, choice_of(parsed, plan))
    return {stage.where: frames_per_second * stage.busy_seconds for stage in stages}


def beside(problem: Mapping[str, Any], others: Load) -> dict[str, Any]:
    """The problem with nodes and links slowed by what others take of them (`load` says how).

    What others take is modelled here, so the wait that was measured at their nodes is not counted once more.
    """
    return {
        **problem,
        "nodes": [
            node | {"slowdown": node.get("slowdown", 1.0) * stretch(others[node["id"]])} | {"queue_seconds": 0.0}
            if others.get(node["id"])
            else node
            for node in problem["nodes"]
        ],
        "links": [
            link | {"mbps": link["mbps"] / stretch(others.get(f"{link['from']} -> {link['to']}", 0.0))}
            for link in problem["links"]
        ],
    }
