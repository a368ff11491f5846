"""Whether two hops share a line, from the times of transfers that began while one of the other hop should have lasted.

What a transfer takes alone is known: a delay, and its bytes by the hop's rate at its best. Of two that begin so close
to each other that they should overlap, both are through after

    on lines of their own    the longer of the two              ``apart``
    on one line              the sum of both, less one delay    ``shared``

whether the line sends one after the other or both at half its rate. Where ``lasted`` is between the two says which it
is: ``(lasted - apart) / (shared - apart)`` is 0 or 1. Which pairs are looked at depends on when they began alone: a
stall makes no pairs.

Other things make transfers last: their own hop's frames before them (they count from when those are through), a busy
processor, a stall. So the same is asked of transfers that had nothing to do with each other: those of one hop with
those of the other some time earlier or later, of those that met no other hop's. Only what is more than that speaks for
a line; a stall that hits both hops at once counts for less than two that hit them one by one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from tiercut.estimate.links import LinkSample
from tiercut.estimate.shared_line import SMALL_BYTES
from tiercut.planner.memory import Ints
from tiercut.planner.objectives import Floats
from tiercut.planner.search import Bools

#: The last transfers of a hop that count, for so long; probes, which are sent alone, are remembered longer.
KEPT, PROBES, WITHIN_S, PROBES_S = 256, 16, 90.0, 600.0
#: Part of a hop's transfers that are quicker than what counts as alone.
ALONE = 0.2
#: A transfer counts whose bytes alone take this long: shorter ones are as long as programs take to hear of them. Pairs
#: count that would last this much longer on one line, and so much by the shorter one's bytes.
LEAST_S, LEAST_GAP_S, LEAST_GAP = 0.01, 0.005, 0.3
#: So many pairs say something.
FEWEST = 10
#: A pair speaks for one line from here on, between 0 and 1.
TOGETHER = 0.6
#: How much later the other hop's transfers are taken to be, in seconds, for pairs that have nothing to do with each
#: other: uneven, as frames come in a rhythm.
SHIFTS_S = (-2.93, -2.31, -1.71, -1.13, -0.67, -0.29, 0.23, 0.59, 1.07, 1.79, 2.39, 2.87)


@dataclass(frozen=True, slots=True)
class Evidence:
    """What pairs of transfers of two hops say.

    Attributes:
        pairs: How many there were.
        together: Part of them that lasted as on one line.
        by_chance: The same of pairs that had nothing to do with each other.
    """

    pairs: int
    together: float
    by_chance: float


@dataclass(slots=True)
class Crossings:
    """The transfers of one hop of late."""

    #: (began, ended, bytes)
    _frames: deque[tuple[float, float, int]] = field(default_factory=lambda: deque(maxlen=KEPT))
    _probes: deque[tuple[float, float, int]] = field(default_factory=lambda: deque(maxlen=PROBES))
    _small: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=PROBES))
    #: when the last one ended
    heard_s: float = -np.inf

    def observe(self, sample: LinkSample) -> None:
        """A transfer has ended."""
        self.heard_s = max(self.heard_s, sample.at_s)
        if sample.payload_bytes <= SMALL_BYTES:
            self._small.append((sample.at_s, sample.seconds))
            return
        kept = self._probes if sample.probe else self._frames
        kept.append((sample.at_s - sample.seconds, sample.at_s, sample.payload_bytes))

    def since(self, now_s: float) -> Alone | None:
        """Its transfers, with what each would have taken alone; ``None`` where they are too few or too short."""
        frames = _late(self._frames, now_s - WITHIN_S)
        if len(frames) < 2:  # noqa: PLR2004 - one says nothing of the hop
            return None
        delay_s = min((seconds for at_s, seconds in self._small if at_s > now_s - PROBES_S), default=0.0)
        byte_s = float(np.quantile(_per_byte(frames, delay_s), ALONE))
        probes = _late(self._probes, now_s - PROBES_S)
        if len(probes):
            byte_s = min(byte_s, float(np.median(_per_byte(probes, delay_s))))
        began = _own_turn(frames, delay_s)
        counts = byte_s * frames[:, 2] >= LEAST_S
        if not counts.any():
            return None
        order = np.flatnonzero(counts)[np.argsort(began[counts], kind="stable")]
        return Alone(began[order], frames[order, 1], byte_s * frames[order, 2], delay_s, 8e-6 / byte_s)


@dataclass(frozen=True, slots=True)
class Alone:
    """A hop's transfers in the order in which they began; arrays (T), seconds.

    Attributes:
        began: When each began.
        ended: When it had arrived.
        busy: What its bytes take alone.
        delay: What each takes besides.
        mbps: The hop's rate alone.
    """

    began: Floats
    ended: Floats
    busy: Floats
    delay: float
    mbps: float

    def only(self, kept: Bools) -> Alone:
        """Some of them."""
        return replace(self, began=self.began[kept], ended=self.ended[kept], busy=self.busy[kept])

    def later(self, seconds: float) -> Alone:
        """The same at another time."""
        return replace(self, began=self.began + seconds, ended=self.ended + seconds)


def evidence(one: Alone, other: Alone, lonely: tuple[Bools, Bools]) -> Evidence:
    """What the transfers of two hops say, where it is known which of them met no other hop's (`lonely_of`)."""
    real = np.concatenate((_pairs(one, other), _pairs(other, one)))
    chance = _by_chance(one.only(lonely[0]), other.only(lonely[1]))
    if len(chance) < FEWEST:  # hardly any met none: by chance, those that did last too long
        chance = _by_chance(one, other)
    return Evidence(len(real), _part(real), _part(chance))


