"""The cheapest plans with two hops, at prices of all resources.

The same search over two cuts as for latency (`search`), with prices for weights: one pass over the cuts, from the last
to the first, gives for every first half of a plan the least that any second half adds. A deadline couples the halves,
and so does a limit on what two codecs may lose together. Both leave only a *bound from below* for each first half;
those whose bound is below what is sought are joined with every second half, one by one. Where many are, bounds are made
tighter by a price on the plan's time (Lagrange: whatever latency costs is given back for the deadline), at prices
around the one that was best the last time. So the cheapest plan is always found, and mostly at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from tiercut.planner.costs import Ints
from tiercut.planner.objectives import Floats
from tiercut.planner.search import Bools
from tiercut.planner.site.columns import Places
from tiercut.planner.site.tables import LONGEST_SECONDS, Batch

#: Prices of a second of latency that are tried, as parts of the best one so far, which is at first ...
AROUND = (1.0, 3.0, 0.33)

#: ... this part of what is sought, per second of the deadline.
FIRST_PART = 0.3

#: So few first halves of a stream are joined with all second halves without asking for tighter bounds.
FEW = 32

#: So many are at once.
CHUNK = 32

#: Levels of what a second codec may lose; with more than that, bounds are a little lower.
LEVELS = 4


@dataclass(frozen=True, slots=True)
class Prices:
    """Prices of a batch.

    Attributes:
        device: (S) of a second.
        station: (S, W) of a second.
        first: (S, W) of a bit.
        second: (S, E, C) of a bit.
        latency: Of a second that a frame is under way.
    """

    device: Floats
    station: Floats
    first: Floats
    second: Floats
    latency: float


class Halves(NamedTuple):
    """First halves of plans, by their places. All arrays: (P)."""

    member: Ints
    variant: Ints
    edge: Ints
    first: Ints


class TwoHops:
    """The search in one batch.

    Attributes:
        batch: The tables.
        part: (S) the price of time that was best, in the unit of `FIRST_PART`.
    """

    def __init__(self, batch: Batch) -> None:
        self.batch = batch
        self.part = np.full(len(batch.members), FIRST_PART)
        # What is impossible, as a price; and the seconds of the halves, without the edge's blocks.
        self._no_first = np.where(np.isfinite(batch.of["latency_before"]), 0.0, np.inf)
        self._no_second = np.where(np.isfinite(batch.of["latency_after"]), 0.0, np.inf)
        self._no_block = np.where(batch.runs, 0.0, np.inf)
        fastest = _Bounds(self, _free(batch), np.arange(len(batch.members))).at(None)
        self._no_first[fastest > batch.deadline[:, None, None, None]] = np.inf

    def cheapest(self, prices: Prices, sought: Floats) -> tuple[Places, Floats]:
        """Of every edge the best plan below what is sought (S), and (S) the least, or a bound below it."""
        every = np.arange(len(sought))
        bounds = _Bounds(self, prices, every)
        bound = bounds.at(None)
        lowest = bound.min(axis=(1, 2, 3))
        places, cost = self._joined(bounds, _lowest(bound, every, sought))
        found = places.chosen(np.flatnonzero(cost < sought[places.member]))
        # Streams whose lowest bounds are no plans below it: all first halves that may be the start of one.
        missing = np.setdiff1d(np.flatnonzero(lowest < sought), found.member)
        if not len(missing):
            return found, lowest
        tight = self._tight(bounds, bound[missing], sought, missing)
        places, cost = self._joined(bounds, _lowest(tight, missing, sought))
        more = places.chosen(np.flatnonzero(cost < sought[places.member]))
        left = ~np.isin(missing, more.member)
        rest, lowest[missing[left]] = self._all(bounds, tight[left], missing[left], sought[missing[left]])
        return Places.joined([found, more, rest]), lowest

    def _tight(self, bounds: _Bounds, bound: Floats, sought: Floats, members: Ints) -> Floats:
        """(some S, V, E, O): the greatest of the bounds at several prices of time."""
        limit, deadline = sought[members], self.batch.deadline[members]
        if not np.isfinite(limit).all():
            return bound
        highest = bound.min(axis=(1, 2, 3))
        start = self.part[members].copy()
        for factor in AROUND:
            many = np.flatnonzero((bound < limit[:, None, None, None]).sum(axis=(1, 2, 3)) > FEW)
            if not len(many):
                break
            part = np.clip(start[many] * factor, 1e-3, 1e3)
            per_second = part * np.maximum(limit[many], 1e-12) / deadline[many]
            tighter = bounds.of_some(members[many]).at(per_second) - (per_second * deadline[many])[:, None, None, None]
            lowest = tighter.min(axis=(1, 2, 3))
            better = lowest > highest[many]
            highest[many[better]] = lowest[better]
            self.part[members[many[better]]] = part[better]
            bound[many] = np.maximum(bound[many], tighter)
        return bound

    def _all(self, bounds: _Bounds, bound: Floats, members: Ints, sought: Floats) -> tuple[Places, Floats]:
        """For some streams: the best plan of every edge below what is sought, and the least, at most what is sought."""
        o, at, v, e = np.nonzero(np.moveaxis(bound < sought[:, None, None, None], -1, 0))  # by first cut
        places, cost = self._joined(bounds, Halves(members[at], v, e, o))
        least = sought.copy()
        np.minimum.at(least, at, cost)
        order = np.lexsort((cost, e, at))
        first = np.ones(len(order), dtype=bool)
        first[1:] = (np.diff(at[order]) != 0) | (np.diff(e[order]) != 0)
        best = order[first]
        return places.chosen(best[cost[best] < sought[at[best]]]), least

    def _joined(self, bounds: _Bounds, halves: Halves) -> tuple[Places, Floats]:
        """The best second half of some first halves, and what the plans cost."""
        places, costs = [], []
        for start in range(0, max(1, len(halves.member)), CHUNK):
            s, v, e, o = some = Halves(*(axis[start : start + CHUNK] for axis in halves))
            nearest = int(self.batch.starts[self.batch.cut[o].min(initial=len(self.batch.starts) - 1)])
            cost = self._pairs(bounds, some, slice(nearest, None))
            best = cost.reshape(len(s), -1).argmin(axis=1) if len(s) else s
            cloud, second = np.divmod(best, cost.shape[2])
            places.append(Places(s, v, e, cloud, o, second + nearest))
            costs.append(cost[np.arange(len(s)), cloud, second])
        return Places.joined(places), np.concatenate(costs)

    def _pairs(self, bounds: _Bounds, halves: Halves, seconds: slice) -> Floats:
        """(P, C, some O): what each first half costs with second halves; infinity where they do not go together."""
        batch, of, prices, (s, v, e, o) = self.batch, self.batch.of, bounds.prices, halves
        cut = batch.cut[seconds]
        middle = of["sums"][s, v, e, seconds] - of["sums"][s, v, e, o][:, None]
        later = cut > batch.cut[o][:, None]
        fits = (later & batch.runs[s, v, e][:, None]) | (cut == batch.cut[o][:, None])
        if batch.last is not None:
            fits &= self._in_memory(batch.last, halves, cut)
        fits &= batch.drop[s, seconds] <= (batch.budget[s, v] - batch.drop[s, o])[:, None]
        here = prices.station[s, e][:, None] * (middle + of["encode"][s, v, seconds] + of["decode"][s, v, o][:, None])
        here += (prices.device[s] * of["device"][s, v, o] + prices.first[s, e] * of["bits"][s, v, o])[:, None]
        here[~fits] = np.inf
        cost: Floats = bounds.after[s, v, e, :, seconds] + here[:, None]
        if prices.latency or (batch.deadline[s] < LONGEST_SECONDS).any():
            lasts = of["spans"][s, v, e, seconds] - of["spans"][s, v, e, o][:, None]
            before = lasts + later * of["queue"][s, e][:, None] + of["latency_before"][s, v, e, o][:, None]
            taken = of["latency_after"][s, v, e, :, seconds] + before[:, None]
            if prices.latency:
                cost += prices.latency * taken
            cost[taken > batch.deadline[s][:, None, None]] = np.inf
        return cost

    def _in_memory(self, last: Ints, halves: Halves, cut: Ints) -> Bools:
        """(P, some O): whether edges have memory for the segments from first halves to cuts, or have them loaded."""
        batch, (s, v, e, o) = self.batch, halves
        first = batch.cut[o]
        fits: Bools = cut <= np.maximum(last[s, v, e, o], first)[:, None]
        if batch.loaded:
            for row, place in enumerate(zip(*(axis.tolist() for axis in (s, v, e, first)), strict=True)):
                fits[row] |= np.isin(cut, batch.loaded.get(place, ()))
        return fits


def _lowest(bound: Floats, members: Ints, sought: Floats) -> Halves:
    """Of each stream and edge the first half of the lowest bound, if that is below what is sought."""
    streams, variants, edges, offers = bound.shape
    flat = np.moveaxis(bound, 2, 1).reshape(streams, edges, variants * offers)
    best = flat.argmin(axis=2)
    lowest = np.take_along_axis(flat, best[..., None], axis=2)[..., 0]
    at, edge = np.nonzero(lowest < sought[members][:, None])
    v, offer = np.divmod(best[at, edge], offers)
    return Halves(members[at], v, edge, offer)


def _free(batch: Batch) -> Prices:
    """Prices by which a plan costs its latency."""
    nothing = np.zeros(batch.station.shape)
    return Prices(nothing[:, 0], nothing, nothing, np.zeros(batch.second.shape), 1.0)


class _Bounds:
    """What plans cost at least, by their first half, at prices of the resources and of time."""

    def __init__(self, search: TwoHops, prices: Prices, members: Ints) -> None:
        self.search, self.prices, self.members = search, prices, members
        batch = search.batch
        every = len(members) == len(batch.members)

        def some(array: Floats) -> Floats:
            return array if every else array[members]

        of = {name: some(array) for name, array in batch.of.items()}
        self.of, edges = of, batch.edges
        station, first, second = prices.station[members], prices.first[members], prices.second[members]
        edge_price = station[:, None, :edges, None]
        before = edge_price * (of["decode"][:, :, None] - of["sums"])
        before += first[:, None, :edges, None] * of["bits"][:, :, None]
        before += (prices.device[members][:, None, None] * of["device"])[:, :, None]
        self.before = before + some(search._no_first)  # noqa: SLF001 - its other half
        after = second[:, None, :, :, None] * of["bits"][:, :, None, None]
        after += (station[:, None, edges:, None] * of["beyond"])[:, :, None]
        after += some(search._no_second)  # noqa: SLF001 - its other half
        self.after = after
        self.middle = edge_price * (of["encode"][:, :, None] + of["sums"])
        self.no_block = some(search._no_block)[..., None]  # noqa: SLF001 - its other half
        self.levels = _levels(batch, members)

    def of_some(self, members: Ints) -> _Bounds:
        """The same of some streams."""
        return self if len(members) == len(self.members) else _Bounds(self.search, self.prices, members)

    def at(self, per_second: Floats | None) -> Floats:
        """(S, V, E, O), with latency at a price (S) besides its own."""
        batch, of = self.search.batch, self.of
        before, after, middle, wait = self.before, self.after, self.middle, self.no_block
        if per_second is not None or self.prices.latency:
            time = np.full(len(self.members), self.prices.latency) + (0.0 if per_second is None else per_second)
            time = time[:, None, None, None]
            before = before + time * (of["latency_before"] - of["spans"])
            after = after + time[..., None] * of["latency_after"]
            middle = middle + time * of["spans"]
            wait = wait + time * of["queue"][:, None, :, None]
        least = after.min(axis=3)
        least += middle
        result = np.full(before.shape, np.inf)
        for level, mask in self.levels:
            usable = (
                least if level is None else np.where(batch.drop[self.members][:, None, None] <= level, least, np.inf)
            )
            by_cut = np.minimum.reduceat(usable, batch.starts, axis=-1)
            later = np.full(by_cut.shape, np.inf)
            later[..., :-1] = np.minimum.accumulate(by_cut[..., :0:-1], axis=-1)[..., ::-1]
            whole = before + np.minimum(by_cut, later + wait)[..., batch.cut]
            result = whole if mask is None else np.where(mask[:, :, None], whole, result)
        return result


def _levels(batch: Batch, members: Ints) -> list[tuple[float | None, Bools | None]]:
    """What second codecs may lose: each level, with (S, V, O) the first offers that leave at most that."""
    drop, budget = batch.drop[members], batch.budget[members]
    if (budget >= 2 * drop.max(initial=0.0)).all():
        return [(None, None)]
    left = budget[:, :, None] - drop[:, None]
    values = np.unique(left[left >= 0])
    if not len(values):
        return [(None, left >= 0)]
    chosen = np.unique(values[np.linspace(0, len(values) - 1, LEVELS).astype(np.intp)])
    place = np.searchsorted(chosen, left)
    return [(float(level), (left >= 0) & (place == index)) for index, level in enumerate(chosen)]
