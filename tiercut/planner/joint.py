"""Several streams on shared nodes and links, planned together: each answers the others until nobody gains.

Best response: one stream after the other gets its best plan under the load of all others (`contention`), and moves if
that is better by `MIN_GAIN`. When a round passes without a move, no stream gains by moving alone. That is not always
best for all together; so it is done from several starting orders, and the one with the fewest frames in flight is taken
(``docs/planning.md`` has the measured gap). A stream does not choose what it would overload while it has another way.
"""

from __future__ import annotations

from collections import ChainMap, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tiercut.errors import SettingsError
from tiercut.planner.answer import Answer
from tiercut.planner.best import best_plan, nearest_plan
from tiercut.planner.contention import Load, load_of, loaded
from tiercut.planner.objectives import LATENCY
from tiercut.planner.plan_cost import PlanIndex, no_answer, price
from tiercut.planner.problem import Problem

#: A move must gain this part of what the stream has. It also ends the chases that gain less and less.
MIN_GAIN = 0.01

#: Rounds after which the search stops; chases without an end exist, if rarely.
MAX_ROUNDS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """One stream: its problem as if it were alone, and how often it sends.

    Nodes are the same node wherever they have the same id. What takes them besides the streams planned here belongs
    into the problem's ``slowdown`` and ``queue_seconds``.
    """

    name: str
    problem: Problem
    frames_per_second: float


@dataclass(frozen=True, slots=True)
class JointPlan:
    """The plans of all streams.

    Attributes:
        answers: By stream name, as `solve` gives them, with what each takes under the load of the others.
        load: Part of its time that each node (id) and link (``from -> to``) is busy; above 1 it cannot keep up.
        frames_in_flight: Mean number of frames in the system: the sum of rate times latency (Little's law).
        rounds: Rounds until nobody gained.
        settled: False if `MAX_ROUNDS` ended it; the best state seen is the one returned.
    """

    answers: dict[str, Answer]
    load: dict[str, float]
    frames_in_flight: float
    rounds: int
    settled: bool


class _Table:
    """The streams around one table: who has which plan, and what all plans take."""

    def __init__(self, streams: Sequence[Stream]) -> None:
        self.streams = streams
        self.plans: list[PlanIndex | None] = [None] * len(streams)
        self.loads: list[dict[str, float]] = [{} for _ in streams]
        self.total: defaultdict[str, float] = defaultdict(float)

    def others(self, index: int) -> Load:
        """What all but one stream take (never below 0, whatever the sums' last bits)."""
        rest = {where: max(0.0, self.total[where] - taken) for where, taken in self.loads[index].items()}
        return ChainMap(rest, self.total)

    def answer(self, index: int, plan: PlanIndex | None) -> Answer:
        """What a plan gives a stream, beside the others."""
        seen = loaded(self.streams[index].problem, self.others(index))
        return no_answer(seen) if plan is None else price(seen, plan)

    def load(self, index: int, plan: PlanIndex | None) -> dict[str, float]:
        """What a plan of a stream takes."""
        return load_of(self.streams[index].problem, plan, self.streams[index].frames_per_second)

    def move(self, index: int, plan: PlanIndex | None) -> None:
        """Give a stream another plan."""
        for where, taken in self.loads[index].items():
            self.total[where] -= taken
        self.plans[index], self.loads[index] = plan, self.load(index, plan)
        for where, taken in self.loads[index].items():
            self.total[where] += taken

    def overloaded(self, index: int, plan: PlanIndex | None) -> set[str]:
        """What a plan would bring to its limit."""
        others = self.others(index)
        return {where for where, taken in self.load(index, plan).items() if taken and taken + others.get(where, 0) >= 1}

    def respond(self, index: int) -> PlanIndex | None:
        """A stream's best plan beside the others, on what it does not overload if there is such a plan."""
        problem, others = self.streams[index].problem, self.others(index)
        seen = loaded(problem, others)
        first = plan = best_plan(seen) or nearest_plan(seen)
        without: set[str] = set()
        while plan is not None:
            over = self.overloaded(index, plan)
            if not over - without:
                return plan if not over else first
            without |= over
            plan = best_plan(loaded(problem, others, without))
        return first

    def round(self, order: Iterable[int]) -> int:
        """Everyone answers once; returns how many moved."""
        moved = 0
        for index in order:
            plan, now = self.respond(index), self.plans[index]
            if plan != now and (now is None or self.gains(index, plan)):
                self.move(index, plan)
                moved += 1
        return moved

    def gains(self, index: int, plan: PlanIndex | None) -> bool:
        """Whether a plan is worth a move."""
        was, new = self.answer(index, self.plans[index]), self.answer(index, plan)
        for better in (
            bool(self.overloaded(index, self.plans[index])) - bool(self.overloaded(index, plan)),
            new.feasible - was.feasible,
        ):
            if better:
                return better > 0
        for objective in (self.streams[index].problem.objective, LATENCY) if was.feasible else (LATENCY,):
            gain = objective.gain(was, new)
            if abs(gain) > MIN_GAIN * abs(objective.value(was)):
                return gain > 0
        return False

    def cost(self) -> tuple[int, int, float]:
        """Less is better: plans within no constraints, overloaded nodes and links, frames in flight."""
        answers = [self.answer(index, plan) for index, plan in enumerate(self.plans)]
        in_flight = sum(
            stream.frames_per_second * answer.latency_seconds
            for stream, answer in zip(self.streams, answers, strict=True)
            if answer.choice is not None
        )
        refused = sum(not answer.feasible for answer in answers)
        return refused, sum(taken >= 1 for taken in self.total.values()), in_flight


