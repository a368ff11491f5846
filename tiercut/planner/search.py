"""Least latency of every group of plans, without trying the plans one by one.

A *group* is all that a plan fixes up to its first hop: variant v, edge e, and the offer o (a codec at the first cut a).
The latency splits into what lies before the edge and what follows from a on:

    latency(b) = F[v,e,o] + rest[v,e,a](b)              F = device + first hop
    rest(a)    = G[a]                                   the edge only relays    G = second hop + cloud, the best of them
    rest(b)    = queue + steps[a] + ... + steps[b-1] + G[b]

so one pass from the last cut to the first finds the best second cut for all first cuts:
``run[a] = steps[a] + min(G[a+1], run[a+1])``. Where accuracy is limited, the second hop may lose what the variant and
the first codec leave of it, so G and the pass have one more axis, L: a level for each amount that may be left, and G is
the least over the offers that lose no more (`allowances`). Plans with no hop and with one have no second cut to choose.
Neurosurgeon (Kang et al., ASPLOS 2017, Algorithm 1) is the case of one hop; Edgent (Li et al., 2018) adds the exits.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tiercut.planner.costs import Costs, Ints, Offers
from tiercut.planner.objectives import Floats

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Tables:
    """One value per group, by number of hops; infinity where no plan is.

    Attributes:
        none: (V) device only.
        one: (V, W, O) one hop, to a station that runs the rest.
        two: (V, E, O) two hops.
    """

    none: Floats
    one: Floats
    two: Floats

    def least(self) -> float:
        """The least of all values."""
        return min(float(table.min(initial=np.inf)) for table in (self.none, self.one, self.two))

    def keep(self, none: Bools, one: Bools, two: Bools) -> Tables:
        """The same, in place, with infinity wherever a mask (of broadcastable shape) is false."""
        for table, mask in zip((self.none, self.one, self.two), (none, one, two), strict=True):
            if not mask.all():
                np.copyto(table, np.inf, where=~mask)
        return self

    def within(self, limit: float) -> Tables:
        """The same, without what is above a limit."""
        if limit == np.inf:
            return self
        return self.keep(self.none <= limit, self.one <= limit, self.two <= limit)


@dataclass(frozen=True, slots=True)
class Allowances:
    """What the second hop may lose, by group.

    Attributes:
        levels: (L) accuracy, ascending: the amounts that some second offer loses and some group can be left with.
        of_group: (V, O) the level of a variant and a first offer; -1 where nothing is left, not even for ``raw``.
    """

    levels: Floats
    of_group: Ints


def halves(costs: Costs) -> tuple[Floats, Floats]:
    """(V, E, O) device and first hop; (V, E, C, O) second hop and cloud: the two halves of plans with two hops."""
    before = costs.device[:, None, :] + costs.first[:, : costs.edges]
    return before, costs.second + costs.ends[:, None, costs.edges :, :]


def one_hop(costs: Costs) -> Floats:
    """(V, W, O) latency of the plans with one hop."""
    seconds: Floats = costs.device[:, None, :] + costs.first + costs.ends
    return seconds


def min_latency(costs: Costs) -> Tables:
    """Least latency of every group."""
    before, after = halves(costs)
    allowed = allowances(costs)
    rest = by_first_cut(costs, min_by_level(costs.offers, after.min(axis=2, initial=np.inf), allowed.levels))
    return Tables(costs.alone + costs.back_alone, one_hop(costs), join(costs, before, rest, allowed.of_group))


def allowances(costs: Costs) -> Allowances:
    """Levels for the accuracy that plans must have."""
    drop, budget = costs.offers.drop, costs.budget
    lost = np.unique(drop)
    if (budget >= 2 * lost[-1]).all():
        return Allowances(lost[-1:], np.zeros((len(budget), len(drop)), dtype=np.intp))
    level = np.searchsorted(lost, budget[:, None] - drop, side="right") - 1
    used = np.unique(level[level >= 0])
    return Allowances(lost[used], np.where(level < 0, -1, np.searchsorted(used, level)))


def min_by_level(offers: Offers, after: Floats, levels: Floats) -> Floats:
    """(N, L, V, E): the least of (V, E, O) over each cut's offers that lose no more than each level."""
    by_offer = np.ascontiguousarray(np.moveaxis(after, -1, 0))
    if levels[-1] >= offers.drop.max() and len(levels) == 1:
        least: Floats = np.minimum.reduceat(by_offer, offers.starts, axis=0)
        return least[:, None]
    counts = np.diff(offers.starts, append=len(offers.cut))
    for nth in range(1, int(counts.max())):  # from here on: the least up to each offer of its cut
        at = offers.starts[counts > nth] + nth
        by_offer[at] = np.minimum(by_offer[at], by_offer[at - 1])
    ranks, cuts = len(levels) + 1, np.arange(len(counts))[:, None]
    key = offers.cut * ranks + np.searchsorted(levels, offers.drop)
    upto: Ints = np.searchsorted(key, cuts * ranks + np.arange(len(levels)), side="right")
    return by_offer[upto - 1]


