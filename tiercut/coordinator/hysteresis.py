"""Whether a better plan is worth a change, so that noise does not flap plans."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

#: A plan must promise this much less of what its stream's objective counts …
GAIN = 0.10
#: … and at least this many seconds per frame (for latency and throughput), or the change costs more than it gives.
MIN_GAIN_S = 0.002
#: For accuracy: at least this much more, half a percent of the frames.
MIN_GAIN_ACCURACY = 0.005
#: It must promise so at this many evaluations in a row …
EVALUATIONS = 3
#: … unless a step was noticed and it promises this much: that is no noise.
STEP_GAIN = 0.20


#: Plans at the edge of a deadline: one that promises more and fails within so long …
PROMISE_S = 15.0
#: … makes the next one wait: so long at first, then twice the time, up to …
FIRST_WAIT_S, MAX_WAIT_S = 2.0, 120.0


@dataclass(slots=True)
class Switching:
    """One stream's patience: how often in a row the same better plan was found."""

    wanted: tuple[Any, ...] | None = None
    count: int = 0
    _promised_s: float = float("-inf")
    _wait_s: float = FIRST_WAIT_S
    _not_before_s: float = float("-inf")
    _failed: int = 0

    def fails(self, *, fails: bool, at_the_edge: bool) -> bool:
        """Whether a plan is to be given up that breaks a constraint: by little, only if it does so again and again.

        Args:
            fails: It does now.
            at_the_edge: By so little that this may be chance.
        """
        self._failed = self._failed + 1 if fails else 0
        return fails and (not at_the_edge or self._failed >= EVALUATIONS)

    def taken_back(self, now_s: float) -> None:
        """A plan could not keep to its deadline: what promises more waits, ever longer where promises fail at once."""
        failed = now_s - self._promised_s < PROMISE_S
        self._wait_s = min(2 * self._wait_s, MAX_WAIT_S) if failed else FIRST_WAIT_S
        self._not_before_s = now_s + self._wait_s

    def may_promise(self, best: Mapping[str, Any], now_s: float, *, step: bool) -> bool:
        """Whether a plan that promises more, within a deadline, may be taken up now; it is if so."""
        if now_s < self._not_before_s and not step:
            return False
        if not self._patient(best, at_once=False):
            return False
        self._promised_s = now_s
        return True

    def worth_it(
        self, now: Mapping[str, Any], best: Mapping[str, Any], objective: str, now_s: float, *, step: bool
    ) -> str | None:
        """The reason to change from the plan scored ``now`` to the one scored ``best``, or ``None`` to stay.

        Args:
            now: Answer for the plan that is followed, with today's figures.
            best: The planner's answer.
            objective: What the stream counts.
            now_s: When.
            step: A link or a node has just changed abruptly.
        """
        if objective == "accuracy":
            return self._more_accurate(now, best, now_s, step=step)
        score = {"latency": "latency_seconds", "throughput": "bottleneck_seconds", "energy": "energy_joules"}[objective]
        gain = now[score] - best[score]
        if gain <= GAIN * now[score] or (objective != "energy" and gain < MIN_GAIN_S):
            self.wanted, self.count = None, 0
            return None
        if not self._patient(best, at_once=step and gain > STEP_GAIN * now[score]):
            return None
        unit = "J" if objective == "energy" else "ms"
        factor = 1 if objective == "energy" else 1e3
        return f"{objective} {now[score] * factor:.1f} → {best[score] * factor:.1f} {unit}"

    def _more_accurate(
        self, now: Mapping[str, Any], best: Mapping[str, Any], now_s: float, *, step: bool
    ) -> str | None:
        """More accurate, or as accurate and sooner there."""
        gain = best["accuracy"] - now["accuracy"]
        sooner_s = now["latency_seconds"] - best["latency_seconds"]
        as_good_sooner = gain >= 0 and sooner_s > max(GAIN * now["latency_seconds"], MIN_GAIN_S)
        if gain < MIN_GAIN_ACCURACY and not as_good_sooner:
            self.wanted, self.count = None, 0
            return None
        if not self.may_promise(best, now_s, step=step):
            return None
        if gain < MIN_GAIN_ACCURACY:
            times = (now["latency_seconds"] * 1e3, best["latency_seconds"] * 1e3)
            return f"as accurate and sooner: {times[0]:.1f} → {times[1]:.1f} ms"
        return f"accuracy {now['accuracy']:.1%} → {best['accuracy']:.1%}"

    def _patient(self, best: Mapping[str, Any], *, at_once: bool) -> bool:
        """Whether a plan was found often enough in a row."""
        names = ("variant", "edge", "cloud", "first_cut", "second_cut")
        wanted = (*(best[name] for name in names), tuple(best["codecs"]))
        self.count = self.count + 1 if wanted == self.wanted else 1
        self.wanted = wanted
        if not at_once and self.count < EVALUATIONS:
            return False
        self.wanted, self.count = None, 0
        return True
