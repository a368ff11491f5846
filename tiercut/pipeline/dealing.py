"""Dealing frames to plans that run at once, so that each has had its share at any time, to within one frame."""

from __future__ import annotations

from collections.abc import Sequence

#: A plan that has had this much less than its share is not taken for one that is behind: rounding of floats.
_ROUNDING = 1e-9


class Dealer:
    """Says which plan takes the next frame.

    Each frame adds to every plan what it is owed of it, its share, and takes one from the plan that gets it. Of the
    plans that are owed enough, the one takes it that would have to wait least until it is owed too much (R. Tijdeman,
    "The chairman assignment problem", Discrete Mathematics 32, 1980): with fixed shares of n plans none is ever further
    than 1 - 1/(2n - 2) frames from its share. The better known smooth weighted round robin, the most owed first, may be
    more than one frame off from three plans on.

    A frame that not all plans can take is owed to those that can, in proportion: what moves to others when a plan is
    stuck is theirs, and is not asked back when it works again.

    Args:
        shares: Of each plan, all more than 0.
    """

    def __init__(self, shares: Sequence[float]) -> None:
        self._shares = tuple(shares)
        #: frames that each plan is owed; their sum is 0
        self._owed = [0.0] * len(self._shares)

    def next(self, able: Sequence[int]) -> int:
        """Which of the plans that can take a frame takes the next one, by its place among the shares; changes nothing.

        Args:
            able: Places of those that can, at least one.
        """
        if len(able) == 1:
            return able[0]
        least = 1 / (2 * len(able) - 2)
        parts = self._parts(able)
        owed = {place: self._owed[place] + part for place, part in parts.items()}
        behind = [place for place in able if owed[place] >= least - _ROUNDING]
        if not behind:
            return max(able, key=owed.__getitem__)
        return min(behind, key=lambda place: (1 - least - owed[place]) / parts[place])

    def dealt(self, place: int, able: Sequence[int]) -> None:
        """The next frame goes to a plan, of those that could take it."""
        for each, part in self._parts(able).items():
            self._owed[each] += part
        self._owed[place] -= 1

    def _parts(self, able: Sequence[int]) -> dict[int, float]:
        total = sum(self._shares[place] for place in able)
        return {place: self._shares[place] / total for place in able}
