"""The planning problem of one stream, from what is known of its site; and the planner's answer as a plan."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from tiercut.coordinator.memory import with_memory
from tiercut.coordinator.node_view import NodeView
from tiercut.coordinator.site_view import SiteView
from tiercut.coordinator.stream_goal import UNMEASURED, StreamGoal, leaving_at
from tiercut.coordinator.variant_costs import Chain, chains_of
from tiercut.estimate.links import LinkEstimate
from tiercut.plan import Deadline, Plan, name_of, node_id
from tiercut.planner.answer import Answer, Choice
from tiercut.planner.objectives import LATENCY, OBJECTIVES
from tiercut.planner.problem import RAW, Codec, Link, Node, Problem, Variant
from tiercut.planner.way_back import way_back_to
from tiercut.profiling.codec_choice import problem_codecs
from tiercut.profiling.profile import Profile, codec_rows, named_by_cut

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
    margin_s: float = 0.0,
    plans: Iterable[Plan] = (),
) -> Problem | None:
    """The problem now; ``None`` while the stream's device is offline or has no profile.

    Args:
        goal: What the stream wants.
        view: What is known of its site.
        now_s: When.
        margin_s: Part of the stream's deadline to keep free.
        plans: Plans that are to be judged as well: their codecs are in it in any case.
    """
    device = _device(goal, view)
    if device is None:
        return None
    others = _others(goal, view)
    profile = device.profiles[goal.model]
    chains = chains_of(goal)
    keep = frozenset(name for plan in plans for name in as_choice(plan).codecs)
    problem = Problem(
        name=goal.model_name,
        variants=_variants(goal, chains, [device, *others]),
        device=_node(device, goal, chains, now_s),
        edges=tuple(_node(node, goal, chains, now_s) for node in others if node.tier == "edge"),
        clouds=tuple(_node(node, goal, chains, now_s) for node in others if node.tier == "cloud"),
        links={(start.id, to.id): _link(view, start, to, now_s) for start, to in _hops(device, others)},
        codecs=(RAW, *_codecs(profile, goal, keep)),
        objective=OBJECTIVES[goal.objective],
        min_first_cut=goal.min_first_cut,
        deadline_seconds=None if goal.deadline_s is None else max(0.0, goal.deadline_s - margin_s),
        max_accuracy_drop=None if goal.max_drop is None else max(0.0, goal.max_drop - lost_to_exits(goal)),
        min_noise=goal.min_noise or None,
    )
    if goal.results_to is None or (goal.results_to == "cloud" and not problem.clouds):
        return problem  # without a node there, nobody knows how far the cloud is
    return replace(problem, way_back=way_back_to(goal.results_to, problem.nodes, problem.links))


def lost_to_exits(goal: StreamGoal) -> float:
    """Accuracy that is given away by frames that leave early."""
    if goal.exit_threshold is None:
        return 0.0
    return max(0.0, goal.best_accuracy - leaving_at(goal.leaving, goal.exit_threshold).accuracy)


def without_deadline(problem: Problem) -> Problem:
    """The problem of a stream whose deadline no plan meets: the fastest plan within all else."""
    return replace(problem, objective=LATENCY, deadline_seconds=None)


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


def as_plan(answer: Answer, *, epoch: int, threshold: float | None = None, deadline: Deadline | None = None) -> Plan:
    """The planner's answer, which has a plan, as frames carry it."""
    choice = answer.choice
    assert choice is not None  # noqa: S101 - nobody follows what is not possible
    return Plan(
        epoch=epoch,
        first_cut=choice.first_cut,
        second_cut=choice.second_cut,
        exit=choice.variant,
        threshold=threshold,
        deadline=deadline,
        device=name_of(answer.device),
        edge=None if choice.edge is None else name_of(choice.edge),
        cloud=None if choice.cloud is None else name_of(choice.cloud),
        codecs=tuple(name.partition("@")[0] for name in choice.codecs),
    )


