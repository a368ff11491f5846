"""What the planner says: a plan by its names, and what it costs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from tiercut.plan import Tier

StageKind = Literal["compute", "transfer", "return"]

#: Name of the constraint that a segment fits into its node's memory.
MEMORY = "memory_mb"


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
        kind: What happens; ``return`` is the result's way back.
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
    """A constraint that a plan breaks.

    Attributes:
        constraint: Its name.
        limit: Its limit.
        value: What the plan has; ``None`` where there is no plan.
        node: Id of the node that it is about, of ``memory_mb``.
    """

    constraint: str
    limit: float | str
    value: float | None
    node: str | None = None

    def __str__(self) -> str:
        if self.node is not None:
            needs = f"it needs {_figure(self.value)} MB, {self.node} has {_figure(self.limit)} MB"
            return f"the memory of {self.node}: {needs}"
        return f"{self.constraint} of {_figure(self.limit)}, it has {_figure(self.value)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A plan and what it costs; where no plan is possible at all, what it costs is infinite.

    Attributes:
        device: Node id.
        choice: The plan; ``None`` where no way leads through the network, whatever is given up.
        latency_seconds: The sum of the stages.
        accuracy: 0..1, codecs counted.
        energy_joules: What the device draws for a frame.
        longest_stage_seconds: Seconds per frame that get through; a result's way back holds up no frame.
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
    def back_seconds(self) -> float:
        """The part of the latency that the result's way back takes."""
        return sum(stage.seconds for stage in self.stages if stage.kind == "return")

    @property
    def too_large(self) -> tuple[Violation, ...]:
        """The nodes whose memory the plan does not fit; without a plan, those of the fastest one otherwise."""
        return tuple(each for each in self.violates if each.constraint == MEMORY)

    @property
    def no_memory(self) -> str:
        """That no plan fits into the nodes' memory, and what the fastest one needs, in words; empty where one does."""
        if self.choice is not None or not self.too_large:
            return ""
        return f"no plan fits into {'; '.join(map(str, self.too_large))}"

    @property
    def hops(self) -> int:
        """How many codecs it names."""
        return 0 if self.choice is None else len(self.choice.codecs)

    def sent_bytes(self, to: Tier) -> float:
        """Bytes of a frame, as codecs leave them, on the hop to a tier."""
        if self.choice is None:
            return math.inf
        return sum(stage.sent_bytes for stage in self.stages if stage.to == to)


def _figure(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
