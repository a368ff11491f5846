"""Throughput: the least longest stage, which is a maximum and does not split into halves as a sum does.

For a limit T on every stage, the plans that keep it are found quickly: the first half must keep T, the second half must
keep T, and the edge's segment [a, b) keeps T for all b up to some b_max(a, T), because it only grows with b. So the
search is over T: between a lower bound and the best plan known, halved until nothing lies between.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tiercut.planner.answer import slack
from tiercut.planner.costs import Costs, Ints
from tiercut.planner.fields import Floats
from tiercut.planner.search import Tables, accuracies, accurate, alone, halves, join

#: The search over T stops here; a tenth of what counts as a tie.
CLOSE = 1e-10

#: With a deadline, it is halved to this part of its value, then the few stages that take so long are tried.
NARROW = 1e-3


class Stages:
    """The plans of a problem seen by their longest stage.

    Args:
        costs: The pieces.
        floor: Accuracy that plans must have.
        known_seconds: Longest stage of a plan that is known (or anything above): longer ones need no precision.
    """

    def __init__(self, costs: Costs, floor: float, known_seconds: float) -> None:
        parts = halves(costs)
        self.costs, self.floor = costs, floor
        device, cloud = costs.device[:, None, None, :], costs.finish[:, None, costs.edges :, None, :]
        # First cuts that the device reaches in time; two hops need no others.
        self.reach = int(np.flatnonzero((costs.device <= 1.001 * known_seconds + 1e-9).any(axis=0)).max(initial=0)) + 1
        self.before, self.after = parts.before[..., : self.reach], parts.after
        self.longest_before = np.maximum(device, costs.first[:, : costs.edges])[..., : self.reach]
        self.longest_after = np.maximum(costs.second, cloud)
        self.one = device + costs.first + costs.finish[:, :, None, :]
        self.longest_one = np.maximum(np.maximum(device, costs.first), costs.finish[:, :, None, :])
        self.queue = costs.edge_queue
        # Blocks too long for any plan of interest are cut short, so that the running sum keeps its precision.
        steps = np.minimum(costs.edge_steps, 4 * known_seconds + 1e-3)
        self.sums = np.concatenate((np.zeros((*steps.shape[:2], 1)), np.cumsum(steps, axis=-1)), axis=-1)
        # (V, J, K): the second codecs that may follow; J is 1 where that does not depend on the first codec.
        pairs = accuracies(costs)[2][:, 0, :, :, 0] >= floor
        self.depends = not bool((pairs == pairs[:, :1]).all())
        self.pairs = pairs if self.depends else pairs[:, :1]
        # (V, E, K or 1, A) and (V, E, J, A): the same as longest_before and _after, with the free choices made.
        self.free_before = self.longest_before if self.depends else self._first_codec()
        self.free_after = self._allowed(self.longest_after.min(axis=2, initial=np.inf))

    def shortest(self, deadline: float, latency: Tables) -> float:
        """The least longest stage among the plans within a deadline; ``latency`` is what each group takes at least."""
        one = np.where(np.isfinite(latency.one), self.longest_one, np.inf)
        best = min(float(latency.none.min()), float(one.min(initial=np.inf)))
        if not np.isfinite(latency.two).any():
            return best
        # A plan's longest stage is at most its latency, and at least a fifth of it: there are five stages.
        best, low = min(best, float(latency.two.min())), latency.least() / 5
        loose = _halve(self._any_within, low, best)
        if self._least_latency(loose + slack(loose)) <= deadline:
            return loose
        return self._in_time(deadline, loose, best)

    def least_latency(self, limit: float) -> Tables:
        """Least latency of every group among the plans whose stages all keep a limit."""
        none, one = self._no_hop_one_hop(limit)
        rest = self._rest(self._after(limit), limit)
        return Tables(none, one, join(self._before(limit), rest)).keep(*accurate(self.costs, self.floor))

    def best_variants(self, limit: float) -> Ints:
        """The variants that hold a plan of least latency among those whose stages all keep a limit."""
        none, one = self._no_hop_one_hop(limit)
        two = self._before(limit) + self._rest(self._allowed(self._after(limit)), limit)
        least = np.minimum(none, one.min(axis=(1, 2, 3), initial=np.inf))
        least = np.minimum(least, two.min(axis=(1, 2, 3), initial=np.inf))
        return np.flatnonzero(least <= least.min() + 2 * slack(float(least.min())))

    def _no_hop_one_hop(self, limit: float) -> tuple[Floats, Floats]:
        none_accurate, one_accurate, _ = accurate(self.costs, self.floor)
        none = np.where(none_accurate & (alone(self.costs) <= limit), alone(self.costs), np.inf)
        return none, np.where(one_accurate & (self.longest_one <= limit), self.one, np.inf)

    def _before(self, limit: float) -> Floats:
        return np.where(self.longest_before <= limit, self.before, np.inf)

    def _allowed(self, after: Floats) -> Floats:
        """(V, E, J, A) of (V, E, K, A): the least over the second codecs that may follow."""
        if self.pairs.all():
            least: Floats = after.min(axis=2, keepdims=True)
        else:
            least = np.where(self.pairs[:, None, :, :, None], after[:, :, None], np.inf).min(axis=3)
        return least

    def _in_time(self, deadline: float, low: float, high: float) -> float:
        """The least limit above ``low`` that a plan within the deadline keeps; one keeps ``high``."""
        while high - low > NARROW * high:
            middle = (low + high) / 2
            low, high = (low, middle) if self._least_latency(middle) <= deadline else (middle, high)
        limits = self._limits(low, high)
        first, last = 0, len(limits) - 1
        while first < last:
            middle_limit = (first + last) // 2
            if self._least_latency(limits[middle_limit] + slack(limits[middle_limit])) <= deadline:
                last = middle_limit
            else:
                first = middle_limit + 1
        return float(limits[first])

    def _limits(self, low: float, high: float) -> Floats:
        """The seconds of all stages between two limits, in order, ``high`` last: one of them is the answer."""
        start, end = self._last_cut(low), self._last_cut(high)
        count = (end - start).ravel()
        row = np.repeat(np.arange(count.size), count)
        nth = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
        v, e, cut = np.unravel_index(row, start.shape)
        edge = self.sums[v, e, start[v, e, cut] + 1 + nth] - self.sums[v, e, cut] + self.queue[e]
        found = np.concatenate((self.longest_before.ravel(), self.longest_after.ravel(), edge))
        return np.append(np.unique(found[(found > low) & (found < high)]), high)

    def _any_within(self, limit: float) -> float:
        """Longest stage of a plan that keeps the limit; above the limit if none does.

        With every first half goes the nearest second cut whose own half keeps the limit: the shortest edge segment.
        """
        before, after, sums = self.free_before, self.free_after, self.sums[:, :, None]
        width = after.shape[-1]
        cuts = np.arange(width)
        nearest = np.where(after <= limit, cuts, width - 1)
        nearest = np.minimum.accumulate(nearest[..., ::-1], axis=-1)[..., ::-1][..., : self.reach]
        cuts, starts = cuts[: self.reach], sums[..., : self.reach]
        ends = np.take_along_axis(np.broadcast_to(sums, after.shape), nearest, axis=-1)
        middle = np.where(nearest == cuts, 0.0, ends - starts + self.queue[:, None, None])
        longest = np.maximum(np.maximum(before, np.take_along_axis(after, nearest, axis=-1)), middle)
        return float(longest.min(initial=np.inf))

    def _first_codec(self) -> Floats:
        """(V, E, 1, A): the least over first codecs that some second codec may follow (all of them, or none)."""
        followed = np.any(self.pairs, axis=2, keepdims=True)[:, None]
        usable = np.where(followed, self.longest_before, np.inf)
        least: Floats = usable.min(axis=2, keepdims=True, initial=np.inf)
        return least

    def _least_latency(self, limit: float) -> float:
        return float((self._before(limit) + self._rest(self._allowed(self._after(limit)), limit)).min(initial=np.inf))

    def _after(self, limit: float) -> Floats:
        """(V, E, K, A) least seconds of the second half, its stages within a limit, over the clouds."""
        least: Floats = np.where(self.longest_after <= limit, self.after, np.inf).min(axis=2, initial=np.inf)
        return least

    def _rest(self, after: Floats, limit: float) -> Floats:
        """(V, E, M, A up to ``reach``): least seconds from cut a to the result, the edge's stage within the limit."""
        sums, starts = self.sums[:, :, None], self.sums[:, :, None, : self.reach]
        ran = window_min(after + sums, np.arange(1, self.reach + 1), self._last_cut(limit)[:, :, None])
        best: Floats = np.minimum(after[..., : self.reach], ran - starts + self.queue[:, None, None])
        return best

    def _last_cut(self, limit: float) -> Ints:
        """(V, E, A up to ``reach``): the last cut that an edge reaches from cut a within the limit."""
        reach = self.sums[..., : self.reach] + (limit - self.queue[:, None])
        last = np.empty(reach.shape, dtype=np.intp)
        for v, rows in enumerate(self.sums):
            for e, row in enumerate(rows):
                last[v, e] = np.searchsorted(row, reach[v, e], side="right") - 1
        return last


def window_min(values: Floats, first: Ints, last: Ints) -> Floats:
    """Least of ``values[..., first : last + 1]`` at every position, infinity for an empty window.

    A sparse table: the minima of all windows of 1, 2, 4, ... values; two of them cover any window.
    """
    width, size = values.shape[-1], values.size
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


def _halve(probe: Callable[[float], float], low: float, high: float) -> float:
    """The least limit that ``probe`` can keep, to `CLOSE`.

    Args:
        probe: Takes a limit; returns a value at most that limit which can be kept, or anything above the limit.
        low: Nothing below it can be kept.
        high: It can be kept.
    """
    below = False
    while high - low > CLOSE * high + 1e-13:
        limit = high - CLOSE * high - 1e-13 if below else (low + high) / 2
        found = probe(limit)
        if found <= limit:
            high = found
        else:
            low = limit
        below = not below
    return high
