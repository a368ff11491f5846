"""The ways through a model as the planner takes them: bytes at each cut, seconds of each block, accuracy.

Where frames may leave early, a way through it costs what a frame costs on average: each block and each cut counts with
the share of frames that get so far, and every exit's head with the share that is tried at it. With a deadline to be met
they count whole: the frames that leave nowhere must make it too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tiercut.coordinator.stream_goal import StreamGoal, leaving_at
from tiercut.estimate.nodes import LoadEstimator
from tiercut.model.variants import Variant
from tiercut.plan import FULL
from tiercut.planner.objectives import Floats
from tiercut.planner.problem import Variant as PlannedVariant
from tiercut.profiling.profile import Profile


@dataclass(frozen=True, slots=True)
class Chain:
    """One way through a model.

    Attributes:
        name: The variant's name.
        accuracy: 0..1.
        cut_bytes: At each of its cuts.
        reach: Share of frames that get to each cut without having left before it, exits at the cut itself counted.
        tried: Block → names of the exits whose heads run at its end.
    """

    name: str
    accuracy: float
    cut_bytes: tuple[float, ...]
    reach: tuple[float, ...]
    tried: dict[int, str]

    def variant(self) -> PlannedVariant:
        """As planning problems have it."""
        return PlannedVariant(self.name, self.accuracy, np.array(self.cut_bytes, dtype=np.float64))

    def block_seconds(self, profile: Profile, load: LoadEstimator, goal: StreamGoal) -> Floats | None:
        """Seconds of each block on a node; ``None`` where its profile does not say."""
        if profile.chain(self.name) is None or any(profile.chain(name) is None for name in self.tried.values()):
            return None
        blocks = load.corrected_blocks(profile, self.name, goal.shared)
        heads = {k: profile.head_seconds(name) for k, name in self.tried.items()}
        return np.array([self.reach[k] * (seconds + heads.get(k, 0.0)) for k, seconds in enumerate(blocks)])


def chains_of(goal: StreamGoal) -> tuple[Chain, ...]:
    """Every way through a stream's model that may be planned."""
    sizes = goal.cut_bytes[FULL]
    if goal.exit_threshold is not None:
        return (_leaving_early(goal, goal.exit_threshold, sizes),)
    full = Chain(FULL, goal.accuracy, sizes, (1.0,) * len(sizes), {})
    return (full, *(_plain(variant, goal.cut_bytes[variant.name]) for variant in goal.variants))


def _plain(variant: Variant, sizes: tuple[float, ...]) -> Chain:
    return Chain(variant.name, variant.accuracy or 0.0, sizes, (1.0,) * len(sizes), {})


def _leaving_early(goal: StreamGoal, threshold: float, sizes: Sequence[float]) -> Chain:
    leaving = leaving_at(goal.leaving, threshold)
    shares = dict.fromkeys(range(len(sizes)), 0.0)
    for cut, name in goal.exits:
        shares[cut] += 0.0 if goal.deadline_s is not None else leaving.shares.get(name, 0.0)
    reach: list[float] = []
    left = 1.0
    for k in range(len(sizes)):
        left = max(0.0, left - shares[k])
        reach.append(left)
    cut_bytes = tuple(size * share for size, share in zip(sizes, reach, strict=True))
    tried = {cut - 1: name for cut, name in goal.exits}
    return Chain(FULL, leaving.accuracy, cut_bytes, tuple(reach), tried)
