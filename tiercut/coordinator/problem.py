"""The planning problem of one stream, from what is known of its site; and the planner's answer as a plan."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from tiercut.coordinator.site_view import NodeKey, NodeView, SiteView
from tiercut.coordinator.stream_goal import UNMEASURED, StreamGoal, leaving_at
from tiercut.coordinator.variant_costs import Chain, chains_of
from tiercut.plan import Deadline, Plan, name_of, node_id
from tiercut.profiling.codec_choice import problem_codecs
from tiercut.profiling.profile import Profile, codec_rows

FORMAT = "tiercut-plan-problem/1"

#: What a hop costs besides its wire: the receiver takes the frame in and hands it to a thread. On shaped links
#: predictions were 1 ms per hop too low without it (docs/benchmarks.md).
HANDOVER_S = 0.001
#: Choices of codecs that are kept per stream: weighing all that were measured takes longer than to plan.
KEPT_CHOICES = 8
#: What a message has besides its tensors: the plan, names, the stages so far. 530 to 590 bytes were measured, which at
#: 0.2 Mbit/s is 22 ms per hop.
ENVELOPE_BYTES = 560


def build(
    goal: StreamGoal,
    view: SiteView,
    now_s: float,
    *,
    without: Collection[NodeKey] = (),
    margin_s: float = 0.0,
    plans: Iterable[Plan] = (),
) -> dict[str, Any] | None:
    """The problem now; ``None`` while the stream's device is not there or has no profile.

    Args:
        goal: What the stream wants.
        view: What is known of its site.
        now_s: When.
        without: Nodes that are not to be used.
        margin_s: What is to be kept free of the stream's deadline.
        plans: Plans that are to be judged as well: their codecs are in it in any case.
    """
    device = _device(goal, view)
    if device is None:
        return None
    nodes = [device, *_others(goal, view, without)]
    profile = device.profiles[goal.model]
    chains = chains_of(goal)
    keep = {name for plan in plans for name in as_choice(plan)["codecs"]}
    return {
        "format": FORMAT,
        "model": {"name": goal.model_name, "variants": [chain.document() for chain in chains]},
        "nodes": [_node(node, goal, chains, now_s) for node in nodes],
        "links": [_link(view, start, to, now_s) for start, to in _hops(device, nodes[1:])],
        "codecs": _codecs(profile, goal, keep),
        "objective": goal.objective,
        "constraints": dict(_constraints(goal, margin_s)),
    }


def lost_to_exits(goal: StreamGoal) -> float:
    """Accuracy that is given away by frames that leave early."""
    if goal.exit_threshold is None:
        return 0.0
    return max(0.0, goal.best_accuracy - leaving_at(goal.leaving, goal.exit_threshold).accuracy)


def without_deadline(problem: Mapping[str, Any]) -> dict[str, Any]:
    """The problem of a stream whose deadline no plan meets: the fastest plan within all else."""
    constraints = {key: value for key, value in problem["constraints"].items() if key != "deadline_seconds"}
    return {**problem, "objective": "latency", "constraints": constraints}


def _constraints(goal: StreamGoal, margin_s: float) -> Iterable[tuple[str, float]]:
    if goal.min_first_cut:
        yield "min_first_cut", goal.min_first_cut
    if goal.deadline_s is not None:
        yield "deadline_seconds", max(0.0, goal.deadline_s - margin_s)
    if goal.max_drop is not None:
        yield "max_accuracy_drop", max(0.0, goal.max_drop - lost_to_exits(goal))
    if goal.min_noise:
        yield "min_noise", goal.min_noise


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


def as_plan(
    answer: Mapping[str, Any], *, epoch: int, threshold: float | None = None, deadline: Deadline | None = None
) -> Plan:
    """The planner's answer as a plan."""
    return Plan(
        epoch=epoch,
        first_cut=answer["first_cut"],
        second_cut=answer["second_cut"],
        exit=answer["variant"],
        threshold=threshold,
        deadline=deadline,
        device=name_of(answer["device"]),
        edge=None if answer["edge"] is None else name_of(answer["edge"]),
        cloud=None if answer["cloud"] is None else name_of(answer["cloud"]),
        codecs=tuple(name.partition("@")[0] for name in answer["codecs"]),
    )


def as_choice(plan: Plan) -> dict[str, Any]:
    """A plan in the form that the planner's ``evaluate`` takes."""
    cuts = {"device": plan.first_cut, "edge": plan.second_cut}
    return {
        "variant": plan.exit,
        "edge": None if plan.edge is None else node_id("edge", plan.edge),
        "cloud": None if plan.cloud is None else node_id("cloud", plan.cloud),
        "first_cut": plan.first_cut,
        "second_cut": plan.second_cut,
        "codecs": [
            name if name == "raw" else f"{name}@{cuts[start]}"
            for name, (start, _) in zip(plan.codecs, plan.hops, strict=True)
        ],
    }


def _node(node: NodeView, goal: StreamGoal, chains: Sequence[Chain], now_s: float) -> dict[str, Any]:
    load, profile = node.load.estimate(now_s), node.profiles[goal.model]
    seconds = {chain.name: chain.block_seconds(profile, node.load, goal) for chain in chains}
    return {
        "id": node.id,
        "tier": node.tier,
        "block_seconds": {name: blocks for name, blocks in seconds.items() if blocks is not None},
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
        "latency_seconds": max(0.0, estimate.latency_seconds) + HANDOVER_S + ENVELOPE_BYTES * 8e-6 / estimate.mbps,
        "mbps": estimate.mbps,
    }


def _codecs(profile: Profile, goal: StreamGoal, keep: Collection[str]) -> list[dict[str, Any]]:
    """One entry per codec and cut, as a ratio depends on the cut; names in a problem are unique, hence ``@cut``."""
    if goal.table is None:
        rows = [row for row in codec_rows(profile) if row["name"] in (goal.codecs or UNMEASURED)]
        return [row | {"name": f"{row['name']}@{row['cuts'][0]}"} for row in rows]
    key = (id(profile), frozenset(keep))
    known = goal.chosen_codecs.get(key)
    if known is None or known[0] is not profile:
        if len(goal.chosen_codecs) >= KEPT_CHOICES:
            goal.chosen_codecs.clear()
        rows = problem_codecs(goal.table, profile, names=goal.codecs, max_accuracy_drop=goal.max_drop, keep=keep)
        if goal.has_sizes:  # a codec that was trained for one size takes no other
            rows = [row for row in rows if row["name"].partition("@")[0] not in goal.learned]
        known = goal.chosen_codecs[key] = profile, rows
    return known[1]
