"""Memory that all plans of a site take of a node together: each segment once, whoever's frames it computes.

A program over rates cannot say that: a segment is loaded whole for one frame as for a thousand. So the site is planned
as if each plan had a node's memory to itself. Where the segments of a node then need more than it has, it keeps some of
them, and the site is planned again: a kept segment needs nothing more there, any other must fit beside those that are
kept. That is repeated until all fit. Which are kept is tried: each in turn with those that compute most frames per MB
beside it, and the choice counts that is best for the site. It need not be the best of all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from tiercut.planner.memory import CLOSE, needed_mb
from tiercut.planner.plan_lookup import index_of
from tiercut.planner.problem import Loaded, Node
from tiercut.planner.site.plan import SitePlan
from tiercut.planner.site.problem import SiteProblem, SiteStream

#: After so many times nodes keep what they have chosen, and load nothing else.
MOST_TIMES = 6

#: So many choices are tried each time, fewer on a site of many streams: so many solutions of one stream's size.
MOST_CHOICES, MOST_STREAMS = 6, 48

#: A segment of a model: models may have variants of one name.
Segment = tuple[str, Loaded]
#: What nodes keep, by node: segments with their MB; and the same as one value.
Kept = dict[str, dict[Segment, float]]
Choice = tuple[tuple[str, tuple[tuple[Segment, float], ...]], ...]


@dataclass(slots=True)
class Use:
    """What one segment does on a node.

    Attributes:
        needed_mb: MB.
        frames_per_second: Of all streams that it computes for.
    """

    needed_mb: float = 0.0
    frames_per_second: float = 0.0

    @property
    def per_mb(self) -> float:
        """Frames per second and MB."""
        return self.frames_per_second / max(self.needed_mb, CLOSE)


@dataclass(slots=True)
class NodeUse:
    """The segments that plans run on a node with a limit, of those that it does not have already.

    Attributes:
        free_mb: What they may take together.
        segments: What each does.
    """

    free_mb: float
    segments: dict[Segment, Use] = field(default_factory=dict)

    @property
    def overfull(self) -> bool:
        """They need more than there is."""
        return self.taken_mb > self.free_mb * (1 + CLOSE)

    @property
    def taken_mb(self) -> float:
        """What they need together."""
        return sum(use.needed_mb for use in self.segments.values())

    def chosen(self, kept: Mapping[Segment, float], first: Segment | None = None) -> dict[Segment, float]:
        """Those that it keeps, with their MB: what it kept before, then one, then what computes most frames per MB."""
        found, left_mb = dict(kept), self.free_mb * (1 + CLOSE) - sum(kept.values())
        for segment in sorted(self.segments, key=lambda each: (each != first, -self.segments[each].per_mb, each)):
            need_mb = self.segments[segment].needed_mb
            if segment not in found and need_mb <= left_mb:
                found[segment] = need_mb
                left_mb -= need_mb
        return found


def within_memory(site: SiteProblem, planned: Callable[[SiteProblem], SitePlan]) -> SitePlan:
    """A plan whose segments all fit.

    Args:
        site: The problem.
        planned: Plans a site where each plan has a node's memory to itself.

    Returns:
        The plan; its bound is the one without the others' segments.
    """
    plan = planned(site)
    bound = plan.bound_frames_per_second
    choices = max(1, min(MOST_CHOICES, MOST_STREAMS // max(1, len(site.streams))))
    kept: Kept = {}
    for time in range(MOST_TIMES + 1):
        used = node_uses(site, plan)
        if not any(use.overfull for use in used.values()):
            break
        last = time == MOST_TIMES
        tried = {
            each: planned(_keeping(site, each, nothing_else=last))
            for each in dict.fromkeys(_choices(used, kept, choices, all_nodes=last))
        }
        best = max(tried, key=lambda each: _worth(tried[each]))
        kept, plan = {node: dict(segments) for node, segments in best}, tried[best]
    return replace(plan, bound_frames_per_second=max(bound, plan.frames_per_second))


def _choices(used: Mapping[str, NodeUse], kept: Kept, count: int, *, all_nodes: bool) -> Iterable[Choice]:
    """What nodes may keep: of the fullest one, each segment in turn as the first."""
    full = {node: use for node, use in used.items() if use.overfull or all_nodes}
    fullest = max(full, key=lambda node: full[node].taken_mb / max(full[node].free_mb, CLOSE))
    firsts = sorted(full[fullest].segments, key=lambda each: (-full[fullest].segments[each].per_mb, each))
    for first in firsts[:count]:
        chosen = {
            node: use.chosen(kept.get(node, {}), first if node == fullest else None) for node, use in full.items()
        }
        yield tuple((node, tuple(sorted(segments.items()))) for node, segments in sorted((kept | chosen).items()))


def _worth(plan: SitePlan) -> tuple[float, float, float]:
    """More is better: streams that have a way, what the one with least has, all frames."""
    served = sum(1 for share in plan.shares.values() if share.ways)
    return served, plan.least, plan.frames_per_second


def node_uses(site: SiteProblem, plan: SitePlan) -> dict[str, NodeUse]:
    """What each node with a limit is to run, by the node's id."""
    found: dict[str, NodeUse] = {}
    for stream in site.streams:
        for way in plan.shares[stream.name].ways:
            index = index_of(stream.problem, way.choice)
            variant = stream.problem.variants[index.variant]
            for node, start, end in index.route(stream.problem):
                segment = variant.name, start, end
                if node.free_mb is None or start == end or segment in node.loaded:
                    continue
                use = found.setdefault(node.id, NodeUse(node.free_mb)).segments.setdefault(
                    (stream.model_id, segment), Use()
                )
                use.needed_mb = max(use.needed_mb, needed_mb(variant, start, end))
                use.frames_per_second += way.frames_per_second
    return found


def _keeping(site: SiteProblem, choice: Choice, *, nothing_else: bool) -> SiteProblem:
    """The same site where nodes keep some segments."""
    kept = {node: dict(segments) for node, segments in choice}

    def stream_of(stream: SiteStream) -> SiteStream:
        def seen(node: Node) -> Node:
            segments = kept.get(node.id)
            if segments is None or node.memory_mb is None:
                return node
            mine = {segment for model, segment in segments if model == stream.model_id}
            taken_mb = node.memory_mb if nothing_else else node.memory_taken_mb + sum(segments.values())
            return replace(node, memory_taken_mb=taken_mb, loaded=node.loaded | mine)

        return replace(stream, problem=stream.problem.with_nodes(seen))

    return replace(site, streams=tuple(map(stream_of, site.streams)))