def by_first_cut(costs: Costs, after: Floats) -> Floats:
    """(N, L, V, E): least seconds from each first cut to the result, over all second cuts from it on."""
    if costs.edge_last is not None:
        return _within_memory(costs, after, costs.edge_last)
    steps = np.ascontiguousarray(np.moveaxis(costs.edge_steps, -1, 0))
    run = np.full_like(after, np.inf)
    for cut in range(len(after) - 2, -1, -1):
        np.minimum(after[cut + 1], run[cut + 1], out=run[cut])
        run[cut] += steps[cut]
    run += costs.edge_queue
    return np.minimum(after, run, out=run)


def _within_memory(costs: Costs, after: Floats, last: Ints) -> Floats:
    """`by_first_cut` where edges have memory up to a last cut only: running sums, and the least of each window."""
    runs = np.isfinite(costs.edge_steps)
    steps = np.where(runs, costs.edge_steps, 0.0)
    sums = np.concatenate((np.zeros((*steps.shape[:2], 1)), np.cumsum(steps, axis=-1)), axis=-1)[..., :-1]
    last = np.where(runs, last, -1)
    values = np.moveaxis(after, 0, -1)  # (L, V, E, N)
    ran = window_min(values + sums, np.arange(1, len(after) + 1), last) - sums + costs.edge_queue[:, None]
    for v, e, start, end in costs.edge_loaded:
        seconds = sums[v, e, end] - sums[v, e, start] + costs.edge_queue[e]
        ran[:, v, e, start] = np.minimum(ran[:, v, e, start], values[:, v, e, end] + seconds)
    return np.ascontiguousarray(np.moveaxis(np.minimum(values, ran), -1, 0))


def window_min(values: Floats, first: Ints, last: Ints) -> Floats:
    """Least of ``values[..., first : last + 1]`` at every position, infinity for an empty window.

    A sparse table: the minima of all windows of 1, 2, 4, ... values; two of them cover any window.

    Args:
        values: (..., N).
        first: (M), from 0 on.
        last: (..., M), in a shape that broadcasts against that of the values.
    """
    width, size = values.shape[-1], values.size
    last = np.broadcast_to(np.minimum(last, width - 1), (*values.shape[:-1], len(first)))
    table = np.empty((width.bit_length(), *values.shape))
    table[0] = values
    for level in range(1, len(table)):
        half, shorter, longer = 2 ** (level - 1), table[level - 1], table[level]
        np.minimum(shorter[..., :-half], shorter[..., half:], out=longer[..., :-half])
        longer[..., -half:] = shorter[..., -half:]
    level_of = np.frexp(np.maximum(last - first + 1, 1))[1] - 1
    rows = np.arange(0, size, width).reshape(*values.shape[:-1], 1)
    left = rows + (level_of * size + np.minimum(first, width - 1))
    right = rows + (level_of * size + np.maximum(last - 2**level_of + 1, 0))
    return np.where(last >= first, np.minimum(table.take(left), table.take(right)), np.inf)


def join(costs: Costs, before: Floats, rest: Floats, level: Ints) -> Floats:
    """(V, E, O): every first half with the best second half that its level allows."""
    variants = np.arange(len(before))[:, None]
    joined: Floats = before + np.moveaxis(rest[costs.offers.cut, level, variants], -1, 1)
    if level.min() < 0:
        np.copyto(joined, np.inf, where=level[:, None] < 0)
    return joined


def best_accuracy(costs: Costs, deadline: float) -> float:
    """The greatest accuracy of a plan within a deadline; minus infinity if there is none."""
    none = np.where(costs.alone + costs.back_alone <= deadline, costs.accuracy, -np.inf)
    one = np.where(one_hop(costs) <= deadline, (costs.accuracy[:, None] - costs.offers.drop)[:, None], -np.inf)
    known = max(float(none.max()), float(one.max(initial=-np.inf)))
    before, after = halves(costs)
    v, e, offer = np.nonzero(before <= deadline)
    lossless = costs.accuracy[v] - costs.offers.drop[offer]  # of the plans with that first hop, at most
    better = lossless > known
    v, e, offer, lossless = v[better], e[better], offer[better], lossless[better]
    if not len(v):
        return known
    lost = np.unique(costs.offers.drop)
    lost = lost[lost < max(lossless.max() - known, np.nextafter(0, 1))]
    rest = by_first_cut(costs, min_by_level(costs.offers, after.min(axis=2, initial=np.inf), lost))
    # The first level that is quick enough, group by group: the more may be lost, the quicker.
    first, cut, so_far = before[v, e, offer], costs.offers.cut[offer], np.zeros(len(v), dtype=np.intp)
    last = np.full(len(v), len(lost))
    while (so_far < last).any():
        middle = (so_far + last) // 2
        quick = first + rest[cut, np.minimum(middle, len(lost) - 1), v, e] <= deadline
        last = np.where(quick, middle, last)
        so_far = np.where(quick, so_far, np.minimum(middle + 1, last))
    quick = so_far < len(lost)
    found = lossless[quick] - lost[so_far[quick]]
    return max(known, float(found.max(initial=-np.inf)))


def energies(costs: Costs) -> tuple[Floats, Floats, Floats]:
    """The device's joules of every group, in the shapes of `Tables`."""
    return costs.alone_joules, costs.first_joules, costs.first_joules[:, : costs.edges]
