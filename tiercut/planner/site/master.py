"""The linear program over the plans that are known so far: how many frames a second go which way.

    variables    level, rate of each stream (0 .. asked), frames/s of each plan
    rows         Σ plan · seconds          <= capacity       of every resource
                 Σ plan - rate              = 0              of every stream
                 rate - weight · level     >= 0              of the streams whose level is still sought

HiGHS (Huangfu and Hall, 2018) solves it, and starts from the last solution when plans are added.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import highspy
import numpy as np

from tiercut.planner.costs import Ints
from tiercut.planner.objectives import Floats
from tiercut.planner.site.columns import Columns

#: Tolerances of the solver, on rows and on reduced costs.
CLOSE = 1e-9

OPTIONS: dict[str, bool | float | str] = {
    "output_flag": False,
    "presolve": "off",
    "solver": "simplex",
    "threads": 1,
    "simplex_strategy": 4,
    "parallel": "off",
    "primal_feasibility_tolerance": CLOSE,
    "dual_feasibility_tolerance": CLOSE,
    "small_matrix_value": 1e-12,
}


#: What is changed, from the start, where that ends without a solution.
SLOWER: tuple[dict[str, bool | float | str], ...] = (
    {"simplex_strategy": 1},
    {"presolve": "on", "simplex_strategy": 1},
    {"presolve": "on", "primal_feasibility_tolerance": 1e-7, "dual_feasibility_tolerance": 1e-7},
    {"solver": "ipm"},
)


@dataclass(frozen=True, slots=True)
class Solved:
    """A solution.

    Attributes:
        value: Of the objective (least).
        level: Frames/s and weight.
        rates: (S) frames/s.
        plans: (P) frames/s.
        price: (R) of a second of each resource.
        worth: (S) of a frame of each stream: a plan that costs less would make the value less.
        held: (S) what a stream's level costs; 0 where it does not hold the others down.
    """

    value: float
    level: float
    rates: Floats
    plans: Floats
    price: Floats
    worth: Floats
    held: Floats


class _Quiet(highspy.Highs):
    """HiGHS without callbacks, which print a line on standard output as they start."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def enableCallbacks(self) -> None:  # noqa: N802 - its name
        """None are needed."""


class Master:
    """The program.

    Args:
        capacity: (R) of the resources.
        asked: (S) frames/s.
        weight: (S).
    """

    def __init__(self, capacity: Floats, asked: Floats, weight: Floats) -> None:
        self.resources, self.streams = len(capacity), len(asked)
        self.capacity, self.weight = capacity, weight
        self.columns: list[Columns] = [Columns.none()]
        self.latency = np.zeros(0)
        self._highs = _Quiet()
        for name, value in OPTIONS.items():
            self._highs.setOptionValue(name, value)
        empty = np.zeros(0, dtype=np.int32)
        streams, inf = self.streams, highspy.kHighsInf
        lower = np.concatenate((np.full(self.resources, -inf), np.zeros(2 * streams)))
        upper = np.concatenate((capacity, np.zeros(streams), np.full(streams, inf)))
        self._highs.addRows(len(lower), lower, upper, 0, np.zeros(len(lower), dtype=np.int32), empty, np.zeros(0))
        self._highs.addCol(0.0, 0.0, inf, 0, empty, np.zeros(0))
        rows = self.resources + np.arange(streams)
        self._add(
            np.zeros(streams), asked, 2 * np.arange(streams), np.stack((rows, rows + streams), axis=1).ravel(),
            np.tile([-1.0, 1.0], streams),
        )  # fmt: skip

    def _add(self, cost: Floats, upper: Floats, starts: Ints, rows: Ints, values: Floats) -> None:
        self._highs.addCols(
            len(cost),
            cost,
            np.zeros(len(cost)),
            upper,
            len(rows),
            starts.astype(np.int32),
            rows.astype(np.int32),
            values,
        )

    def add(self, columns: Columns, cost: Floats) -> None:
        """More plans, at a cost (P) of a frame each."""
        if not len(columns):
            return
        starts = columns.starts + np.arange(len(columns))
        rows = np.insert(columns.rows, columns.starts, self.resources + columns.stream)
        values = np.insert(columns.seconds, columns.starts, 1.0)
        self._add(cost, np.full(len(cost), highspy.kHighsInf), starts, rows, values)
        self.columns.append(columns)
        self.latency = np.concatenate((self.latency, columns.latency))

    def by_stream(self, plans: Floats) -> Floats:
        """(S) what plans (P) of each stream have together."""
        stream = self.all_columns().stream
        return np.bincount(stream, plans, minlength=self.streams).astype(np.float64)

    def seek_level(self, active: Sequence[int], highest: float) -> None:
        """The objective: the level of some streams, up to a highest one."""
        self._highs.changeColCost(0, -1.0)
        self._highs.changeColBounds(0, 0.0, highest)
        held = set(active)
        for stream in range(self.streams):
            weight = -float(self.weight[stream]) if stream in held else 0.0
            self._highs.changeCoeff(self.resources + self.streams + stream, 0, weight)

    def seek(self, rates: Floats, plans: Floats) -> None:
        """The objective: costs of the rates (S) and of the plans (P), without a level."""
        self.seek_level((), 0.0)
        costs = np.concatenate(([0.0], rates, plans))
        self._highs.changeColsCost(len(costs), np.arange(len(costs), dtype=np.int32), costs)

    def bound_rates(self, least: Floats, most: Floats) -> None:
        """(S) what streams get at least and at most."""
        self._highs.changeColsBounds(self.streams, np.arange(1, self.streams + 1, dtype=np.int32), least, most)

    def allow(self, plans: Floats) -> None:
        """(P) which plans may be used: more than 0."""
        upper = np.where(plans > 0, highspy.kHighsInf, 0.0)
        first = 1 + self.streams
        at = np.arange(first, first + len(plans), dtype=np.int32)
        self._highs.changeColsBounds(len(plans), at, np.zeros(len(plans)), upper)

    def all_columns(self) -> Columns:
        """The plans that it has."""
        return Columns.joined(self.columns)

    def solve(self) -> Solved | None:
        """The best over the plans that it has; ``None`` where the bounds on the rates leave nothing, or it fails."""
        for options in ({}, *SLOWER):
            for name, value in options.items():
                self._highs.clearSolver()
                self._highs.setOptionValue(name, value)
            self._highs.run()
            status = self._highs.getModelStatus()
            for name in options:
                self._highs.setOptionValue(name, OPTIONS[name])
            if status == highspy.HighsModelStatus.kInfeasible:
                return None
            if status == highspy.HighsModelStatus.kOptimal:
                return self._solution()
        return None

    def nothing(self) -> Solved:
        """No frames."""
        streams = np.zeros(self.streams)
        return Solved(0.0, 0.0, streams, np.zeros(len(self.latency)), np.zeros(self.resources), streams, streams)

    def _solution(self) -> Solved:
        """What the solver has found."""
        solution = self._highs.getSolution()
        values, duals = np.array(solution.col_value), np.array(solution.row_dual)
        resources, streams = self.resources, self.streams
        return Solved(
            value=float(self._highs.getInfo().objective_function_value),
            level=float(values[0]),
            rates=values[1 : 1 + streams],
            plans=values[1 + streams :],
            price=np.maximum(0.0, -duals[:resources]),
            worth=duals[resources : resources + streams],
            held=duals[resources + streams :],
        )
