"""Throughput: the least longest stage, which is a maximum and does not split into halves as a sum does.

For a limit T on every stage, the plans that keep it are found quickly: the first half must keep T, the second half must
keep T, and the edge's segment [a, b) keeps T for all b up to some b_max(a, T), because it only grows with b. So the
search is over T: between a lower bound and the best plan known, halved until nothing lies between. First without what
the codecs of two hops lose together and without the deadline; then with them, if they are missed.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tiercut.planner.costs import Costs, Ints
from tiercut.planner.memory import Piece
from tiercut.planner.objectives import Floats
from tiercut.planner.plan_cost import slack
from tiercut.planner.search import Tables, allowances, halves, join, min_by_level, one_hop, window_min

#: The search over T stops here; a tenth of what counts as a tie.
CLOSE = 1e-10

#: Where every plan must be asked for more, T is halved to this part of its value, then the few stages that take so long
#: are tried.
NARROW = 1e-3


class LongestStages:
    """The plans of a problem seen by their longest stage.

    Args:
        costs: The pieces.
        known_seconds: Longest stage of a plan that is known (or anything above): longer ones need no precision.
    """

    def __init__(self, costs: Costs, known_seconds: float) -> None:
        before, self.after = halves(costs)
        self.costs, self.allowed = costs, allowances(costs)
        starts, edges = costs.offers.starts, costs.edges
        # First cuts that the device reaches in time; two hops need no others.
        near = np.flatnonzero((costs.device <= 1.001 * known_seconds + 1e-9).any(axis=0))
        self.reach = int(costs.offers.cut[near].max(initial=0)) + 1
        self.firsts = int(starts[self.reach]) if self.reach < len(starts) else costs.device.shape[-1]
        self.before = before
        self.longest_before = np.maximum(costs.device[:, None], costs.first[:, :edges])
        self.longest_after = np.maximum(costs.second, costs.finish[:, None, edges:])
        self.longest_one = np.maximum(np.maximum(costs.device[:, None], costs.first), costs.finish)
        self.queue = costs.edge_queue
        self.memory_last = None if costs.edge_last is None else costs.edge_last[..., : self.reach]
        # Blocks too long for any plan of interest are cut short, so that the running sum keeps its precision.
        steps = np.minimum(costs.edge_steps, 4 * known_seconds + 1e-3)
        self.sums = np.concatenate((np.zeros((*steps.shape[:2], 1)), np.cumsum(steps, axis=-1)), axis=-1)
        #: of segments that edges have loaded: their places, and their seconds
        self.loaded = [each for each in costs.edge_loaded if each[2] < self.reach]
        self.loaded_s = [self.sums[v, e, b] - self.sums[v, e, a] + self.queue[e] for v, e, a, b in self.loaded]
        # (V, E, O), the cloud chosen; and (V, E, first cuts), (V, E, N): the offer as well, whatever it loses.
        self.second = self.longest_after.min(axis=2, initial=np.inf)
        usable = self.longest_before[..., : self.firsts]
        self.free_before = np.minimum.reduceat(usable, starts[: self.reach], axis=-1)
        self.free_after = np.minimum.reduceat(self.second, starts, axis=-1)
        # Whether two codecs may lose too much together.
        self.bound = bool((costs.budget < 2 * costs.offers.drop.max()).any())

    def shortest(self, deadline: float, latency: Tables) -> float:
        """The least longest stage among the plans within a deadline; ``latency`` is what each group takes at least."""
        one = np.where(np.isfinite(latency.one), self.longest_one, np.inf)
        none = np.where(np.isfinite(latency.none), self.costs.alone, np.inf)
        best = min(float(none.min()), float(one.min(initial=np.inf)))
        if not np.isfinite(latency.two).any():
            return best
        # A plan's longest stage is at most its latency, and at least a fifth of it: there are five stages, and the way
        # back, which is none.
        back = (
            0.0
            if self.costs.back is None
            else float(self.costs.back.max(where=np.isfinite(self.costs.back), initial=0))
        )
        best, low = min(best, float(latency.two.min())), max(0.0, latency.least() - back) / 5
        loose = _halve(self._any_within, low, best)
        if self.bound and not self._pair_within(loose + slack(loose)):
            loose = self._first_kept(self._pair_within, loose, best)
        if self._in_time(loose + slack(loose), deadline):
            return loose
        return self._first_kept(lambda limit: self._in_time(limit, deadline), loose, best)

    def min_latency(self, limit: float) -> Tables:
        """Least latency of every group among the plans whose stages all keep a limit."""
        costs = self.costs
        none = np.where(costs.alone <= limit, costs.alone + costs.back_alone, np.inf)
        one = np.where(self.longest_one <= limit, one_hop(costs), np.inf)
        return Tables(none, one, self._two(limit))

    def _two(self, limit: float) -> Floats:
        """(V, E, O) the same of the plans with two hops."""
        after = self._after(limit)
        rest = self._rest(min_by_level(self.costs.offers, after, self.allowed.levels), limit)
        return join(self.costs, self._before(limit), rest, self.allowed.of_group)

    def _before(self, limit: float) -> Floats:
        return np.where(self.longest_before <= limit, self.before, np.inf)

    def _after(self, limit: float) -> Floats:
        """(V, E, O) least seconds of the second half, its stages within a limit, over the clouds."""
        least: Floats = np.where(self.longest_after <= limit, self.after, np.inf).min(axis=2, initial=np.inf)
        return least

    def _in_time(self, limit: float, deadline: float) -> bool:
        """Whether a plan with two hops whose stages keep a limit meets a deadline."""
        if not np.isfinite(deadline):
            return True
        after = np.minimum.reduceat(self._after(limit), self.costs.offers.starts, axis=-1)
        rest = self._rest(np.moveaxis(after, -1, 0)[:, None], limit)
        free = join(self.costs, self._before(limit), rest, np.minimum(self.allowed.of_group, 0))
        if not (free <= deadline).any():
            return False
        return not self.bound or bool((self._two(limit) <= deadline).any())

    def _first_kept(self, keeps: Callable[[float], bool], low: float, high: float) -> float:
        """The least limit above ``low`` that can be kept, and ``high`` if that is less. ``keeps`` is monotone."""
        while high - low > NARROW * high:
            middle = (low + high) / 2
            low, high = (low, middle) if keeps(middle) else (middle, high)
        limits = self._limits(low, high)
        first, last = 0, len(limits) - 1
        while first < last:
            middle_limit = (first + last) // 2
            if keeps(limits[middle_limit] + slack(limits[middle_limit])):
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
        found = np.concatenate((self.longest_before.ravel(), self.longest_after.ravel(), edge, self.loaded_s))
        return np.append(np.unique(found[(found > low) & (found < high)]), high)

    def _any_within(self, limit: float) -> float:
        """Longest stage of a plan that keeps the limit; above the limit if none does. Codecs may lose anything.

        With every first half goes the nearest second cut whose own half keeps the limit: the shortest edge segment.
        """
        width = self.free_after.shape[-1]
        cuts = np.arange(width)
        nearest = np.where(self.free_after <= limit, cuts, width - 1)
        nearest = np.minimum.accumulate(nearest[..., ::-1], axis=-1)[..., ::-1][..., : self.reach]
        ends = np.take_along_axis(self.sums, nearest, axis=-1)
        middle = np.where(nearest == cuts[: self.reach], 0.0, ends - self.sums[..., : self.reach] + self.queue[:, None])
        longest = np.maximum(self.free_before, np.take_along_axis(self.free_after, nearest, axis=-1))
        if self.memory_last is not None:
            middle[nearest > np.maximum(self.memory_last, cuts[: self.reach])] = np.inf
        least = float(np.maximum(longest, middle).min(initial=np.inf))
        for (v, e, a, b), seconds in zip(self.loaded, self.loaded_s, strict=True):
            least = min(least, max(float(self.free_before[v, e, a]), seconds, float(self.free_after[v, e, b])))
        return least

    def _pair_within(self, limit: float) -> bool:
        """Whether two halves keep the limit and do not lose too much together.

        Of the first offers of a cut that keep it, only the one that loses least matters, and so of the second offers.
        """
        starts, drop = self.costs.offers.starts, self.costs.offers.drop
        before, usable = self.longest_before[..., : self.firsts], drop[: self.firsts]
        first = np.minimum.reduceat(np.where(before <= limit, usable, np.inf), starts[: self.reach], axis=-1)
        second = np.minimum.reduceat(np.where(self.second <= limit, drop, np.inf), starts, axis=-1)
        later = window_min(second, np.arange(1, self.reach + 1), self._last_cut(limit))
        for v, e, a, b in self._loaded_within(limit):
            later[v, e, a] = min(later[v, e, a], second[v, e, b])
        lost = first + np.minimum(second[..., : self.reach], later)
        return bool((lost <= self.costs.budget[:, None, None]).any())

    def _rest(self, after: Floats, limit: float) -> Floats:
        """(N, L, V, E): least seconds from cut a to the result, the edge's stage within the limit; up to ``reach``."""
        values = np.moveaxis(after, 0, -1)  # (L, V, E, N)
        sums, starts = self.sums[..., :-1], self.sums[..., : self.reach]
        ran = window_min(values + sums, np.arange(1, self.reach + 1), self._last_cut(limit))
        for v, e, a, b in self._loaded_within(limit):
            ran[:, v, e, a] = np.minimum(ran[:, v, e, a], values[:, v, e, b] + sums[v, e, b])
        rest = np.full_like(after, np.inf)
        rest[: self.reach] = np.moveaxis(
            np.minimum(values[..., : self.reach], ran - starts + self.queue[:, None]), -1, 0
        )
        return rest

    def _loaded_within(self, limit: float) -> list[Piece]:
        """Segments that edges have loaded whose stage keeps a limit."""
        return [piece for piece, seconds in zip(self.loaded, self.loaded_s, strict=True) if seconds <= limit]

    def _last_cut(self, limit: float) -> Ints:
        """(V, E, A up to ``reach``): the last cut that an edge reaches from cut a within the limit and its memory."""
        reach = self.sums[..., : self.reach] + (limit - self.queue[:, None])
        last = np.empty(reach.shape, dtype=np.intp)
        for v, rows in enumerate(self.sums):
            for e, row in enumerate(rows):
                last[v, e] = np.searchsorted(row, reach[v, e], side="right") - 1
        return last if self.memory_last is None else np.minimum(last, self.memory_last)


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