def plan_together(streams: Sequence[Stream]) -> JointPlan:
    """Plan streams that share nodes and links.

    Raises:
        SettingsError: two streams have one name, or a rate is not positive.
    """
    _check(streams)
    given = list(range(len(streams)))
    busiest = sorted(given, key=lambda index: -streams[index].frames_per_second)
    orders = dict.fromkeys(map(tuple, (given, given[::-1], busiest)))
    found = [_settle(_Table(streams), order) for order in orders]
    return min(found, key=lambda pair: pair[0])[1]


def _settle(table: _Table, order: Sequence[int]) -> tuple[tuple[int, int, float], JointPlan]:
    """Rounds until nobody moves."""
    best: tuple[tuple[int, int, float], list[PlanIndex | None]] | None = None
    for rounds in range(1, MAX_ROUNDS + 1):
        moved = table.round(order)
        cost = table.cost()
        if not moved:
            return cost, _result(table, cost, rounds, settled=True)
        if best is None or cost < best[0]:
            best = (cost, list(table.plans))
    if best is None:
        best = (table.cost(), list(table.plans))
    for index, plan in enumerate(best[1]):
        table.move(index, plan)
    return best[0], _result(table, best[0], MAX_ROUNDS, settled=False)


def _result(table: _Table, cost: tuple[int, int, float], rounds: int, *, settled: bool) -> JointPlan:
    answers = {stream.name: table.answer(i, table.plans[i]) for i, stream in enumerate(table.streams)}
    load = {where: taken for where, taken in sorted(table.total.items()) if taken > 0}
    return JointPlan(answers, load, cost[2], rounds, settled)


def _check(streams: Sequence[Stream]) -> None:
    names = [stream.name for stream in streams]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise SettingsError(
            "the streams cannot be planned together",
            expected="a name of its own for every stream",
            came=f"{', '.join(twice)} twice",
            fix="rename one of the two",
        )
    for stream in streams:
        if not 0 < stream.frames_per_second < float("inf"):
            raise SettingsError(
                f"the stream '{stream.name}' cannot be planned",
                expected="frames_per_second greater than 0",
                came=str(stream.frames_per_second),
                fix="give the rate at which its sensor sends",
            )
