"""Which of the plans of equal latency goes first.

Fewer hops, then greater accuracy, then by position: variant and edge as listed (no edge last), codecs with ``raw``
first, the smaller first cut, cloud as listed, the smaller second cut.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby

import numpy as np

from tiercut.planner.costs import Costs, Ints
from tiercut.planner.objectives import Floats
from tiercut.planner.plan_cost import PlanIndex, slack
from tiercut.planner.search import Tables


def first_of_equals(costs: Costs, latency: Tables, limit: float = np.inf) -> PlanIndex:
    """The plan that goes first.

    Args:
        costs: The pieces.
        latency: Least latency of the groups that may be chosen; one of them exists.
        limit: On every stage of a plan with two hops; the groups with fewer keep it.
    """
    least = latency.least()
    bound = least + slack(least)
    if latency.none.min() <= bound:
        equals = np.flatnonzero(latency.none <= bound)
        first = equals[_most(costs.accuracy[equals])][0]
        end = int(costs.blocks[first])
        return PlanIndex(int(costs.variants[first]), None, None, (), end, end)
    if latency.one.min(initial=np.inf) <= bound:
        return _one_hop(costs, *np.nonzero(latency.one <= bound))
    return _two_hops(costs, np.argwhere(latency.two <= bound).tolist(), bound, limit)


def _most(accuracy: Floats) -> Ints:
    """Positions of the most accurate."""
    return np.flatnonzero(accuracy >= accuracy.max() - slack(1.0))


def _one_hop(costs: Costs, v: Ints, station: Ints, offer: Ints) -> PlanIndex:
    most = _most(costs.accuracy[v] - costs.offers.drop[offer])
    v, station, offer = v[most], station[most], offer[most]
    codec, cut = costs.offers.codec[offer], costs.offers.cut[offer]
    first = np.lexsort((station, cut, codec, np.minimum(station, costs.edges), v))[0]
    variant, place, at = int(v[first]), int(station[first]), int(cut[first])
    chosen, codecs = int(costs.variants[variant]), (int(codec[first]),)
    if place < costs.edges:
        return PlanIndex(chosen, place, None, codecs, at, int(costs.blocks[variant]))
    return PlanIndex(chosen, None, place - costs.edges, codecs, at, at)


#: What orders plans with two hops: variant, edge, codecs, first cut, cloud, second cut.
_Place = tuple[int, int, int, int, int, int, int]


def _two_hops(costs: Costs, groups: list[list[int]], bound: float, limit: float) -> PlanIndex:
    """The first of all plans of some groups (variant, edge, first offer) within a bound on the latency."""
    # Where a stage is as long as the limit to the last bit, another sum may put it above.
    plans = list(_firsts(costs, groups, bound, limit)) or list(_firsts(costs, groups, bound, limit + slack(limit)))
    # And so a latency; then the least counts.
    bound = max(bound, min(latency for latency, _, _ in plans))
    most = max(accuracy for latency, accuracy, _ in plans if latency <= bound)
    variant, edge, codec, second_codec, first_cut, cloud, second_cut = min(
        place for latency, accuracy, place in plans if latency <= bound and accuracy >= most - slack(1.0)
    )
    return PlanIndex(int(costs.variants[variant]), edge, cloud, (codec, second_codec), first_cut, second_cut)


def _firsts(costs: Costs, groups: list[list[int]], bound: float, limit: float) -> Iterable[tuple[float, float, _Place]]:
    """Latency, accuracy and place of each group's first plan: of those within the bound, or else of the quickest."""
    offers, edges = costs.offers, costs.edges
    for (v, e), members in groupby(groups, key=lambda group: group[:2]):
        before = costs.device[v] + costs.first[v, e]
        after = costs.second[v, e] + costs.ends[v, edges:]
        longest = np.maximum(costs.second[v, e], costs.finish[v, edges:])
        for _, _, first in members:
            cut, codec = int(offers.cut[first]), int(offers.codec[first])
            ran = _ran(costs, v, e, cut)
            accuracy = costs.accuracy[v] - (offers.drop[first] + offers.drop)
            total = before[first] + ran + after
            total[(np.maximum(ran, longest) > limit) | (accuracy < costs.floor)] = np.inf
            least = total.min()
            if least == np.inf:
                continue
            cloud, second = np.nonzero(total <= max(bound, least))
            most = _most(accuracy[second])
            cloud, second = cloud[most], second[most]
            at = np.lexsort((offers.cut[second], cloud, offers.codec[second]))[0]
            c, o = int(cloud[at]), int(second[at])
            place = (v, e, codec, int(offers.codec[o]), cut, c, int(offers.cut[o]))
            yield float(total[c, o]), float(accuracy[o]), place


def _ran(costs: Costs, variant: int, edge: int, first_cut: int) -> Floats:
    """(O) seconds that an edge runs from a first cut to the cut of each offer; infinity before it."""
    steps = costs.edge_steps[variant, edge, first_cut:]
    by_cut = np.full(costs.edge_steps.shape[-1], np.inf)
    by_cut[first_cut] = 0.0
    by_cut[first_cut + 1 :] = costs.edge_queue[edge] + np.cumsum(steps[:-1])
    by_cut[~costs.may_run(variant, edge, first_cut)] = np.inf
    return by_cut[costs.offers.cut]
