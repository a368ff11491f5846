"""Least latency of every group of plans, without trying the plans one by one.

A *group* is all that a plan fixes but its cloud and its second cut. For a group (variant v, edge e, codecs k and l,
first cut a) the latency splits into what lies before the edge and what follows from a on:

    latency(b) = F[v,e,k,a] + rest[v,e,l,a](b)          F = device + first hop
    rest(a)    = G[a]                                   the edge only relays    G = second hop + cloud, the best cloud
    rest(b)    = queue + steps[a] + ... + steps[b-1] + G[b]

so the best second cut does not depend on the first codec, and one pass from the last cut to the first finds it for all
cuts: ``run[a] = steps[a] + min(G[a+1], run[a+1])``. Plans with no hop and with one hop have no second cut to choose.
Neurosurgeon (Kang et al., ASPLOS 2017, Algorithm 1) is the case of one hop; Edgent (Li et al., 2018) adds the exits.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tiercut.planner.costs import Costs
from tiercut.planner.fields import Floats

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Tables:
    """One value per group, by number of hops; infinity where no plan is.

    Attributes:
        none: (V) device only.
        one: (V, W, K, A) one hop, to a station that runs the rest.
        two: (V, E, K, K, A) two hops.
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
class Halves:
    """The two halves of the plans with two hops: before the edge (F) and after it (G); see the top of this file.

    Attributes:
        before: (V, E, K, A) device and first hop.
        after: (V, E, C, K, A) second hop and cloud.
    """

    before: Floats
    after: Floats


def halves(costs: Costs) -> Halves:
    """Add up both halves."""
    before = costs.device[:, None, None, :] + costs.first[:, : costs.edges]
    after = costs.second + costs.finish[:, None, costs.edges :, None, :]
    return Halves(before, after)


def alone(costs: Costs) -> Floats:
    """(V) the device runs everything."""
    return costs.device[np.arange(len(costs.blocks)), costs.blocks]


def least_latency(costs: Costs, floor: float) -> Tables:
    """Least latency of every group that is at least ``floor`` accurate."""
    parts = halves(costs)
    one = costs.device[:, None, None, :] + costs.first + costs.finish[:, :, None, :]
    two = join(parts.before, rest(costs, parts.after.min(axis=2, initial=np.inf)))
    return Tables(alone(costs), one, two).keep(*accurate(costs, floor))


def join(before: Floats, after: Floats) -> Floats:
    """(V, E, K, K, A): every first half with every second half."""
    joined: Floats = before[:, :, :, None, :] + after[:, :, None, :, :]
    return joined


def rest(costs: Costs, after: Floats) -> Floats:
    """(V, E, K, A): least seconds from cut a to the result, over all second cuts."""
    by_cut = np.ascontiguousarray(np.moveaxis(after, -1, 0))
    steps = np.moveaxis(costs.edge_steps, -1, 0)[..., None]
    run = np.full_like(by_cut, np.inf)
    for cut in range(len(by_cut) - 2, -1, -1):
        np.minimum(by_cut[cut + 1], run[cut + 1], out=run[cut])
        run[cut] += steps[cut]
    best = np.minimum(by_cut, run + costs.edge_queue[:, None])
    return np.moveaxis(best, 0, -1)


def accuracies(costs: Costs) -> tuple[Floats, Floats, Floats]:
    """Accuracy of every group, in shapes that broadcast against `Tables`."""
    variant, drop = costs.accuracy, costs.drop
    one = variant[:, None] - drop
    two = variant[:, None, None] - (drop[:, None] + drop)
    return variant, one[:, None, :, None], two[:, None, :, :, None]


def accurate(costs: Costs, floor: float) -> tuple[Bools, Bools, Bools]:
    """Which groups are at least so accurate."""
    none, one, two = (values >= floor for values in accuracies(costs))
    return none, one, two


def energies(costs: Costs) -> tuple[Floats, Floats, Floats]:
    """The device's joules of every group, in shapes that broadcast against `Tables`."""
    none = costs.device_joules[np.arange(len(costs.blocks)), costs.blocks]
    one = costs.device_joules[:, None, None, :] + costs.first_joules
    return none, one, one[:, : costs.edges, :, None, :]
