"""Plans as columns of a linear program: what a frame of each takes, and how long it is under way."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tiercut.planner.costs import Ints
from tiercut.planner.objectives import Floats
from tiercut.planner.plan_cost import PlanIndex, stages_of
from tiercut.planner.site.resources import Resources
from tiercut.planner.site.tables import Batch


@dataclass(frozen=True, slots=True)
class Columns:
    """Some plans.

    Attributes:
        stream: (P) positions in the site.
        plan: (P) by positions in the stream's problem.
        latency: (P) seconds.
        starts: (P) where each one's entries begin.
        rows: (entries) resources, none twice in a plan.
        seconds: (entries) that a frame keeps them busy.
    """

    stream: Ints
    plan: tuple[PlanIndex, ...]
    latency: Floats
    starts: Ints
    rows: Ints
    seconds: Floats

    def __len__(self) -> int:
        return len(self.plan)

    @property
    def counts(self) -> Ints:
        """(P) how many entries each has."""
        return np.diff(self.starts, append=len(self.rows))

    def chosen(self, keep: Ints) -> Columns:
        """Some of them."""
        mask = np.zeros(len(self), dtype=bool)
        mask[keep] = True
        entries, counts = np.repeat(mask, self.counts), self.counts[keep]
        return Columns(
            self.stream[keep],
            tuple(self.plan[index] for index in keep.tolist()),
            self.latency[keep],
            np.cumsum(counts) - counts,
            self.rows[entries],
            self.seconds[entries],
        )

    @classmethod
    def none(cls) -> Columns:
        """No plan."""
        positions, figures = np.zeros(0, dtype=np.intp), np.zeros(0)
        return cls(positions, (), figures, positions, positions, figures)

    @classmethod
    def joined(cls, parts: list[Columns]) -> Columns:
        """All of several."""
        counts = np.concatenate([part.counts for part in parts])
        return cls(
            np.concatenate([part.stream for part in parts]),
            tuple(plan for part in parts for plan in part.plan),
            np.concatenate([part.latency for part in parts]),
            np.cumsum(counts) - counts,
            np.concatenate([part.rows for part in parts]),
            np.concatenate([part.seconds for part in parts]),
        )


@dataclass(frozen=True, slots=True)
class Places:
    """Plans by their places in the tables of a batch; -1 for what a plan does not have. All arrays: (P).

    Attributes:
        member: Position in the batch.
        variant: Axis V.
        station: Axis W.
        cloud: Axis C, of plans with two hops.
        first: Axis O.
        second: Axis O.
    """

    member: Ints
    variant: Ints
    station: Ints
    cloud: Ints
    first: Ints
    second: Ints

    def chosen(self, keep: Ints) -> Places:
        """Some of them."""
        return Places(*(getattr(self, name)[keep] for name in self.__slots__))

    @classmethod
    def joined(cls, parts: list[Places]) -> Places:
        """All of several."""
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in cls.__slots__))


def columns_at(batch: Batch, places: Places, resources: Resources) -> Columns:
    """The plans at some places of a batch's tables."""
    of, s, v, w = batch.of, places.member, places.variant, places.station
    first, second = np.maximum(places.first, 0), np.maximum(places.second, 0)
    any_hop, two = places.station >= 0, places.cloud >= 0
    edge = np.where(two, w, 0)
    cloud = np.where(two, places.cloud, 0)
    hop_1 = np.where(any_hop, batch.first[s, w], 0) if batch.first.size else np.zeros(len(s), dtype=np.intp)
    hop_2 = np.where(two, batch.second[s, edge, cloud], 0) if batch.second.size else np.zeros(len(s), dtype=np.intp)
    bits_1, bits_2 = of["bits"][s, v, first] * any_hop, of["bits"][s, v, second] * two
    device = np.where(any_hop, of["device"][s, v, first], of["alone"][s, v])
    decode = of["decode"][s, v, first] * any_hop
    latency = np.where(any_hop, 0.0, of["latency_alone"][s, v])
    station, beyond = np.zeros(len(s)), np.zeros(len(s))
    if batch.first.size:
        one = any_hop & ~two
        latency = np.where(one, of["latency_one"][s, v, w, first], latency)
        station = np.where(one, of["finish"][s, v, w, first], 0.0)
    if batch.second.size:
        middle = of["sums"][s, v, edge, second] - of["sums"][s, v, edge, first]
        lasts = of["spans"][s, v, edge, second] - of["spans"][s, v, edge, first]
        wait = of["queue"][s, edge] * (batch.cut[second] > batch.cut[first])
        whole = of["latency_before"][s, v, edge, first] + of["latency_after"][s, v, edge, cloud, second] + lasts + wait
        latency = np.where(two, whole, latency)
        station = np.where(two, decode + of["encode"][s, v, second] + np.maximum(middle, 0.0), station)
        beyond = np.where(two, of["beyond"][s, v, cloud, second], 0.0)
    rows, seconds = _entries(
        [
            (batch.device[s], device),
            (resources.link[hop_1], bits_1 * resources.link_per_bit[hop_1]),
            (batch.station[s, w] if batch.station.size else batch.device[s], station),
            (resources.link[hop_2], bits_2 * resources.link_per_bit[hop_2]),
            (batch.station[s, batch.edges + cloud] if batch.second.size else batch.device[s], beyond),
        ],
        resources,
        bits_1[:, None] * resources.lines_per_bit[hop_1] + bits_2[:, None] * resources.lines_per_bit[hop_2],
    )
    used = seconds > 0
    counts = used.sum(axis=1)
    plans = tuple(
        batch.pieces[member].plan(*place)
        for member, *place in zip(*(getattr(places, name).tolist() for name in places.__slots__), strict=True)
    )
    return Columns(batch.members[s], plans, latency, np.cumsum(counts) - counts, rows[used], seconds[used])


def _entries(pairs: list[tuple[Ints, Floats]], resources: Resources, lines: Floats) -> tuple[Ints, Floats]:
    """(P, K) rows and seconds."""
    rows = np.stack([row for row, _ in pairs], axis=1)
    line = np.broadcast_to(resources.line, (len(rows), len(resources.line)))
    seconds = np.stack([busy for _, busy in pairs], axis=1)
    return np.concatenate((rows, line), axis=1), np.concatenate((seconds, lines), axis=1)


def columns_of(known: list[tuple[int, PlanIndex]], resources: Resources) -> Columns:
    """Plans that are given, as (stream, plan)."""
    busy = [resources.busy_seconds(stream, plan) for stream, plan in known]
    counts = np.array([len(one) for one in busy], dtype=np.intp)
    return Columns(
        stream=np.array([stream for stream, _ in known], dtype=np.intp),
        plan=tuple(plan for _, plan in known),
        latency=np.array([latency_of(resources, stream, plan) for stream, plan in known]),
        starts=np.cumsum(counts) - counts,
        rows=np.array([resources.row[where] for one in busy for where in one], dtype=np.intp),
        seconds=np.array([seconds for one in busy for seconds in one.values()]),
    )


def latency_of(resources: Resources, stream: int, plan: PlanIndex) -> float:
    """Seconds that a frame takes where nothing waits for others."""
    return sum(stage.seconds for stage in stages_of(resources.problems[stream], plan))
