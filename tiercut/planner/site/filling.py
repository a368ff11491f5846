"""Fair rates for all streams: their level is raised until something is full, and then that of the others further.

Each step is a linear program: the greatest level (frames/s and weight) that all streams can have whose level is not
known yet. Those that hold it down, and those that have all they ask for, keep what they have. What they are short of is
what has a price then. Plans come in as they are needed (*column generation*, Gilmore and Gomory, 1961): prices of the
resources in a solution say which plans would make it better (`pricing`); where no such plan is left, it is the best of
all plans.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from tiercut.planner.costs import Ints
from tiercut.planner.objectives import Floats
from tiercut.planner.search import Bools
from tiercut.planner.site.columns import Columns, columns_at
from tiercut.planner.site.master import Master, Solved
from tiercut.planner.site.pricing import Pricing
from tiercut.planner.site.resources import Resources

#: A plan is better when it costs less by this part.
BETTER = 1e-7

#: The same where only the latency is sought.
QUICKER = 1e-3

#: Searches for plans after which those that are known have to do.
MAX_SEARCHES = 400

#: Steps after which the streams whose level is still sought keep it, and share what is left by the total alone.
MAX_STEPS = 200

#: Rates that are kept from one program to the next may be this part lower: a solver keeps its bounds to 1e-9, which is
#: much of a rate that takes next to nothing. The next is tried where the first leaves no solution.
LOOSE = (1e-8, 1e-6, 1e-4)


@dataclass
class Filling:
    """The state of the search.

    Attributes:
        master: The program.
        pricing: The search in all plans; none where only known plans may be followed.
        resources: What is shared.
        asked: (S) frames/s.
        weight: (S).
        searches: So many were made.
        short: (S) rows of the resources that a stream is short of, what counts most first.
    """

    master: Master
    pricing: Sequence[Pricing]
    resources: Resources
    asked: Floats
    weight: Floats
    searches: int = 0
    short: dict[int, tuple[int, ...]] = field(default_factory=dict)
    _known: set[tuple[int, object]] = field(default_factory=set)
    _last: Solved | None = None
    _failed: bool = False
    _least: Floats = field(default_factory=lambda: np.zeros(0))

    def start(self, known: Columns) -> Bools:
        """Put in known plans and the quickest ones; returns (S) which streams have any."""
        possible = np.zeros(len(self.asked), dtype=bool)
        possible[known.stream] = True
        self._put([known], cost=0.0)
        free = np.zeros(len(self.resources.names))
        least = self._search(free, np.full(len(self.asked), np.inf), latency=1.0, cost=0.0)[1]
        return possible | np.isfinite(least)

    def levels(self, possible: Bools) -> Floats:
        """(S) frames/s: as much as all can have alike, then each as much as it can have without the others' loss."""
        level = np.zeros(len(self.asked))
        active = [int(stream) for stream in np.flatnonzero(possible & (self.asked > 0))]
        for _ in range(MAX_STEPS):
            if not active:
                break
            highest = float((self.asked[active] / self.weight[active]).min())
            self.master.seek_level(active, highest)
            solved = self._best(level, enough=highest)
            if self._failed:
                break
            level[active] = np.minimum(self.asked[active], self.weight[active] * solved.level)
            done = self.asked[active] <= self.weight[active] * solved.level * (1 + BETTER)
            if not done.any():
                done = self.weight[active] * solved.held[active] > BETTER
                self._note_short(solved, [stream for stream, is_done in zip(active, done, strict=True) if is_done])
            if not done.any():
                break
            active = [stream for stream, is_done in zip(active, done, strict=True) if not is_done]
        return level

    def most(self, level: Floats) -> tuple[Floats, float]:
        """(S) the rates that are most in all where no stream has less than its level, and a bound on their sum.

        Infinity stands for no bound, where the solver fails.
        """
        self.master.seek(np.full(len(level), -1.0), np.zeros(len(self.master.latency)))
        solved, least = self._best(level), self._least
        if self._failed:
            return level, np.inf
        return np.maximum(solved.rates, level), self._bound(solved, least, -solved.value)

    def _bound(self, solved: Solved, least: Floats, value: float) -> float:
        """What no plan exceeds: prices made so high that no plan costs less than a frame is worth (weak duality)."""
        worth = np.maximum(solved.worth, 0.0)
        lacking = (least < worth) & (worth > 0)
        if not lacking.any():
            return value
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            dearer = float((worth[lacking] / least[lacking]).max() - 1) * float(solved.price @ self.master.capacity)
            paid = float((self.asked[lacking] * (worth - least)[lacking]).sum())
        return value + min(dearer, paid)

    def quickest(self, rates: Floats) -> Solved:
        """Those rates in the least time: the sum of rate and latency."""
        self.master.seek(np.zeros(len(rates)), self.master.latency)
        solved = self._best(rates, latency=1.0, better=QUICKER)
        later = len(self.master.latency) - len(solved.plans)  # put in after the last solution, if the solver fails
        return replace(solved, plans=np.pad(solved.plans, (0, later)))

    def _best(self, rates: Floats, *, latency: float = 0.0, better: float = BETTER, enough: float = np.inf) -> Solved:
        """The program's solution over all plans, where streams (S) have at least those rates.

        No plan makes it better by that part, or it is enough. Where the solver fails: the last solution.
        """
        solved = self._first(rates)
        self._failed = solved is None
        solved = solved or self._last or self.master.nothing()
        while not self._failed:
            self._last, self._least = solved, solved.worth
            if solved.level >= enough * (1 - BETTER) or not self.pricing or self.searches >= MAX_SEARCHES:
                return solved
            added, self._least = self._search(solved.price, solved.worth * (1 - better), latency, latency)
            if not added:
                return solved
            solved = self.master.solve() or solved
        return solved

    def _first(self, rates: Floats) -> Solved | None:
        """The solution over the plans that are known so far; ``None`` where the solver fails."""
        for loose in LOOSE:
            self.master.bound_rates(rates * (1 - loose), self.asked)
            solved = self.master.solve()
            if solved is not None:
                return solved
        return None

    def _search(self, price: Floats, sought: Floats, latency: float, cost: float) -> tuple[int, Floats]:
        """Put in plans that cost less than what is sought; returns how many were new, and the least that any costs."""
        self.searches += 1
        least, found = np.full(len(sought), np.inf), []
        for pricing in self.pricing:
            members = pricing.batch.members
            one = pricing.cheapest(self.resources, price, latency, sought[members])
            least[members] = one.least
            found.append(columns_at(pricing.batch, one.places, self.resources))
        return self._put(found, cost), least

    def _put(self, found: Sequence[Columns], cost: float) -> int:
        """Put in those that are new, at a cost of their latency."""
        count = 0
        for columns in found:
            keys = zip(columns.stream.tolist(), columns.plan, strict=True)
            new = [index for index, key in enumerate(keys) if self._is_new(key)]
            chosen = columns if len(new) == len(columns) else columns.chosen(np.array(new, dtype=np.intp))
            self.master.add(chosen, cost * chosen.latency)
            count += len(new)
        return count

    def _is_new(self, key: tuple[int, object]) -> bool:
        known = key in self._known
        self._known.add(key)
        return not known

    def _note_short(self, solved: Solved, streams: Sequence[int]) -> None:
        """What streams are short of: what has a price and they could use, where it is theirs or that of their like."""
        scarce = solved.price > BETTER * solved.price.max(initial=0.0)
        columns = self.master.all_columns()
        group = _groups(columns, solved.plans > 0, scarce, len(self.asked))
        owner = np.repeat(columns.stream, columns.counts)
        by_price = np.argsort(-solved.price, kind="stable").tolist()
        for stream in streams:
            mine = group[stream] & set(columns.rows[owner == stream].tolist())
            self.short[stream] = tuple(row for row in by_price if row in mine)


def _groups(columns: Columns, followed: Bools, scarce: Bools, streams: int) -> dict[int, set[int]]:
    """The scarce resources of each stream, and those of the streams that it shares them with, and so on."""
    owner: Ints = np.repeat(columns.stream, columns.counts)
    used = np.repeat(followed, columns.counts) & scarce[columns.rows]
    parent = list(range(streams + len(scarce)))

    def root(member: int) -> int:
        while parent[member] != member:
            parent[member] = member = parent[parent[member]]
        return member

    for stream, row in {(int(s), int(r)) for s, r in zip(owner[used], columns.rows[used], strict=True)}:
        parent[root(stream)] = root(streams + row)
    rows: dict[int, set[int]] = {}
    for row in np.flatnonzero(scarce).tolist():
        rows.setdefault(root(streams + row), set()).add(row)
    return {stream: rows.get(root(stream), set()) for stream in range(streams)}
