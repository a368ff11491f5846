"""What a plan may be best at."""

from __future__ import annotations

from typing import Literal, get_args

Objective = Literal["latency", "throughput", "energy", "accuracy"]
OBJECTIVES: tuple[Objective, ...] = get_args(Objective)
