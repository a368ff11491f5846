"""The cheapest plans of every stream, where a second of each resource has a price: what a linear program lacks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tiercut.planner.objectives import Floats
from tiercut.planner.site.columns import Places
from tiercut.planner.site.resources import Resources
from tiercut.planner.site.tables import Batch
from tiercut.planner.site.two_hops import Prices, TwoHops


@dataclass(frozen=True, slots=True)
class Found:
    """What a search has found.

    Attributes:
        places: Plans below what was sought, of each stream the best of every kind of way.
        least: (S) what the cheapest plan of each stream costs, or a bound below it; infinity without a plan.
    """

    places: Places
    least: Floats


class Pricing:
    """The search in one batch; it remembers which price of time was useful to whom."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch
        self._two_hops = TwoHops(batch) if batch.second.size else None

    def cheapest(self, resources: Resources, price: Floats, latency: float, sought: Floats) -> Found:
        """Plans that cost less than what is sought (S), and the least that any costs.

        Args:
            resources: Of the site.
            price: (R) of a second of each resource.
            latency: Price of a second that a frame is under way.
            sought: (S).
        """
        batch, of = self.batch, self.batch.of
        per_bit = resources.per_bit(price)
        prices = Prices(price[batch.device], price[batch.station], per_bit[batch.first], per_bit[batch.second], latency)
        alone = prices.device[:, None] * of["alone"] + _latency(latency, of["latency_alone"])
        found, least = [_alone(alone, sought)], alone.min(axis=1)
        if batch.first.size:
            one = _one_hop(batch, prices)
            found.append(_one(one, sought))
            least = np.minimum(least, one.min(axis=(1, 2, 3)))
        if self._two_hops:
            places, two = self._two_hops.cheapest(prices, sought)
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
    cost = of["finish"] * prices.station[:, None, :, None]
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
