"""The planning problem of one stream, from what is known of its site; and the planner's answer as a plan."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from tiercut.coordinator.view import NodeView, SiteView
from tiercut.cuts import CutPoint
from tiercut.plan import Plan
from tiercut.profiles import Profile, codec_rows

FORMAT = "tiercut-plan-problem/1"
VARIANT = "full"

Objective = Literal["latency", "throughput", "energy"]
OBJECTIVES: tuple[Objective, ...] = get_args(Objective)


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamGoal:
    """A stream that wants a plan.

    Attributes:
        name: Its name.
        model: Identity of its model.
        model_name: The model's name.
        cuts: The model's cut points.
        device: Node id of its device.
        objective: What is best.
        min_first_cut: Least cut on the device; raw frames stay there with 1 or more.
        codecs: Names that may be used; accuracy is not measured yet, so the owner says what is good enough.
    """

    name: str
    model: str
    model_name: str
    cuts: tuple[CutPoint, ...]
    device: str
    objective: Objective = "latency"
    min_first_cut: int = 0
    codecs: tuple[str, ...] = ("int8+zstd", "jpeg")

    @property
    def end(self) -> int:
        """Last cut of its model."""
        return len(self.cuts) - 1


def build(goal: StreamGoal, view: SiteView, now_s: float) -> dict[str, Any] | None:
    """The problem now; ``None`` while the stream's device is not there or has no profile."""
    device = view.nodes.get(("device", goal.device))
    if device is None or not device.online or goal.model not in device.profiles:
        return None
    edges, clouds = view.online("edge", goal.model), view.online("cloud", goal.model)
    nodes = [device, *edges, *clouds]
    profile = device.profiles[goal.model]
    return {
        "format": FORMAT,
        "model": {
            "name": goal.model_name,
            "variants": [{"name": VARIANT, "accuracy": 1.0, "cut_bytes": [cut.bytes for cut in goal.cuts]}],
        },
        "nodes": [_node(node, goal.model, now_s) for node in nodes],
        "links": [_link(view, start, to, now_s) for start, to in _hops(device, edges, clouds)],
        "codecs": _codecs(profile, goal),
        "objective": goal.objective,
        "constraints": {"min_first_cut": goal.min_first_cut} if goal.min_first_cut else {},
    }


def as_plan(answer: Mapping[str, Any], *, epoch: int) -> Plan:
    """The planner's answer as a plan."""
    return Plan(
        epoch=epoch,
        first_cut=answer["first_cut"],
        second_cut=answer["second_cut"],
        device=answer["device"],
        edge=answer["edge"],
        cloud=answer["cloud"],
        codecs=tuple(name.partition("@")[0] for name in answer["codecs"]),
    )


def as_choice(plan: Plan) -> dict[str, Any]:
    """A plan in the form that the planner's ``evaluate`` takes."""
    cuts = {"device": plan.first_cut, "edge": plan.second_cut}
    return {
        "variant": VARIANT,
        "edge": plan.edge,
        "cloud": plan.cloud,
        "first_cut": plan.first_cut,
        "second_cut": plan.second_cut,
        "codecs": [
            name if name == "raw" else f"{name}@{cuts[start]}"
            for name, (start, _) in zip(plan.codecs, plan.hops, strict=True)
        ],
    }


def _node(node: NodeView, model: str, now_s: float) -> dict[str, Any]:
    load = node.load.estimate(now_s)
    return {
        "id": node.node,
        "tier": node.tier,
        "block_seconds": {VARIANT: list(node.load.corrected_blocks(node.profiles[model]))},
        "slowdown": load.slowdown,
        "queue_seconds": load.queue_seconds,
        "power_watts": node.power_watts,
    }


def _hops(device: NodeView, edges: list[NodeView], clouds: list[NodeView]) -> Iterable[tuple[NodeView, NodeView]]:
    for edge in edges:
        yield device, edge
        for cloud in clouds:
            yield edge, cloud
    if device.reaches_cloud:
        for cloud in clouds:
            yield device, cloud


def _link(view: SiteView, start: NodeView, to: NodeView, now_s: float) -> dict[str, Any]:
    estimate = view.link(start, to, now_s)
    return {
        "from": start.node,
        "to": to.node,
        "latency_seconds": max(0.0, estimate.latency_seconds),
        "mbps": estimate.mbps,
    }


def _codecs(profile: Profile, goal: StreamGoal) -> list[dict[str, Any]]:
    """One entry per codec and cut, as a ratio depends on the cut; names in a problem are unique, hence ``@cut``."""
    rows = [row for row in codec_rows(profile) if row["name"] in goal.codecs]
    return [row | {"name": f"{row['name']}@{row['cuts'][0]}"} for row in rows]