def lonely_of(hops: Sequence[Alone]) -> list[Bools]:
    """Of each hop (T) which transfers began when none of the others' were under way, and should have met none."""
    if not hops:
        return []
    all_began = np.sort(np.concatenate([each.began for each in hops]))
    all_ended = np.sort(np.concatenate([each.ended for each in hops]))

    def lonely(hop: Alone) -> Bools:
        until = hop.began + hop.busy + hop.delay
        meets = _under_way(all_began, all_ended, hop.began, until)
        found: Bools = meets == _under_way(hop.began, np.sort(hop.ended), hop.began, until)  # its own are no others'
        return found

    return [lonely(hop) for hop in hops]


def _under_way(began: Floats, ended: Floats, since: Floats, until: Floats) -> Ints:
    """(T) how many transfers, by when they began and ended in order, were under way some time between two times."""
    found: Ints = np.searchsorted(began, until, side="left") - np.searchsorted(ended, since, side="right")
    return found


def _by_chance(one: Alone, other: Alone) -> Floats:
    """Pairs of which one is taken to be at another time."""
    moved = [other.later(seconds) for seconds in SHIFTS_S]
    return np.concatenate([_pairs(*each) for later in moved for each in ((one, later), (later, one))])


def _pairs(first: Alone, second: Alone) -> Floats:
    """0 to 1 and beyond for each transfer of the second hop that begins where the last one of the first should last."""
    if not len(first.began) or not len(second.began):
        return np.zeros(0)
    before = np.searchsorted(first.began, second.began, side="right") - 1
    at = np.flatnonzero(before >= 0)
    i = before[at]
    delay = min(first.delay, second.delay)
    between = second.began[at] - first.began[i]
    alone_1, alone_2 = first.busy[i] + first.delay, second.busy[at] + second.delay
    apart = np.maximum(alone_1, between + alone_2)
    more = alone_1 + alone_2 - delay - apart
    shorter = np.minimum(first.busy[i], second.busy[at])
    counts = (between < alone_1) & (more >= np.maximum(LEAST_GAP_S, LEAST_GAP * shorter))
    lasted = np.maximum(first.ended[i], second.ended[at]) - first.began[i]
    found: Floats = ((lasted - apart) / np.maximum(more, LEAST_GAP_S))[counts]
    return found


def _part(pairs: Floats) -> float:
    return float((pairs >= TOGETHER).mean()) if len(pairs) else 0.0


def _late(kept: deque[tuple[float, float, int]], since_s: float) -> Floats:
    """(T, 3) in the order in which they began."""
    late = np.array(sorted(each for each in kept if each[1] > since_s), dtype=np.float64)
    return late.reshape(-1, 3)


def _own_turn(frames: Floats, delay_s: float) -> Floats:
    """(T) when each began, or the one of the same hop that came before it had gone through."""
    gone = np.concatenate(([-np.inf], np.maximum.accumulate(frames[:-1, 1]) - delay_s))
    turn: Floats = np.where(gone < frames[:, 1] - delay_s, np.maximum(frames[:, 0], gone), frames[:, 0])
    return turn


def _per_byte(transfers: Floats, delay_s: float) -> Floats:
    taken: Floats = np.maximum(transfers[:, 1] - _own_turn(transfers, delay_s) - delay_s, 0.0) / transfers[:, 2]
    return taken
