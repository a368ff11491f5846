"""One stream on a site that it shares: what its plan takes, and its problem beside the other streams."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace

from tiercut.coordinator.problem import as_choice
from tiercut.coordinator.stream import PlannedStream
from tiercut.errors import SettingsError
from tiercut.plan import Plan, name_of, node_id
from tiercut.planner import Problem, beside, taken_by
from tiercut.planner.memory import needed_mb
from tiercut.planner.plan_lookup import index_of
from tiercut.planner.problem import Node
from tiercut.profiling.profile import Span


def taken(stream: PlannedStream, problem: Problem | None, now_s: float) -> dict[str, float]:
    """What a stream takes of nodes and links by the plans that it follows, or is about to."""
    rate = stream.rate(now_s)
    if problem is None or rate <= 0:
        return {}
    load: defaultdict[str, float] = defaultdict(float)
    for plan, share in _plans(stream):
        try:
            parts = taken_by(problem, as_choice(plan), share * rate)
        except SettingsError:  # a plan that is not possible any more takes nothing
            continue
        for where, part in parts.items():
            load[where] += part
    return dict(load)


def held(stream: PlannedStream, problem: Problem | None) -> dict[tuple[str, Span], float]:
    """What the segments need, MB, that a stream's plans run on each node (by its id), or are about to."""
    if problem is None or all(node.memory_mb is None for node in problem.nodes):
        return {}
    segments: dict[tuple[str, Span], float] = {}
    for plan, _ in _plans(stream):
        try:
            index = index_of(problem, as_choice(plan))
        except SettingsError:  # a plan that is not possible any more holds nothing
            continue
        variant = problem.variants[index.variant]
        for node, start, end in index.route(problem):
            if end > start:
                segments[node.id, Span(start, end, variant.name)] = needed_mb(variant, start, end)
    return segments


def _plans(stream: PlannedStream) -> tuple[tuple[Plan, float], ...]:
    mix = stream.pending.mix if stream.pending else stream.mix
    return () if mix is None else mix.plans


def with_memory_taken(problem: Problem, stream: PlannedStream, others: Iterable[PlannedStream]) -> Problem:
    """The problem with what others' segments hold: a node holds each for itself, but one for all streams that run it.

    So a segment of the stream's own model that is there already needs nothing more.
    """
    segments: defaultdict[str, dict[tuple[str, Span], float]] = defaultdict(dict)
    for other in others:
        for (where, segment), need_mb in other.held.items():
            segments[where][other.goal.model, segment] = need_mb
    if not segments:
        return problem

    def seen(node: Node) -> Node:
        there = segments.get(node.id, {})
        mine = (segment for model, segment in there if model == stream.goal.model)
        loaded = frozenset((segment.variant, segment.start, segment.stop) for segment in mine)
        return replace(node, memory_taken_mb=sum(there.values()), loaded=loaded)

    return problem.with_nodes(seen)


def beside_others(stream: PlannedStream, problem: Problem, others: Iterable[PlannedStream], now_s: float) -> Problem:
    """A stream's problem without the nodes that it shuns, its own frames' wait, and what the others take."""
    shunned = {node_id(*key) for key in stream.shunned if stream.is_shunned(key, now_s)}
    seen = _without_own_queues(problem.without(shunned), stream, now_s)
    others = list(others)
    seen = with_memory_taken(seen, stream, others)
    load: defaultdict[str, float] = defaultdict(float)
    for other in others:
        for where, part in other.taken.items():
            load[where] += part
    return beside(seen, load) if load else seen


def _without_own_queues(problem: Problem, stream: PlannedStream, now_s: float) -> Problem:
    """The problem without the wait for a stream's own frames, as after a change, where the node keeps up with them.

    Other streams of the site are planned beside this one; only cloud nodes have other sites' frames as well. Where the
    sensor's rate is known, no plan is chosen that does not keep up with it; frames that wait in spite of that wait for
    somebody else's.
    """

    def seen(node: Node) -> Node:
        known_s = node.queue_seconds if node.tier == "cloud" or stays(node) else 0.0
        return replace(node, queue_seconds=max(known_s, stream.kept.waits.seconds(node.id, now_s)))

    def stays(node: Node) -> bool:
        return stream.kept.offered.asked_fps is None and stream.fills((node.tier, name_of(node.id)), now_s)

    return problem.with_nodes(seen)
