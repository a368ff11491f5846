"""The best plan of a stream as it stands now: within its deadline, or the fastest one where none makes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tiercut.coordinator.deadline import SPARE, deadline_of
from tiercut.coordinator.goal import StreamGoal
from tiercut.coordinator.problem import as_plan, without_deadline
from tiercut.plan import Plan
from tiercut.planner import solve


@dataclass(frozen=True, slots=True)
class Best:
    """The planner's answer.

    Attributes:
        problem: What it answers.
        answer: The answer.
        late: Why it is not within the deadline; ``None`` when it is, or there is none.
    """

    problem: dict[str, Any]
    answer: dict[str, Any]
    late: str | None = None

    @property
    def objective(self) -> str:
        """What is best in the problem that was answered."""
        return str(self.problem["objective"])

    def plan(self, goal: StreamGoal) -> Plan:
        """The answer as a plan."""
        early = goal.exit_threshold is not None
        deadline = deadline_of(goal.deadline_s, self.answer, drop=self.late is None, early=early)
        return as_plan(self.answer, epoch=0, threshold=goal.exit_threshold, deadline=deadline)

    def changes_terms(self, plan: Plan, goal: StreamGoal) -> bool:
        """Whether frames of a plan are dropped for a deadline that they cannot make, or the other way round."""
        if goal.deadline_s is None:
            return plan.deadline is not None
        if plan.deadline is None or plan.deadline.seconds != goal.deadline_s:
            return True
        return plan.deadline.drop != (self.late is None)

    def to_spare(self, goal: StreamGoal, current: Mapping[str, Any]) -> Mapping[str, Any]:
        """What to change to: where it promises more than the current plan, with some time to spare."""
        limit = self.problem["constraints"].get("deadline_seconds")
        if goal.objective != "accuracy" or limit is None or self.answer["accuracy"] <= current["accuracy"]:
            return self.answer
        constraints = self.problem["constraints"] | {"deadline_seconds": (1 - SPARE) * limit}
        spared = solve({**self.problem, "constraints": constraints})
        return spared if spared["feasible"] else current


def best_of(problem: dict[str, Any], goal: StreamGoal) -> Best:
    """Solve a stream's problem; where nothing meets its deadline, for the fastest plan."""
    answer = solve(problem)
    if answer["feasible"] or goal.deadline_s is None:
        return Best(problem, answer)
    relaxed = without_deadline(problem)
    fastest = solve(relaxed)
    if not fastest["feasible"]:
        return Best(problem, answer)
    late = (
        f"no plan meets the deadline of {goal.deadline_s * 1e3:.0f} ms: this is the fastest, "
        f"{fastest['latency_seconds'] * 1e3:.0f} ms"
    )
    return Best(relaxed, fastest, late)
