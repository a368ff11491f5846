"""What is asked of the grid, and whether the figures meet it.

All cells have the same frames, so two of them are compared frame by frame: of those that only one gets right in time,
half would fall to each by chance. A difference of more than 2 standard errors is counted; as of a hundred comparisons
some exceed that by chance, a claim is missed only where one would not be chance among all of them (a sign test at 5 %,
divided by their number: Bonferroni).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from bench.deadlines.strategies import COORDINATOR, EDGENT, FIXED
from bench.testbed.claims import Claim

Cell = dict[str, Any]
IN_TIME, ERRORS, CHANCE = 0.99, 2.0, 0.05
#: Share of comparisons that chance puts beyond 2 standard errors on one side.
BEYOND = 0.023


@dataclass(frozen=True, slots=True)
class Fall:
    """How much fewer frames one cell gets right in time than another should let expect.

    Attributes:
        where: The cells, in words.
        lost: Frames that only the other gets right.
        won: Frames that only this one does.
        frames: All.
    """

    where: str
    lost: int
    won: int
    frames: int

    @property
    def share(self) -> float:
        """Accuracy lost; below 0 where it is better."""
        return (self.lost - self.won) / self.frames

    @property
    def beyond(self) -> bool:
        """By more than 2 standard errors of the difference of pairs."""
        return self.share > ERRORS * math.sqrt(self._variance / self.frames)

    @property
    def _variance(self) -> float:
        return max(0.0, (self.lost + self.won) / self.frames - self.share**2)

    @property
    def chance(self) -> float:
        """How likely so many losses or more are, were both equally good."""
        both = self.lost + self.won
        return sum(math.comb(both, k) for k in range(self.lost, both + 1)) / 2.0**both


def claims(cells: Sequence[Cell]) -> list[Claim]:
    """All that the cells say something of."""
    mine = _of(cells, COORDINATOR)
    if not mine:
        return []
    made = [
        _never("accuracy never falls as the deadline grows", _growing(mine, "deadline_ms", "mbps")),
        _never("accuracy never falls as the bandwidth grows", _growing(mine, "mbps", "deadline_ms")),
    ]
    for name in FIXED:
        asked = "accuracy is never below Edgent's rule" if name == EDGENT else f"(not asked) nor below {name}"
        made.append(_never(asked, _against(mine, _of(cells, name))))
    return [*made, *_in_time(mine)]


def _of(cells: Iterable[Cell], strategy: str) -> list[Cell]:
    return [cell for cell in cells if cell["strategy"] == strategy]


def fall(before: Cell, after: Cell, where: str) -> Fall:
    """What ``after`` loses against ``before``."""
    pairs = list(zip(before["right"], after["right"], strict=True))
    return Fall(where, pairs.count(("1", "0")), pairs.count(("0", "1")), len(pairs))


def _growing(cells: Sequence[Cell], axis: str, other: str) -> Iterable[Fall]:
    """Neighbours along one axis, the other being equal."""
    for value in sorted({cell[other] for cell in cells}):
        row = sorted((cell for cell in cells if cell[other] == value), key=lambda cell: float(cell[axis]))
        for before, after in pairwise(row):
            yield fall(before, after, f"{axis} {before[axis]:g} → {after[axis]:g} at {other} {value:g}")


def _against(mine: Sequence[Cell], theirs: Sequence[Cell]) -> Iterable[Fall]:
    found = {(cell["mbps"], cell["deadline_ms"]): cell for cell in theirs}
    for cell in mine:
        other = found.get((cell["mbps"], cell["deadline_ms"]))
        if other is not None:
            yield fall(other, cell, f"{cell['mbps']:g} Mbit/s, {cell['deadline_ms']:g} ms")


def _never(asked: str, found: Iterable[Fall]) -> Claim:
    falls = list(found)
    if not falls:
        return Claim(asked, "nothing to compare", met=True)
    worst = max(falls, key=lambda each: each.share)
    beyond = sum(each.beyond for each in falls)
    real = [each for each in falls if each.chance * len(falls) < CHANCE]
    fewer = f"worst: {worst.lost - worst.won} of {worst.frames} frames fewer ({worst.where})"
    counted = f"{beyond} of {len(falls)} comparisons beyond {ERRORS:g} standard errors"
    expected = f"(chance: {BEYOND * len(falls):.1f}), {len(real)} more than chance among all"
    came = f"{fewer if worst.share > 0 else 'not once'}; {counted} {expected}"
    return Claim(asked, came, met=not real)


def _in_time(cells: Sequence[Cell]) -> Iterable[Claim]:
    """Where the coordinator says that its plan meets the deadline."""
    promised = [cell for cell in cells if cell["feasible"]]
    if promised:
        met = sum(cell["met"].count("1") for cell in promised)
        frames = sum(cell["frames"] for cell in promised)
        worst = min(promised, key=lambda cell: float(cell["met_share"]))
        came = (
            f"{100 * met / frames:.2f} % of {frames} frames in {len(promised)} cells; worst cell "
            f"{100 * worst['met_share']:.0f} % ({worst['mbps']:g} Mbit/s, {worst['deadline_ms']:g} ms)"
        )
        asked = f"deadline met for {100 * IN_TIME:.0f} % of the frames where the plan says that it can be"
        yield Claim(asked, came, met=met >= IN_TIME * frames)
    given_up = [cell for cell in cells if cell["possible"] and not cell["feasible"]]
    asked = "(not asked) no deadline is given up that true figures would let be met with 10 % to spare"
    words = ", ".join(f"{cell['mbps']:g} Mbit/s {cell['deadline_ms']:g} ms" for cell in given_up)
    yield Claim(asked, words or "none is", met=not given_up)
