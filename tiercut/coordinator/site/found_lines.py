"""Lines that several hops turn out to share: pairs of hops are held against each other, and groups of them are lines.

What speaks for a line and what against is in `tiercut.estimate.together`. A line is found on clear evidence, and
forgotten on clear evidence against it: in between, what is known stays, as a line that is always full says nothing.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from tiercut.estimate.links import LinkSample
from tiercut.estimate.together import FEWEST, Alone, Crossings, Evidence, evidence, lonely_of

#: From where to where, by the nodes' ids.
Hop = tuple[str, str]
Pair = tuple[Hop, Hop]

#: Hops are held against each other this often; so many pairs at most, those first that have waited longest.
LOOK_S, MOST_PAIRS = 5.0, 32
#: Two hops share a line where at least this part of their transfers lasted as on one line: so much more than by chance,
#: and so many standard deviations, at so many looks in a row; they do not where at most this part did.
SHARED, MORE, SURE, TIMES = 0.75, 0.15, 3.0, 2
APART = 0.5
#: What is never or always so by chance was seen too rarely to know.
LEAST_CHANCE = 0.05
#: A hop that nothing crosses any more is forgotten.
GONE_S = 900.0


@dataclass(frozen=True, slots=True)
class Found:
    """A line as it was found.

    Attributes:
        hops: That share it.
        mbps: What the quickest of them gets alone.
    """

    hops: tuple[Hop, ...]
    mbps: float


class LineFinder:
    """Finds the lines that hops share.

    Args:
        is_declared: Whether somebody has said which line a hop crosses: it is left alone.
    """

    def __init__(self, is_declared: Callable[[Hop], bool]) -> None:
        self._is_declared = is_declared
        self._hops: dict[Hop, Crossings] = {}
        self._shared: set[Pair] = set()
        self._apart: set[Pair] = set()
        #: looks in a row at which a pair seemed to share a line
        self._times: Counter[Pair] = Counter()
        #: when each pair was looked at
        self._judged: dict[Pair, float] = {}
        self._looked_s = -math.inf

    def observe(self, hop: Hop, sample: LinkSample) -> None:
        """A transfer has ended."""
        if not self._is_declared(hop):
            self._hops.setdefault(hop, Crossings()).observe(sample)

    def look(self, now_s: float) -> list[Found] | None:
        """The lines, where it is time to look at the hops and what is known has changed."""
        if now_s - self._looked_s < LOOK_S:
            return None
        self._looked_s = now_s
        before = set(self._shared), set(self._apart)
        self._forget(now_s)
        alone = {hop: found for hop, crossings in self._hops.items() if (found := crossings.since(now_s)) is not None}
        lonely = dict(zip(alone, lonely_of(list(alone.values())), strict=True))
        pairs = [pair for pair in itertools.combinations(sorted(alone), 2) if _may_share(*pair)]
        for pair in sorted(pairs, key=lambda each: self._judged.get(each, -math.inf))[:MOST_PAIRS]:
            self._judged[pair] = now_s
            one, other = pair
            self._judge(pair, evidence(alone[one], alone[other], (lonely[one], lonely[other])))
        if before == (self._shared, self._apart):
            return None
        return [Found(hops, _mbps(alone[hop] for hop in hops if hop in alone)) for hops in self._groups()]

    def _judge(self, pair: Pair, said: Evidence) -> None:
        if said.pairs < FEWEST:
            return
        if said.together <= APART:
            self._shared.discard(pair)
            self._apart.add(pair)
        chance = min(max(said.by_chance, LEAST_CHANCE), 1 - LEAST_CHANCE)
        more = max(MORE, SURE * math.sqrt(chance * (1 - chance) / said.pairs))
        shared = said.together >= SHARED and said.together - said.by_chance >= more
        self._times[pair] = self._times[pair] + 1 if shared else 0
        if self._times[pair] >= TIMES:
            self._apart.discard(pair)
            self._shared.add(pair)

    def _groups(self) -> list[tuple[Hop, ...]]:
        """Hops that share a line with each other, as far as is known; none that is known not to with any of them."""
        groups = [{hop} for hop in sorted({hop for pair in self._shared for hop in pair})]
        for one, other in sorted(self._shared):
            first, second = (next(group for group in groups if hop in group) for hop in (one, other))
            if first is not second and not any((min(a, b), max(a, b)) in self._apart for a in first for b in second):
                groups.remove(second)
                first |= second
        return [tuple(sorted(group)) for group in groups if len(group) > 1]

    def _forget(self, now_s: float) -> None:
        gone = {hop for hop, crossings in self._hops.items() if crossings.heard_s < now_s - GONE_S}
        for hop in gone:
            del self._hops[hop]
        for known in (self._shared, self._apart):
            known -= {pair for pair in known if not gone.isdisjoint(pair)}
        for of_pair in (self._times, self._judged):
            for pair in [pair for pair in of_pair if not gone.isdisjoint(pair)]:
                del of_pair[pair]


def _may_share(one: Hop, other: Hop) -> bool:
    """Hops from one node, or to one tier: others are not said of one line by the same frames one after the other."""
    return one[0] == other[0] or one[1].partition("/")[0] == other[1].partition("/")[0]


def _mbps(hops: Iterable[Alone]) -> float:
    return max((each.mbps for each in hops), default=0.0)
