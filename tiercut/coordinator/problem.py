"""The planning problem of one stream, from what is known of its site; and the planner's answer as a plan."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from tiercut.coordinator.view import NodeKey, NodeView, SiteView
from tiercut.cuts import CutPoint
from tiercut.plan import Plan, name_of, node_id
from tiercut.profiles import Profile, codec_rows

FORMAT = "tiercut-plan-problem/1"
VARIANT = "full"

#: What a hop costs besides its wire: the receiver takes the frame in and hands it to a thread. On shaped links
#: predictions were 1 ms per hop too low without it (docs/benchmarks.md).
HANDOVER_S = 0.001

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


def build(
    goal: StreamGoal, view: SiteView, now_s: float, *, without: Collection[NodeKey] = ()
) -> dict[str, Any] | None:
    """The problem now; ``None`` while the stream's device is not there or has no profile.

    Args:
        goal: What the stream wants.
        view: What is known of its site.
        now_s: When.
        without: Nodes that are not to be used.
    """
    device = _device(goal, view)
    if device is None:
        return None
    nodes = [device, *_others(goal, view, without)]
    profile = device.profiles[goal.model]
    return {
        "format": FORMAT,
        "model": {
            "name": goal.model_name,
            "variants": [{"name": VARIANT, "accuracy": 1.0, "cut_bytes": [cut.bytes for cut in goal.cuts]}],
        },
        "nodes": [_node(node, goal.model, now_s) for node in nodes],
        "links": [_link(view, start, to, now_s) for start, to in _hops(device, nodes[1:])],
        "codecs": _codecs(profile, goal),
        "objective": goal.objective,
        "constraints": {"min_first_cut": goal.min_first_cut} if goal.min_first_cut else {},
    }


def hops(goal: StreamGoal, view: SiteView) -> Iterable[tuple[NodeView, NodeView]]:
    """The hops that a plan of a stream could take now."""
    device = _device(goal, view)
    return () if device is None else _hops(device, _others(goal, view))


def missing(goal: StreamGoal, view: SiteView) -> str:
    """Why there is no problem to solve, and what to do about it."""
    device = view.nodes.get(("device", goal.device))
    if device is None:
        return f"device '{goal.device}' has not been heard of: start it, or correct the name in the hub's settings"
    if not device.online:
        return f"device '{goal.device}' is gone"
    if goal.model not in device.models.values():
        had = ", ".join(sorted(device.models)) or "none"
        return (
            f"device '{goal.device}' does not have the model '{goal.model_name}' ({goal.model[:12]}), it has {had}: "
            f"give it the hub's bundle"
        )
    return f"waiting for the profile of '{goal.model_name}' from device '{goal.device}'"


def as_plan(answer: Mapping[str, Any], *, epoch: int) -> Plan:
    """The planner's answer as a plan."""
    return Plan(
        epoch=epoch,
        first_cut=answer["first_cut"],
        second_cut=answer["second_cut"],
        device=name_of(answer["device"]),
        edge=None if answer["edge"] is None else name_of(answer["edge"]),
        cloud=None if answer["cloud"] is None else name_of(answer["cloud"]),
        codecs=tuple(name.partition("@")[0] for name in answer["codecs"]),
    )


def as_choice(plan: Plan) -> dict[str, Any]:
    """A plan in the form that the planner's ``evaluate`` takes."""
    cuts = {"device": plan.first_cut, "edge": plan.second_cut}
    return {
        "variant": VARIANT,
        "edge": None if plan.edge is None else node_id("edge", plan.edge),
        "cloud": None if plan.cloud is None else node_id("cloud", plan.cloud),
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
        "id": node.id,
        "tier": node.tier,
        "block_seconds": {VARIANT: list(node.load.corrected_blocks(node.profiles[model]))},
        "slowdown": load.slowdown,
        "queue_seconds": load.queue_seconds,
        "power_watts": node.power_watts,
    }


def _device(goal: StreamGoal, view: SiteView) -> NodeView | None:
    device = view.nodes.get(("device", goal.device))
    return device if device is not None and device.online and goal.model in device.profiles else None


def _others(goal: StreamGoal, view: SiteView, without: Collection[NodeKey] = ()) -> list[NodeView]:
    """Edges and cloud nodes that may take part."""
    found = [*view.online("edge", goal.model), *view.online("cloud", goal.model)]
    return [node for node in found if node.key not in without]


def _hops(device: NodeView, others: list[NodeView]) -> Iterable[tuple[NodeView, NodeView]]:
    edges = [node for node in others if node.tier == "edge"]
    clouds = [node for node in others if node.tier == "cloud"]
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
        "from": start.id,
        "to": to.id,
        "latency_seconds": max(0.0, estimate.latency_seconds) + HANDOVER_S,
        "mbps": estimate.mbps,
    }


def _codecs(profile: Profile, goal: StreamGoal) -> list[dict[str, Any]]:
    """One entry per codec and cut, as a ratio depends on the cut; names in a problem are unique, hence ``@cut``."""
    rows = [row for row in codec_rows(profile) if row["name"] in goal.codecs]
    return [row | {"name": f"{row['name']}@{row['cuts'][0]}"} for row in rows]
