"""The best K plans, by trying every plan: a table of all second hops at a time, of which only the best are kept.

Slower than `best.solve` with a search of its own (half a second at 160 blocks and 5 variants, where that takes
milliseconds), and made of other sums: the tests hold one against the other. An objective without such a search is
served from here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from tiercut.plan import Tier
from tiercut.planner.costs import Costs, Ints, costs_of
from tiercut.planner.objectives import Floats
from tiercut.planner.plan_cost import TIE_ABSOLUTE, TIE_RELATIVE, PlanIndex, slack
from tiercut.planner.problem import Problem

#: An edge's place when there is none: the last.
NO_EDGE = np.iinfo(np.intp).max


@dataclass(frozen=True, slots=True)
class Candidates:
    """Some plans: one value per plan in every field.

    Attributes:
        primary: What the objective minimises (negated where more is better).
        latency: Seconds.
        hops: 0, 1 or 2.
        accuracy: 0..1.
        plans: (plans, 7) variant, edge, cloud, first codec, second codec, first cut, second cut; -1 for none.
    """

    primary: Floats
    latency: Floats
    hops: Ints
    accuracy: Floats
    plans: Ints

    def take(self, chosen: Ints) -> Candidates:
        """Some of them."""
        primary, latency, accuracy = self.primary[chosen], self.latency[chosen], self.accuracy[chosen]
        return Candidates(primary, latency, self.hops[chosen], accuracy, self.plans[chosen])


@dataclass(frozen=True, slots=True)
class PlanArrays:
    """What objectives may count (`objectives.Figures`) of an array of plans; shapes broadcast to the latency's."""

    stages: list[Floats]
    latency_seconds: Floats
    accuracy: Floats
    energy_joules: Floats
    sent: dict[Tier, Floats]

    @property
    def longest_stage_seconds(self) -> Floats:
        """The longest of them."""
        longest = self.stages[0]
        for stage in self.stages[1:]:
            longest = np.maximum(longest, stage)
        return longest

    def sent_bytes(self, to: Tier) -> Floats:
        """Bytes of a frame on the hop to a tier."""
        return self.sent.get(to, np.zeros(1))


def k_best(problem: Problem, k: int) -> list[PlanIndex]:
    """The best ``k`` different plans within the constraints, best first; fewer if there are no more."""
    costs = costs_of(problem)
    kept: list[Candidates] = []
    for group in _groups(problem, costs):
        kept.append(_best(group, k))
        if sum(len(part.primary) for part in kept) > 4 * k:
            kept = [_best(_join(kept), k)]
    return [_index([int(x) for x in row]) for row in _best(_join(kept), k).plans]


def _groups(problem: Problem, costs: Costs) -> Iterable[Candidates]:
    """All plans, one route after the other."""
    yield from (_table(problem, costs, _Group(v, None, None)) for v in range(len(problem.variants)))
    for v in range(len(problem.variants)):
        yield from (_table(problem, costs, _Group(v, e, None)) for e in range(len(problem.edges)))
        yield from (_table(problem, costs, _Group(v, None, c)) for c in range(len(problem.clouds)))
    for v in range(len(problem.variants)):
        for e in range(len(problem.edges)):
            yield from (_table(problem, costs, _Group(v, e, c)) for c in range(len(problem.clouds)))


@dataclass(frozen=True, slots=True)
class _Group:
    variant: int
    edge: int | None
    cloud: int | None


def _table(problem: Problem, costs: Costs, group: _Group) -> Candidates:
    """The plans of one variant on one route that satisfy the constraints; axes: first offer, second offer."""
    figures = _figures(costs, group)
    latency = figures.latency_seconds
    accuracy = np.broadcast_to(figures.accuracy, latency.shape)
    allowed = np.isfinite(latency)
    if problem.deadline_seconds is not None:
        allowed &= latency <= problem.deadline_seconds + slack(problem.deadline_seconds)
    if problem.max_accuracy_drop is not None:
        allowed &= accuracy >= problem.best_accuracy - problem.max_accuracy_drop - slack(1.0)
    where = np.nonzero(allowed)
    value = np.broadcast_to(problem.objective.score(figures), latency.shape)[where]
    return Candidates(
        value if problem.objective.sign > 0 else -value,
        latency[where],
        np.full(len(where[0]), len(figures.sent)),
        accuracy[where],
        _plans(costs, group, where),
    )


