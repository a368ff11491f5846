"""The best plan of a stream as it stands now: within its deadline, or the fastest one where none makes it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tiercut.coordinator.deadline import BARELY, SPARE, deadline_of
from tiercut.coordinator.keeping_up import FILLED, keeps_up, without_queues
from tiercut.coordinator.problem import as_plan, without_deadline
from tiercut.coordinator.stream_goal import StreamGoal
from tiercut.plan import Plan
from tiercut.planner import Answer, Problem, evaluate, solve, solve_within
from tiercut.planner.objectives import LATENCY, THROUGHPUT

#: A plan that does not keep up is left for one that does not either if its longest stage is shorter by this part.
MORE = 0.20


@dataclass(frozen=True, slots=True)
class Best:
    """The planner's answer.

    Attributes:
        problem: What it answers.
        answer: The answer.
        late: Why it is not within the deadline; ``None`` when it is, or there is none.
        asked_fps: Frames per second that it is to keep up with; ``None`` for as many as it takes.
        behind: It takes fewer frames than that, and no plan takes more.
        deadline_s: The deadline that it misses, less what is kept free of it.
    """

    problem: Problem
    answer: Answer
    late: str | None = None
    asked_fps: float | None = None
    behind: bool = False
    deadline_s: float | None = None

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

    def takes_more_than(self, current: Answer) -> bool:
        """Whether it is worth leaving a plan that does not keep up: this one does, or takes a good deal more frames."""
        if self.answer.choice == current.choice:
            return False
        spent_s = self.answer.longest_stage_seconds
        return not self.behind or spent_s <= (1 - MORE) * current.longest_stage_seconds

    def with_time_to_spare(self) -> Answer | None:
        """The best plan that is not close to its deadline; ``None`` where there is none."""
        limit = self.problem.deadline_seconds
        if limit is None or self.answer.latency_seconds <= (1 - SPARE) * limit:
            return self.answer
        sooner = replace(self.problem, deadline_seconds=(1 - SPARE) * limit)
        spared = with_rate(Best(sooner, solve(sooner)), self.asked_fps).answer
        return spared if spared.feasible else None


def only_late(answer: Answer) -> bool:
    """Whether a plan breaks its deadline and nothing else."""
    return [each.constraint for each in answer.violates] == ["deadline_seconds"]


def best_of(problem: Problem, goal: StreamGoal, asked_fps: float | None = None) -> Best:
    """Solve a stream's problem; where nothing meets its deadline, for the fastest plan.

    Args:
        problem: The problem.
        goal: What the stream wants.
        asked_fps: Frames per second that its sensor gives, where the plan does not decide that.
    """
    return with_rate(_in_time(problem, goal), asked_fps)


def with_rate(best: Best, asked_fps: float | None) -> Best:
    """The quickest plan that keeps up with a sensor in place of one that does not; else that of the most frames.

    Frames that come sooner than they get through wait for each other, whatever a plan promises for one alone. Of the
    other objectives throughput is the same, and energy and accuracy come before the rate.
    """
    best = replace(best, asked_fps=asked_fps)
    if asked_fps is None or not best.answer.feasible or best.problem.objective is not LATENCY:
        return best
    if keeps_up(best.problem, best.answer, asked_fps):
        return best
    problem = without_queues(best.problem)  # they are what there would not be
    quickest = solve_within(problem, FILLED / asked_fps)
    if quickest is not None and quickest.choice is not None and keeps_up(problem, quickest, asked_fps):
        return replace(best, answer=evaluate(best.problem, quickest.choice))
    most = solve(replace(problem, objective=THROUGHPUT))
    if not most.feasible or most.choice is None:
        return best
    answer = evaluate(best.problem, most.choice)
    return replace(best, problem=replace(best.problem, objective=THROUGHPUT), answer=answer, behind=True)


def _in_time(problem: Problem, goal: StreamGoal) -> Best:
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
    return Best(relaxed, fastest, late, deadline_s=problem.deadline_seconds)
