"""What a plan may be best at: one row per objective, and all that settings, search, coordinator and texts need of it.

A new objective is one more row. Without a search of its own its best plan is found by pricing every plan: milliseconds
for a model of twenty blocks, half a second for one of a hundred and sixty (``docs/planning.md``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
import numpy.typing as npt

from tiercut.plan import Tier

Floats = npt.NDArray[np.float64]
#: A figure of one plan, or of an array of plans.
Figure = float | Floats


class Figures(Protocol):
    """What an objective may count: the figures of one plan (`Answer`), or of an array of plans (`PlanArrays`)."""

    @property
    def latency_seconds(self) -> Figure:
        """Capture to result."""

    @property
    def accuracy(self) -> Figure:
        """0..1, codecs counted."""

    @property
    def energy_joules(self) -> Figure:
        """What the device draws for a frame."""

    @property
    def longest_stage_seconds(self) -> Figure:
        """The stage that lets the fewest frames through."""

    def sent_bytes(self, to: Tier) -> Figure:
        """Bytes of a frame, as codecs leave them, on the hop to a tier."""


class Search(Enum):
    """How the best plan is found."""

    #: the passes of `search`, by their own sum
    LATENCY = auto()
    #: the accuracy that a deadline leaves, then the quickest plan of that
    ACCURACY = auto()
    #: what a group of plans has in common decides
    DEVICE_ENERGY = auto()
    #: by halving the limit on every stage
    LONGEST_STAGE = auto()
    #: no shortcut is known
    EVERY_PLAN = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """One thing that plans may be best at; of plans equal in it, the quickest is the best.

    Attributes:
        name: As settings and problems have it.
        aim: The same for people, with the direction.
        sign: 1 where less is better, -1 where more is.
        unit: Of a value as it is shown; empty where `shown` says it.
        shown: A value for people, without the unit.
        least_gain: A plan that gains less is not worth a change; in the value's own unit.
        least_gain_share: The same as a part of what the stream has.
        as_good: How a plan that is equal in this is called, where being sooner is then worth a change; such an
            objective's best plans use up the deadline, so that one that misses it soon makes the next one wait.
        search: How the best plan is found.
        score: The value of one plan, or of each of an array of plans.
    """

    name: str
    aim: str
    sign: Literal[1, -1] = 1
    unit: str
    shown: Callable[[float], str]
    least_gain: float = 0.0
    least_gain_share: float = 0.10
    as_good: str = ""
    search: Search = Search.EVERY_PLAN
    score: Callable[[Figures], Figure]

    def value(self, plan: Figures) -> float:
        """The value of one plan."""
        return float(self.score(plan))

    def gain(self, now: Figures, new: Figures) -> float:
        """By how much one plan is better than another; below 0 where it is worse."""
        return self.sign * (self.value(now) - self.value(new))

    def change(self, now: Figures, new: Figures) -> str:
        """A change of plan for people: ``199.9 → 91.3 ms``."""
        return f"{self.shown(self.value(now))} → {self.shown(self.value(new))} {self.unit}".rstrip()


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:.1f}"


#: By name, as they are listed for people. What is gained by less than `least_gain` costs more than it gives: 2 ms of a
#: frame's way, half a percent of the frames.
OBJECTIVES: dict[str, Objective] = {
    row.name: row
    for row in (
        Objective(
            name="latency",
            aim="least latency",
            unit="ms",
            shown=_milliseconds,
            least_gain=0.002,
            search=Search.LATENCY,
            score=lambda plan: plan.latency_seconds,
        ),
        Objective(
            name="accuracy",
            aim="most accuracy",
            sign=-1,
            unit="",
            shown=lambda share: f"{share:.1%}",
            least_gain=0.005,
            least_gain_share=0.0,
            as_good="as accurate",
            search=Search.ACCURACY,
            score=lambda plan: plan.accuracy,
        ),
        Objective(
            name="energy",
            aim="least energy",
            unit="J",
            shown=lambda joules: f"{joules:.1f}",
            search=Search.DEVICE_ENERGY,
            score=lambda plan: plan.energy_joules,
        ),
        Objective(
            name="throughput",
            aim="most throughput",
            unit="ms",
            shown=_milliseconds,
            least_gain=0.002,
            search=Search.LONGEST_STAGE,
            score=lambda plan: plan.longest_stage_seconds,
        ),
    )
}
#: What breaks ties of the others, and what counts where a deadline is given up.
LATENCY = OBJECTIVES["latency"]
ACCURACY = OBJECTIVES["accuracy"]
#: What counts where frames come faster than any plan takes them.
THROUGHPUT = OBJECTIVES["throughput"]

if TYPE_CHECKING:
    ObjectiveName = str
else:
    #: One of the table's names: settings offer these.
    ObjectiveName = Literal[tuple(OBJECTIVES)]


def named() -> str:
    """The names in a sentence: ``latency, accuracy, energy or throughput``."""
    *others, last = OBJECTIVES
    return f"{', '.join(others)} or {last}"
