"""Whether a stream changes its plan, to which, and why: a person's command, the way back, necessity, improvement."""

from __future__ import annotations

from msgspec import structs

from tiercut.coordinator.best_plan import Best, only_late
from tiercut.coordinator.problem import as_choice, before_doubts, hops
from tiercut.coordinator.site_view import SiteView
from tiercut.coordinator.stream import FAILURES, SHUN_S, PlannedStream, Trial
from tiercut.coordinator.stream_goal import of_rates
from tiercut.errors import SettingsError
from tiercut.plan import Plan, node_id
from tiercut.planner import Answer, Problem, evaluate, solve
from tiercut.protocol.explanations import BY_HAND

#: How long a stream's first plan waits for the answers of probes.
FIRST_PLAN_S = 2.5
#: Hops that are being measured again are waited for where the best plan may turn out to be better by this part.
HOPE = 0.5


class Replanning:
    """Judges the plans of streams against what is known of their site.

    Args:
        view: What is known.
    """

    def __init__(self, view: SiteView) -> None:
        self._view = view

    def change(self, stream: PlannedStream, best: Best, now_s: float) -> tuple[Plan, str] | None:
        """The plan to go to and why, if any: a person's comes first, then the way back from one that has failed."""
        stream.trouble = None
        if now_s < stream.paused_until_s:
            stream.step = None
            return None
        if stream.control.mode == "plan":
            stream.step = None
            return self._by_hand(stream, best.problem)
        if stream.frozen and stream.plan is not None and stream.plan.device != stream.goal.device:
            stream.step = None
            moved = structs.replace(stream.plan, device=stream.goal.device)
            return moved, f"'{stream.goal.device}' reads the sensor now; all else is frozen"
        if stream.frozen:
            stream.step = None
            stream.trouble = None if stream.plan is None else self._view.gone(stream.plan)
            return None
        if stream.trial is not None and stream.trial.failures >= FAILURES:
            return self._take_back(stream, stream.trial, now_s)
        return self._to_best(stream, best, now_s)

    def _to_best(self, stream: PlannedStream, best: Best, now_s: float) -> tuple[Plan, str] | None:
        if not best.answer.feasible:
            stream.step = None
            trouble = best.answer.no_memory or f"no plan satisfies the constraints: {said(best.answer)}"
            stream.trouble = f"{trouble}; the last plan stays"
            return None
        stream.trouble = best.late
        new = stream.plan is None or (stream.retained and self._view.gone(stream.plan) is None)
        if new and not self._first_plan_due(stream, now_s):
            stream.step = None
            stream.trouble = "measuring links before the first plan"
            return None
        stream.retained = False
        wanted = None if self._hopes(stream, best, now_s) else self._wanted(stream, best, now_s)
        if wanted is None:
            if not self._view.doubts(now_s):  # else what the last change means is known in a moment
                stream.step = None
            return None
        step, stream.step = stream.step, None
        answer, reason = wanted
        return best.plan(stream.goal, answer), reason if step is None else f"{reason}; {step}"

    def _hopes(self, stream: PlannedStream, best: Best, now_s: float) -> bool:
        """Whether to wait for hops that are only assumed to be bad: if they are not, there is a much better plan."""
        if stream.plan is None or self._view.gone(stream.plan) is not None or not self._view.doubts(now_s):
            return False
        objective = best.problem.objective
        hoped = solve(before_doubts(best.problem, self._view, now_s))
        return objective.gain(best.answer, hoped) > HOPE * abs(objective.value(hoped))

    def _by_hand(self, stream: PlannedStream, problem: Problem) -> tuple[Plan, str] | None:
        plan = stream.by_hand()
        if plan is None:  # it is followed already
            stream.trouble = None if stream.plan is None else self._view.gone(stream.plan)
            return None
        trouble = self._impossible(stream, problem, plan)
        if trouble is not None:
            stream.trouble = f"the plan given by hand is not possible: {trouble}; the last plan stays"
            return None
        stream.explained_s = float("-inf")  # the person who gave it waits to hear that it is being tried
        return plan, BY_HAND

    def _first_plan_due(self, stream: PlannedStream, now_s: float) -> bool:
        """All hops have been probed, or that takes too long."""
        if stream.wanted_since_s is None:
            stream.wanted_since_s = now_s
        unknown = any(self._view.estimator(a.key, b.key).rate_guessed for a, b in hops(stream.goal, self._view))
        return not unknown or now_s - stream.wanted_since_s >= FIRST_PLAN_S

    def _wanted(self, stream: PlannedStream, best: Best, now_s: float) -> tuple[Answer, str] | None:
        """What to change to and why; ``None`` to stay."""
        must = self._must_change(stream, best, now_s)
        answer = best.with_time_to_spare()
        if must is not None or answer is None or stream.plan is None:
            return None if must is None else (best.answer, must)
        if best.behind and stream.kept.overrun is None:
            return None  # no plan should keep up, but this one does
        step = stream.step is not None
        if best.may_drop_again(stream.plan):
            in_time = stream.hysteresis.may_promise(answer, now_s, step=step)
            return (answer, "the deadline can be met again") if in_time else None
        current = evaluate(best.problem, as_choice(stream.plan))
        idle = stream.idle(now_s)
        reason = stream.hysteresis.worth_it(current, answer, best.problem.objective, now_s, step=step, idle=idle)
        return None if reason is None else (answer, reason)

    def _must_change(self, stream: PlannedStream, best: Best, now_s: float) -> str | None:
        """Why the plan that is followed will not do, if it will not."""
        if stream.plan is None:
            return "the stream's first plan"
        if stream.mixed:
            return self._by_itself(stream, now_s)
        moved = None if stream.plan.device == stream.goal.device else f"'{stream.goal.device}' reads the sensor now"
        trouble = moved or self._view.gone(stream.plan) or best.other_terms(stream.plan, stream.goal)
        if trouble is not None:
            return trouble
        try:
            current = evaluate(best.problem, as_choice(stream.plan))
        except SettingsError as error:  # a node without the model, a codec that its cut does not have any more
            return f"the plan is no longer possible: {error.came}"
        if best.may_drop_again(stream.plan) and only_late(current):
            return None  # nothing met the deadline when it was made
        return self._fails(stream, stream.plan, current, best, now_s)

    @staticmethod
    def _by_itself(stream: PlannedStream, now_s: float) -> str | None:
        """Why a stream that was planned with others is planned by itself now; one without frames keeps what it has."""
        if stream.idle(now_s):
            return None
        if not of_rates(stream.goal):
            return f"with objective '{stream.goal.objective}' it is planned by itself"
        return "the streams of the site are planned one by one again"

    @staticmethod
    def _fails(stream: PlannedStream, plan: Plan, current: Answer, best: Best, now_s: float) -> str | None:
        """Why a plan that is possible must be left: it breaks a constraint, or does not keep up where another does."""
        fails = not current.feasible or best.drops_in_vain(plan)
        behind = stream.kept.overrun if not fails and best.takes_more_than(current) else None
        barely = stream.step is None and (behind is not None or best.barely_late(current))
        if not stream.hysteresis.fails(fails=fails or behind is not None, barely=barely):
            return None
        if behind is not None:
            aim = "take more of" if best.behind else "keep up with"
            return f"to {aim} {behind.asked_fps:.3g} frames/s, {behind}"
        stream.hysteresis.taken_back(now_s)
        return best.late or f"the plan breaks a constraint: {said(current)}"

    def _impossible(self, stream: PlannedStream, problem: Problem, plan: Plan) -> str | None:
        """Why a plan by hand cannot be followed."""
        goal = stream.goal
        end = goal.end_of(plan.exit)
        if end is None:
            known = ", ".join(["full", *(each.name for each in goal.variants)])
            return f"the model '{goal.model_name}' has no variant '{plan.exit}' of known accuracy, only {known}"
        if plan.device != goal.device:
            return f"the stream is of device '{goal.device}', not '{plan.device}'"
        try:
            plan.check_fits(end, model=goal.model_name)
            answer = evaluate(problem, as_choice(plan))
        except SettingsError as error:
            return f"expected {error.expected}, came {error.came}"
        return self._view.gone(plan) or (None if answer.feasible else said(answer))

    def _take_back(self, stream: PlannedStream, trial: Trial, now_s: float) -> tuple[Plan, str] | None:
        """Its nodes reported that they were ready, but frames fail: back to what worked, without those nodes."""
        stream.trial = None
        for key in trial.culprits:
            stream.shunned[key] = now_s + SHUN_S
        names = ", ".join(sorted(node_id(*key) for key in trial.culprits)) or "its nodes"
        epoch = 0 if stream.plan is None else stream.plan.epoch
        stream.given_up = f"plan {epoch} did not work: {names} said ready and failed ({trial.why})"
        if stream.proved is None or self._view.gone(stream.proved) is not None:
            return None  # the next evaluation finds another way
        return stream.proved, f"{stream.given_up}; back to the last plan that worked"


def said(answer: Answer) -> str:
    """What a plan violates, in words."""
    return "; ".join(map(str, answer.violates))
