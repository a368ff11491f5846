"""Whether a better plan is worth a change, so that noise does not flap plans."""

from __future__ import annotations

from dataclasses import dataclass, field

from tiercut.coordinator.swaps import Swaps
from tiercut.planner import Answer, Choice
from tiercut.planner.objectives import LATENCY, Objective

#: A better plan must be found at this many evaluations in a row …
EVALUATIONS = 3
#: … unless a step was noticed and it promises this much: that is no noise.
STEP_GAIN = 0.20

#: A stream without frames changes for a gain only where the same plan was the better one for so long.
IDLE_S = 30.0
#: A plan that takes this many times as long as promised when it was taken up has got worse: it is left at once.
WORSE = 1.25

#: Plans close to a deadline: one that promises more and fails within this time …
PROMISE_S = 15.0
#: … makes the next one wait: this long at first, then twice as long, up to …
FIRST_WAIT_S, MAX_WAIT_S = 2.0, 120.0


@dataclass(slots=True)
class Hysteresis:
    """One stream's patience: how often in a row the same better plan was found."""

    wanted: Choice | None = None
    count: int = 0
    swaps: Swaps = field(default_factory=Swaps)
    #: since when the plan wanted is the better one
    _since_s: float = float("-inf")
    #: what the plan that was taken up for a gain was to take
    _taken_s: float = float("-inf")
    _promised_s: float = float("-inf")
    _wait_s: float = FIRST_WAIT_S
    _not_before_s: float = float("-inf")
    _failed: int = 0

    @property
    def considers(self) -> bool:
        """Whether a change was worth it, or needed, at the last evaluation, and must be so again."""
        return self.count > 0 or self._failed > 0

    def fails(self, *, fails: bool, barely: bool) -> bool:
        """Whether to give up a plan that breaks a constraint; one that barely does, only if it does so repeatedly.

        Args:
            fails: It does now.
            barely: By so little that this may be chance.
        """
        self._failed = self._failed + 1 if fails else 0
        return fails and (not barely or self._failed >= EVALUATIONS)

    def taken_back(self, now_s: float) -> None:
        """A plan missed its deadline: plans that promise more must wait, ever longer if they fail soon."""
        failed = now_s - self._promised_s < PROMISE_S
        self._wait_s = min(2 * self._wait_s, MAX_WAIT_S) if failed else FIRST_WAIT_S
        self._not_before_s = now_s + self._wait_s

    def holds_back(self, now_s: float) -> bool:
        """Whether plans that promise more must wait now."""
        return now_s < self._not_before_s

    def may_promise(self, best: Answer, now_s: float, *, step: bool) -> bool:
        """Whether a plan that promises more, within a deadline, may be taken up now; it is if so."""
        if self.holds_back(now_s) and not step:
            return False
        if not self._patient(best, at_once=False):
            return False
        self._promised_s = now_s
        return True

    def worth_it(
        self, now: Answer, best: Answer, objective: Objective, now_s: float, *, step: bool, idle: bool = False
    ) -> str | None:
        """The reason to change from the plan priced ``now`` to the one priced ``best``, or ``None`` to stay.

        Args:
            now: Answer for the plan that is followed, with today's figures.
            best: The planner's answer.
            objective: What the stream counts.
            now_s: When.
            step: A link or a node has just changed abruptly.
            idle: The stream has no frames now.
        """
        gains = _gains(objective, now, best)
        as_good = bool(objective.as_good) and objective.gain(now, best) >= 0 and _gains(LATENCY, now, best)
        if not gains and not as_good:
            self.wanted, self.count = None, 0
            return None
        if best.choice != self.wanted:
            self._since_s = now_s
        if self._must_wait(now, best, now_s, idle=idle):
            self.wanted, self.count = best.choice, 0
            return None
        if objective.as_good:
            taken = self.may_promise(best, now_s, step=step)
        else:
            much = objective.gain(now, best) > STEP_GAIN * abs(objective.value(now))
            taken = self._patient(best, at_once=step and much)
        if not taken:
            return None
        if now.choice is not None and best.choice is not None:
            self.swaps.made(now.choice, best.choice, now_s)
        self._taken_s = best.latency_seconds
        if not gains:
            return f"{objective.as_good} and sooner: {LATENCY.change(now, best)}"
        return f"{objective.name} {objective.change(now, best)}"

    def _must_wait(self, now: Answer, best: Answer, now_s: float, *, idle: bool) -> bool:
        """Whether a gain is too uncertain as yet: nobody has it, or changes between these plans have not lasted."""
        if idle:
            return now_s - self._since_s < IDLE_S
        worse = now.latency_seconds > WORSE * self._taken_s
        swap = now.choice is not None and best.choice is not None and self.swaps.waits(now.choice, best.choice, now_s)
        return swap and not worse

    def _patient(self, best: Answer, *, at_once: bool) -> bool:
        """Whether a plan was found often enough in a row."""
        self.count = self.count + 1 if best.choice == self.wanted else 1
        self.wanted = best.choice
        if not at_once and self.count < EVALUATIONS:
            return False
        self.wanted, self.count = None, 0
        return True


def _gains(objective: Objective, now: Answer, best: Answer) -> bool:
    """Whether a plan is so much better that a change is worth it."""
    gain = objective.gain(now, best)
    return gain > objective.least_gain_share * abs(objective.value(now)) and gain >= objective.least_gain