def as_choice(plan: Plan) -> Choice:
    """A plan by the names of its stream's problem."""
    cuts = {"device": plan.first_cut, "edge": plan.second_cut}
    return Choice(
        variant=plan.exit,
        edge=None if plan.edge is None else node_id("edge", plan.edge),
        cloud=None if plan.cloud is None else node_id("cloud", plan.cloud),
        first_cut=plan.first_cut,
        second_cut=plan.second_cut,
        codecs=tuple(
            name if name == RAW.name else f"{name}@{cuts[start]}"
            for name, (start, _) in zip(plan.codecs, plan.hops, strict=True)
        ),
    )


def _variants(goal: StreamGoal, chains: Sequence[Chain], nodes: Sequence[NodeView]) -> tuple[Variant, ...]:
    """The ways through the model, with what their blocks hold where a node has a limit for that."""
    variants = tuple(chain.variant() for chain in chains)
    if all(node.memory_mb is None for node in nodes):
        return variants
    profiles = [node.profiles[goal.model] for node in nodes]
    return tuple(with_memory(each, chain, goal, profiles) for each, chain in zip(variants, chains, strict=True))


def _node(node: NodeView, goal: StreamGoal, chains: Sequence[Chain], now_s: float) -> Node:
    load, profile = node.load.estimate(now_s), node.profiles[goal.model]
    seconds = {chain.name: chain.block_seconds(profile, node.load, goal) for chain in chains}
    return Node(
        id=node.id,
        tier=node.tier,
        block_seconds={name: blocks for name, blocks in seconds.items() if blocks is not None},
        slowdown=load.slowdown,
        queue_seconds=load.queue_seconds,
        power_watts=node.power_watts,
        memory_mb=node.memory_mb,
    )


def _device(goal: StreamGoal, view: SiteView) -> NodeView | None:
    device = view.nodes.get(("device", goal.device))
    return device if device is not None and device.online and goal.model in device.profiles else None


def _others(goal: StreamGoal, view: SiteView) -> list[NodeView]:
    """Edges and cloud nodes that may take part."""
    return [*view.online("edge", goal.model), *view.online("cloud", goal.model)]


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


def before_doubts(problem: Problem, view: SiteView, now_s: float) -> Problem:
    """The problem as it is if hops that are only assumed to have got worse have not."""
    links = {
        (node_id(*start), node_id(*to)): _link_of(estimate, view.stalls_s(start, to, now_s))
        for (start, to), estimate in view.before_doubts(now_s).items()
    }
    return replace(problem, links={ends: links.get(ends, link) for ends, link in problem.links.items()})


def _link(view: SiteView, start: NodeView, to: NodeView, now_s: float) -> Link:
    return _link_of(view.link(start, to, now_s), view.stalls_s(start.key, to.key, now_s))


def _link_of(estimate: LinkEstimate, stalls_s: float) -> Link:
    envelope_s = ENVELOPE_BYTES * 8e-6 / estimate.mbps
    return Link(max(0.0, estimate.latency_seconds) + HANDOVER_S + envelope_s + stalls_s, estimate.mbps)


def _codecs(profile: Profile, goal: StreamGoal, keep: frozenset[str]) -> list[Codec]:
    """One per codec and cut, as a ratio depends on the cut; names in a problem are unique, hence ``@cut``."""
    if goal.table is None:
        return [named_by_cut(row) for row in codec_rows(profile) if row.name in (goal.codecs or UNMEASURED)]
    key = (id(profile), keep)
    known = goal.chosen_codecs.get(key)
    if known is None or known[0] is not profile:
        if len(goal.chosen_codecs) >= KEPT_CHOICES:
            goal.chosen_codecs.clear()
        rows = problem_codecs(goal.table, profile, names=goal.codecs, max_accuracy_drop=goal.max_drop, keep=keep)
        if goal.has_sizes:  # a codec that was trained for one size takes no other
            rows = [row for row in rows if row.name.partition("@")[0] not in goal.learned]
        known = goal.chosen_codecs[key] = profile, rows
    return known[1]
