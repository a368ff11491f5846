"""The best plan of a stream as it stands now: within its deadline, or the fastest one where none makes it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tiercut.coordinator.deadline import BARELY, SPARE, deadline_of
from tiercut.coordinator.problem import as_plan, without_deadline
from tiercut.coordinator.stream_goal import StreamGoal
from tiercut.plan import Plan
from tiercut.planner import Answer, Problem, solve


@dataclass(frozen=True, slots=True)
class Best:
    """The planner's answer.

    Attributes:
        problem: What it answers.
        answer: The answer.
        late: Why it is not within the deadline; ``None`` when it is, or there is none.
    """

    problem: Problem
    answer: Answer
    late: str | None = None

    def plan(self, goal: StreamGoal, answer: Answer) -> Plan:
        """An answer to the problem as a plan."""
        early = goal.exit_threshold is not None
        deadline = deadline_of(goal.deadline_s, answer, drop=self.late is None, early=early)
        return as_plan(answer, epoch=0, threshold=goal.exit_threshold, deadline=deadline)

    def other_terms(self, plan: Plan, goal: StreamGoal) -> str | None:
        """What a plan says of exits and deadlines and the stream does not, as when its settings have changed."""
        if plan.threshold != goal.exit_threshold:
            return "another exit_threshold"
        if (None if plan.deadline is None else plan.deadline.seconds) != goal.deadline_s:
            return "another deadline"
        return None

    def drops_in_vain(self, plan: Plan) -> bool:
        """Whether frames are dropped for a deadline that no plan meets."""
        return self.late is not None and plan.deadline is not None and plan.deadline.drop

    def may_drop_again(self, plan: Plan) -> bool:
        """Whether late results are published although a plan would be in time."""
        return self.late is None and plan.deadline is not None and not plan.deadline.drop

    def barely_late(self, current: Answer) -> bool:
        """Whether a plan is late by so little that the next evaluation may find it in time."""
        limit = self.problem.deadline_seconds
        return limit is not None and only_late(current) and current.latency_seconds <= (1 + BARELY) * limit

    def with_time_to_spare(self) -> Answer | None:
        """The best plan that is not close to its deadline; ``None`` where there is none."""
        limit = self.problem.deadline_seconds
        if limit is None or self.answer.latency_seconds <= (1 - SPARE) * limit:
            return self.answer
        spared = solve(replace(self.problem, deadline_seconds=(1 - SPARE) * limit))
        return spared if spared.feasible else None


def only_late(answer: Answer) -> bool:
    """Whether a plan breaks its deadline and nothing else."""
    return [each.constraint for each in answer.violates] == ["deadline_seconds"]


def best_of(problem: Problem, goal: StreamGoal) -> Best:
    """Solve a stream's problem; where nothing meets its deadline, for the fastest plan."""
    answer = solve(problem)
    if answer.feasible or goal.deadline_s is None or problem.deadline_seconds is None:
        return Best(problem, answer)
    relaxed = without_deadline(problem)
    fastest = solve(relaxed)
    if not fastest.feasible:
        return Best(problem, answer)
    free_ms = (goal.deadline_s - problem.deadline_seconds) * 1e3
    late = (
        f"no plan meets the deadline of {goal.deadline_s * 1e3:.0f} ms with {free_ms:.1f} ms kept free: "
        f"this is the fastest, {fastest.latency_seconds * 1e3:.1f} ms"
    )
    return Best(relaxed, fastest, late)
