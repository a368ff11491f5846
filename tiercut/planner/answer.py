"""What the planner says: a plan by its names, and what it costs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from tiercut.plan import Tier

StageKind = Literal["compute", "transfer"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A plan by the names of a problem; the device is the problem's own.

    Attributes:
        variant: Name of the variant.
        edge: Node id, ``None`` where no edge takes part.
        cloud: The same of the cloud node.
        first_cut: End of the device's part.
        second_cut: End of the edge's part.
        codecs: One name per hop.
    """

    variant: str
    first_cut: int
    second_cut: int
    edge: str | None = None
    cloud: str | None = None
    codecs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of a plan.

    Attributes:
        kind: What happens.
        where: Node id, or both with an arrow.
        seconds: What a frame takes.
        busy_seconds: Those of them that node or line can do nothing else: without queue, latency and coding.
        watts: What the sender draws while it transmits.
        to: Tier of the receiver, of a transfer.
        sent_bytes: As the codec leaves them, of a transfer.
    """

    kind: StageKind
    where: str
    seconds: float
    busy_seconds: float
    watts: float = 0.0
    to: Tier | None = None
    sent_bytes: float = 0.0


@dataclass(frozen=True, slots=True)
class Violation:
    """A constraint that a plan breaks: its name, its limit, and what the plan has (``None``: there is no plan)."""

    constraint: str
    limit: float | str
    value: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A plan and what it costs; where no plan is possible at all, what it costs is infinite.

    Attributes:
        device: Node id.
        choice: The plan; ``None`` where no way leads through the network, whatever is given up.
        latency_seconds: The sum of the stages.
        accuracy: 0..1, codecs counted.
        energy_joules: What the device draws for a frame.
        longest_stage_seconds: Seconds per frame that get through.
        stages: In order.
        violates: Constraints that it breaks; none of a plan that may be followed.
    """

    device: str
    choice: Choice | None
    latency_seconds: float = math.inf
    accuracy: float = -math.inf
    energy_joules: float = math.inf
    longest_stage_seconds: float = math.inf
    stages: tuple[Stage, ...] = ()
    violates: tuple[Violation, ...] = ()

    @property
    def feasible(self) -> bool:
        """Whether it keeps all constraints."""
        return not self.violates

    @property
    def hops(self) -> int:
        """How many codecs it names."""
        return 0 if self.choice is None else len(self.choice.codecs)

    def sent_bytes(self, to: Tier) -> float:
        """Bytes of a frame, as codecs leave them, on the hop to a tier."""
        if self.choice is None:
            return math.inf
        return sum(stage.sent_bytes for stage in self.stages if stage.to == to)
