"""How many results of a stream the coordinator reads: as many as its estimates gain from, all while something changes.

A result that is not read is counted, by the stream that its topic names. What is estimated stays right all the same:

- stage times, latencies, work and exits are means or medians over frames: those of frames picked regardless of what
  they say have the same ones (`Reading` picks in an uneven rhythm, as the frames of a sensor may have one);
- rates and shares of deadlines count: a result that is read stands for those that passed since the one before;
- frames that share a line wait for each other: the links learn when a frame has passed (`LinkEstimator.passed`);
- a change must be noticed at once: while an estimator suspects one, after a plan is new, and while frames miss their
  deadline, all are read.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from tiercut.estimate.links import LinkEstimator

#: Mean seconds between two results of a stream that are read while nothing changes.
CALM_S = 0.22
#: While something may be changing all are read that come no faster than this.
EAGER_S = 0.01
#: Results of a new plan that are all read: as many as its deadline's margin rests on (`deadline.ENOUGH`).
FIRST = 20
#: Results that are all read after an abrupt change of a node or link.
AFTER_A_CHANGE = 8
#: Results of other plans that count as one of the new one: some devices never follow.
_OF_OTHERS = 4
#: Golden ratio: multiples of it, without their whole part, are spread evenly and never repeat.
_UNEVEN = 0.618034


@dataclass(slots=True)
class Reading:
    """Which results of one stream are read.

    Attributes:
        stands_for: Results that the one read last stands for, itself included.
        links: The links that each frame of the plan that was read has crossed.
    """

    stands_for: int = 1
    links: tuple[LinkEstimator, ...] = ()
    #: results since the one that was read last
    _passed: int = 0
    #: those still to be read one by one, in parts of `_OF_OTHERS`
    _first: int = FIRST * _OF_OTHERS
    _next_s: float = float("-inf")
    _phase: float = 0.0
    _epoch: int = 0
    #: late frames that were dropped
    _late: int = 0

    def due(self, now_s: float) -> bool:
        """Whether a result that comes now is to be read."""
        return now_s >= self._next_s

    def passes(self, now_s: float) -> None:
        """A result came that is not read."""
        self._passed += 1
        for link in self.links:
            link.passed(now_s)

    def begins(self) -> None:
        """A result is read."""
        self.stands_for, self._passed = self._passed + 1, 0

    def ends(self, now_s: float, *, crossed: Collection[LinkEstimator], epoch: int, newest: int, eager: bool) -> None:
        """It has been read; the next one is due at once, or in a while.

        Args:
            now_s: When it came.
            crossed: The links that its frame has crossed.
            epoch: Of its plan.
            newest: Of the stream's plan.
            eager: Something may be changing.
        """
        same = epoch == self._epoch
        self.links = tuple(link for link in self.links if link in crossed) if same else tuple(crossed)
        self._epoch = epoch
        if self._first > 0:
            self._first -= _OF_OTHERS if epoch == newest else 1
            eager = True
        self._phase = (self._phase + _UNEVEN) % 1.0
        self._next_s = now_s + (EAGER_S if eager else CALM_S * (0.75 + self._phase / 2))

    def read_all_of(self, count: int) -> None:
        """Read the next results one by one, as a plan is new or something has changed."""
        self._first = max(self._first, count * _OF_OTHERS)
        self._next_s = float("-inf")

    def late(self) -> bool:
        """A late frame was dropped; whether it counts among results, of which not all are read. The next one is."""
        self._late += 1
        self._next_s = float("-inf")
        return self._late % self.stands_for == 0
