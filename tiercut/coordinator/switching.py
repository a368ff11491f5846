"""Whether a better plan is worth a change, so that noise does not flap plans."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

#: A plan must promise this much less of what its stream's objective counts …
GAIN = 0.10
#: … and at least this many seconds per frame (for latency and throughput), or the change costs more than it gives.
LEAST_GAIN_S = 0.002
#: It must promise so at this many evaluations in a row …
EVALUATIONS = 3
#: … unless a step was noticed and it promises this much: that is no noise.
STEP_GAIN = 0.20


@dataclass(slots=True)
class Switching:
    """One stream's patience: how often in a row the same better plan was found."""

    wanted: tuple[Any, ...] | None = None
    count: int = 0

    def worth_it(self, now: Mapping[str, Any], best: Mapping[str, Any], objective: str, *, step: bool) -> str | None:
        """The reason to change from the plan scored ``now`` to the one scored ``best``, or ``None`` to stay.

        Args:
            now: Answer for the plan that is followed, with today's figures.
            best: The planner's answer.
            objective: What the stream counts.
            step: A link or a node has just changed abruptly.
        """
        score = {"latency": "latency_seconds", "throughput": "bottleneck_seconds", "energy": "energy_joules"}[objective]
        gain = now[score] - best[score]
        if gain <= GAIN * now[score] or (objective != "energy" and gain < LEAST_GAIN_S):
            self.wanted, self.count = None, 0
            return None
        wanted = (best["edge"], best["cloud"], best["first_cut"], best["second_cut"], tuple(best["codecs"]))
        self.count = self.count + 1 if wanted == self.wanted else 1
        self.wanted = wanted
        at_once = step and gain > STEP_GAIN * now[score]
        if not at_once and self.count < EVALUATIONS:
            return None
        self.wanted, self.count = None, 0
        unit = "J" if objective == "energy" else "ms"
        factor = 1 if objective == "energy" else 1e3
        return f"{objective} {now[score] * factor:.1f} → {best[score] * factor:.1f} {unit}"
