"""The cheapest plans of every stream, where a second of each resource has a price: what a linear program lacks.

The same search over two cuts as for latency (`search`), with prices for weights: one pass over the cuts, from the last
to the first, gives for every first half of a plan the least that any second half adds. A deadline couples the halves,
and so does a limit on what two codecs may lose together. Both are then only *bounds from below* for each first half:
those first halves whose bound stays below what is sought are joined with every second half, one by one. Where many are
left, the bound is made tighter by a price on the plan's time (Lagrange: whatever is paid for latency is given back for
the deadline), at a few prices from cheap to dear. So the cheapest plan is always found, and mostly at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from tiercut.planner.costs import Ints
from tiercut.planner.objectives import Floats
from tiercut.planner.search import Bools
from tiercut.planner.site.columns import Places
from tiercut.planner.site.resources import Resources
from tiercut.planner.site.tables import Batch

#: Prices of a second of latency that are tried, as a part of what is sought per second of the deadline.
LATENCY_PRICES = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0)

#: First halves that are joined with all second halves at once.
CHUNK = 256

#: Levels of what a second codec may lose; with more than that, bounds are a little lower.
LEVELS = 4


@dataclass(frozen=True, slots=True)
class Found:
    """What a search has found.

    Attributes:
        places: Plans below what was sought, of each stream the best of every kind of way.
        least: (S) what the cheapest plan of each stream costs, or a bound below it that is no less than what was
            sought; infinity without a plan.
    """

    places: Places
    least: Floats


@dataclass(frozen=True, slots=True)
class Prices:
    """Prices of a batch, per unit: seconds of processors, bits of hops, seconds of latency."""

    device: Floats
    station: Floats
    first: Floats
    second: Floats
    latency: float

    @classmethod
    def of(cls, batch: Batch, resources: Resources, price: Floats, latency: float) -> Prices:
        """At a price (R) of a second of each resource."""
        per_bit = resources.per_bit(price)
        return cls(price[batch.device], price[batch.station], per_bit[batch.first], per_bit[batch.second], latency)


class Halves(NamedTuple):
    """First halves of plans with two hops, by their places. All arrays: (P)."""

    member: Ints
    variant: Ints
    edge: Ints
    first: Ints


def cheapest(batch: Batch, prices: Prices, sought: Floats) -> Found:
    """Plans that cost less than what is sought (S), and the least that any costs."""
    of = batch.of
    alone = prices.device[:, None] * of["alone"] + _latency(prices.latency, of["latency_alone"])
    found, least = [_alone(alone, sought)], alone.min(axis=1)
    if batch.first.size:
        one = _one_hop(batch, prices)
        found.append(_one(one, sought))
        least = np.minimum(least, one.min(axis=(1, 2, 3)))
    if batch.second.size:
        places, two = _two_hops(batch, prices, sought)
        found.append(places)
        least = np.minimum(least, two)
    return Found(Places.joined(found), least)


def _latency(price: float, seconds: Floats) -> Floats:
    """What latency costs, infinity where it is."""
    return seconds * price if price else np.where(np.isfinite(seconds), 0.0, np.inf)


def _alone(cost: Floats, sought: Floats) -> Places:
    best = cost.argmin(axis=1)
    (member,) = np.nonzero(cost[np.arange(len(cost)), best] < sought)
    none = np.full(len(member), -1)
    return Places(member, best[member], none, none, none, none)


def _one_hop(batch: Batch, prices: Prices) -> Floats:
    """(S, V, W, O)."""
    of = batch.of
    cost = of["finish"] + of["decode"][:, :, None]
    cost *= prices.station[:, None, :, None]
    cost += prices.first[:, None, :, None] * of["bits"][:, :, None]
    cost += (prices.device[:, None, None] * of["device"])[:, :, None]
    cost += _latency(prices.latency, of["latency_one"])
    return cost


def _one(cost: Floats, sought: Floats) -> Places:
    """The best for every station."""
    streams, variants, stations, offers = cost.shape
    flat = np.moveaxis(cost, 2, 1).reshape(streams, stations, variants * offers)
    best = flat.argmin(axis=2)
    member, station = np.nonzero(np.take_along_axis(flat, best[..., None], axis=2)[..., 0] < sought[:, None])
    v, offer = np.divmod(best[member, station], offers)
    none = np.full(len(member), -1)
    return Places(member, v, station, none, offer, none)


def _two_hops(batch: Batch, prices: Prices, sought: Floats) -> tuple[Places, Floats]:
    """The best for every edge, and (S) the least or a bound that is no less than what is sought."""
    bound = _bounds(batch, prices, np.zeros(len(sought)), np.arange(len(sought)))
    lowest = bound.min(axis=(1, 2, 3))
    # Of each stream and edge the first half of the lowest bound.
    streams, variants, edges, offers = bound.shape
    flat = np.moveaxis(bound, 2, 1).reshape(streams, edges, variants * offers)
    best = flat.argmin(axis=2)
    member, edge = np.nonzero(np.take_along_axis(flat, best[..., None], axis=2)[..., 0] < sought[:, None])
    v, offer = np.divmod(best[member, edge], offers)
    places, cost = _joined(batch, prices, Halves(member, v, edge, offer))
    below = cost < sought[member]
    found = places.chosen(np.flatnonzero(below))
    # Streams whose lowest bounds are no plans: all first halves that may be the start of one.
    open_streams = np.setdiff1d(np.flatnonzero(lowest < sought), member[below])
    if not len(open_streams):
        return found, lowest
    more, least = _every_half(batch, prices, sought, open_streams, bound[open_streams])
    lowest[open_streams] = least
    return Places.joined([found, more]), lowest


def _bounds(batch: Batch, prices: Prices, per_second: Floats, members: Ints) -> Floats:
    """(S, V, E, O): what a plan with that first half costs at least, latency at a price (S) besides."""
    every = len(members) == len(batch.members)

    def of(name: str) -> Floats:
        return batch.of[name] if every else batch.of[name][members]

    station, first, second = prices.station[members], prices.first[members], prices.second[members]
    edges = batch.edges
    time = (prices.latency + per_second)[:, None, None, None]
    edge_price = station[:, None, :edges, None]
    coded = of("decode")[:, :, None] - of("sums")
    before = edge_price * coded + first[:, None, :edges, None] * of("bits")[:, :, None]
    before += (prices.device[members][:, None, None] * of("device"))[:, :, None]
    before += _timed(time, of("latency_before") - of("sums"))
    beyond = station[:, None, edges:, None] * (of("finish")[:, :, edges:] + of("decode")[:, :, None])
    after = second[:, None, :, :, None] * of("bits")[:, :, None, None]
    after += beyond[:, :, None]
    after += _timed(time[..., None], of("latency_after"))
    least = after.min(axis=3)
    least += edge_price * (of("encode")[:, :, None] + of("sums")) + time * of("sums")
    result = np.full(before.shape, np.inf)
    wait = (time * of("queue")[:, None, :, None]) + np.where(batch.runs[members][..., None], 0.0, np.inf)
    for level, mask in _levels(batch, members):
        usable = least if level is None else np.where(batch.drop[members][:, None, None] <= level, least, np.inf)
        by_cut = np.minimum.reduceat(usable, batch.starts, axis=-1)
        later = np.full(by_cut.shape, np.inf)
        later[..., :-1] = np.minimum.accumulate(by_cut[..., :0:-1], axis=-1)[..., ::-1]
        rest = np.minimum(by_cut, later + wait)[..., batch.cut]
        result = before + rest if mask is None else np.where(mask[:, :, None], before + rest, result)
    return result


def _timed(price: Floats, seconds: Floats) -> Floats:
    """What time costs, infinity where it is."""
    if price.any():
        with np.errstate(invalid="ignore"):
            return np.where(np.isfinite(seconds), seconds * price, np.inf)
    return np.where(np.isfinite(seconds), 0.0, np.inf)


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


def _joined(batch: Batch, prices: Prices, halves: Halves) -> tuple[Places, Floats]:
    """The best second half of some first halves, and what the plans cost."""
    places, costs = [], []
    for start in range(0, max(1, len(halves.member)), CHUNK):
        s, v, e, o = some = Halves(*(axis[start : start + CHUNK] for axis in halves))
        cost = _pairs(batch, prices, some)
        best = cost.reshape(len(s), -1).argmin(axis=1) if len(s) else s
        cloud, second = np.divmod(best, cost.shape[2])
        places.append(Places(s, v, e, cloud, o, second))
        costs.append(cost[np.arange(len(s)), cloud, second])
    return Places.joined(places), np.concatenate(costs)


def _pairs(batch: Batch, prices: Prices, halves: Halves) -> Floats:
    """(rows, C, O): what each first half costs with each second half; infinity where they do not go together."""
    (s, v, e, o), of, edges = halves, batch.of, batch.edges
    middle = of["sums"][s, v, e] - of["sums"][s, v, e, o][:, None]
    later = batch.cut > batch.cut[o][:, None]
    fits = (later & batch.runs[s, v, e][:, None]) | (batch.cut == batch.cut[o][:, None])
    left = batch.budget[s, v] - batch.drop[s, o]
    fits &= batch.drop[s] <= left[:, None]
    edge_seconds = middle + later * of["queue"][s, e][:, None] + of["latency_before"][s, v, e, o][:, None]
    seconds = of["latency_after"][s, v, e] + edge_seconds[:, None]
    fits_in_time = fits[:, None] & (seconds <= batch.deadline[s][:, None, None])
    cost = prices.second[s, e][..., None] * of["bits"][s, v][:, None]
    cost += prices.station[s, edges:][..., None] * (of["finish"][s, v, edges:] + of["decode"][s, v][:, None])
    here = prices.station[s, e][:, None] * (middle + of["encode"][s, v] + of["decode"][s, v, o][:, None])
    here += (prices.device[s] * of["device"][s, v, o] + prices.first[s, e] * of["bits"][s, v, o])[:, None]
    cost += here[:, None]
    if prices.latency:
        cost += prices.latency * np.where(fits_in_time, seconds, 0.0)
    return np.where(fits_in_time, cost, np.inf)


def _every_half(batch: Batch, prices: Prices, sought: Floats, members: Ints, bound: Floats) -> tuple[Places, Floats]:
    """For some streams: the best plan of every edge below what is sought, and the least (or a bound not below it)."""
    limit = sought[members][:, None, None, None]
    open_halves, deadline = bound < limit, batch.deadline[members]
    if open_halves.sum() > CHUNK and np.isfinite(limit).all():
        for part in LATENCY_PRICES:
            per_second = part * sought[members] / deadline
            tighter = _bounds(batch, prices, per_second, members) - (per_second * deadline)[:, None, None, None]
            open_halves &= tighter < limit
    at, v, e, o = np.nonzero(open_halves)
    places, cost = _joined(batch, prices, Halves(members[at], v, e, o))
    least = sought[members].copy()
    np.minimum.at(least, at, cost)
    order = np.lexsort((cost, e, at))
    first = np.ones(len(order), dtype=bool)
    first[1:] = (np.diff(at[order]) != 0) | (np.diff(e[order]) != 0)
    best = order[first]
    return places.chosen(best[cost[best] < sought[members[at[best]]]]), least