def _figures(costs: Costs, group: _Group) -> PlanArrays:
    """What the plans of a group cost; all broadcast to the group's axes."""
    v, e, c = group.variant, group.edge, group.cloud
    accuracy, drop, sent = costs.accuracy[v], costs.offers.drop, costs.bits[v, 0] / 8
    if e is None and c is None:
        alone, joules = costs.alone[v : v + 1], costs.alone_joules[v : v + 1]
        return PlanArrays([alone], alone + costs.back_alone, accuracy[None], joules, {})
    station = e if e is not None else costs.edges + (c or 0)
    if e is None or c is None:  # (O)
        stages = [costs.device[v], costs.first[v, station], costs.finish[v, station]]
        to: Tier = "cloud" if e is None else "edge"
        return PlanArrays(
            stages, _sum(stages) + _back(costs, station), accuracy - drop, costs.first_joules[v, station], {to: sent}
        )
    device, first, joules = (each[:, None] for each in (costs.device[v], costs.first[v, e], costs.first_joules[v, e]))
    stages = [device, first, _middle(costs, v, e), costs.second[v, e, c], costs.finish[v, costs.edges + c]]
    lost = drop[:, None] + drop
    latency = _sum(stages) + _back(costs, costs.edges + c)
    return PlanArrays(stages, latency, accuracy - lost, joules, {"edge": sent[:, None], "cloud": sent})


def _back(costs: Costs, station: int) -> float:
    """Seconds of the result's way back from a station."""
    return 0.0 if costs.back is None else float(costs.back[1 + station, 0])


def _sum(stages: list[Floats]) -> Floats:
    return np.asarray(sum(stages[1:], stages[0]))


def _middle(costs: Costs, variant: int, edge: int) -> Floats:
    """(O, O) seconds of the edge's segment [a, b), added up from a on; infinity where b is before a."""
    steps = costs.edge_steps[variant, edge]
    width = len(steps)
    middle = np.full((width, width), np.inf)
    for cut in range(width):
        middle[cut, cut] = 0.0
        middle[cut, cut + 1 :] = np.cumsum(steps[cut:-1]) + costs.edge_queue[edge]
        middle[cut, ~costs.may_run(variant, edge, cut)] = np.inf
    return middle[np.ix_(costs.offers.cut, costs.offers.cut)]


def _plans(costs: Costs, group: _Group, where: tuple[Ints, ...]) -> Ints:
    """(plans, 7), as in `Candidates`."""
    end = np.full(len(where[0]), costs.blocks[group.variant])
    none = np.full(len(where[0]), -1)
    v, e, c = (none if x is None else np.full(len(end), x) for x in (group.variant, group.edge, group.cloud))
    if group.edge is None and group.cloud is None:
        return np.stack([v, e, c, none, none, end, end], axis=-1)
    codec, cut = costs.offers.codec[where[0]], costs.offers.cut[where[0]]
    if group.edge is None or group.cloud is None:
        return np.stack([v, e, c, codec, none, cut, cut if group.edge is None else end], axis=-1)
    return np.stack([v, e, c, codec, costs.offers.codec[where[1]], cut, costs.offers.cut[where[1]]], axis=-1)


def _best(plans: Candidates, k: int) -> Candidates:
    """The best ``k``, in order. Values count as equal where no gap wider than the tolerance lies between them."""
    if len(plans.primary) > k:
        limit = np.partition(plans.primary, k - 1)[k - 1]
        plans = plans.take(np.flatnonzero(plans.primary <= limit + slack(float(limit))))
    variant, edge, cloud, codec, second_codec, first_cut, second_cut = plans.plans.T
    place = (second_cut, cloud, first_cut, second_codec, codec, np.where(edge < 0, NO_EDGE, edge), variant)
    values = (-_levels(plans.accuracy), plans.hops, _levels(plans.latency), _levels(plans.primary))
    order = np.lexsort((*place, *values))
    return plans.take(order[:k])


def _levels(values: Floats) -> Ints:
    """The rank of each value; equal values have one rank."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    levels = np.zeros(len(values), dtype=np.intp)
    levels[order[1:]] = np.cumsum(np.diff(ordered) > TIE_ABSOLUTE + TIE_RELATIVE * np.abs(ordered[:-1]))
    return levels


def _join(parts: list[Candidates]) -> Candidates:
    return Candidates(
        primary=np.concatenate([part.primary for part in parts]),
        latency=np.concatenate([part.latency for part in parts]),
        hops=np.concatenate([part.hops for part in parts]),
        accuracy=np.concatenate([part.accuracy for part in parts]),
        plans=np.concatenate([part.plans for part in parts]),
    )


def _index(plan: list[int]) -> PlanIndex:
    variant, edge, cloud, first_codec, second_codec, first_cut, second_cut = plan
    codecs = tuple(codec for codec in (first_codec, second_codec) if codec >= 0)
    return PlanIndex(variant, None if edge < 0 else edge, None if cloud < 0 else cloud, codecs, first_cut, second_cut)
