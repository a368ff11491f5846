"""A frame at a node: what came, how far it has got, and what is left to be done with it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from msgspec import Struct
from numpy.typing import NDArray

from tiercut.codecs.encoded import EncodedTensor
from tiercut.model.variants import ExitSpec
from tiercut.pipeline.decide import Drop, Finish, Forward, Wait
from tiercut.protocol.frames import Stage, Work
from tiercut.results.reading import Reading

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Left:
    """An exit that was sure enough of a frame."""

    exit: ExitSpec
    outputs: Arrays


@dataclass(slots=True, eq=False)
class Job:
    """A frame at this node: what came, and how far it has got.

    Attributes:
        work: Its envelope as it came.
        arrived_s: When it came, or when it was last worked on, on this node's clock.
        ack: Called when another node has it, or when its outcome is published.
        wire: How long its last hop took, where that is known; a stage before those of this node.
        arrays: The tensors alive at ``cut``, decoded; ``None`` until they are.
        cut: Cut point it has got to.
        stages: What took how long so far, in order.
        fallback: Why this node runs more than its part.
        tried: Cut of the last exit that was tried.
        left: The exit it leaves at.
        compute_s: What segments and heads have taken here and is in no stage yet.
        seconds: What all that was done with it here has taken the last time.
        looked_up: The node has looked for an answer to a frame like it.
        known: What the model made of such a frame.
        age_s: Seconds since capture when it was dropped; ``None`` while unknown.
        due_s: When work on it must begin here for it to make its deadline, on this node's clock; infinity without one.
    """

    work: Work
    arrived_s: float
    ack: Callable[[], None]
    wire: Stage | None = None
    arrays: Arrays | None = None
    cut: int = field(init=False)
    stages: list[Stage] = field(init=False)
    fallback: str | None = None
    tried: int = field(init=False)
    left: Left | None = None
    compute_s: float = 0.0
    seconds: float = 0.0
    looked_up: bool = False
    known: Reading | None = None
    age_s: float | None = None
    due_s: float = math.inf

    def __post_init__(self) -> None:
        self.cut = self.tried = self.work.cut
        self.stages = [*self.work.stages] if self.wire is None else [*self.work.stages, self.wire]


class Processed(Struct, frozen=True):
    """A frame that its node has done its part for.

    Attributes:
        job: The frame.
        action: What comes next.
        tensors: With `Forward`, what the next node gets.
        result: With `Finish`, the result's JSON.
    """

    job: Job
    action: Forward | Finish | Drop | Wait
    tensors: tuple[EncodedTensor, ...] = ()
    result: bytes = b""


class Answers(Protocol):
    """Frames that a node keeps with their answers; safe from several threads."""

    def find(self, work: Work, arrays: Arrays, now_s: float) -> Reading | None:
        """What the model made of a frame like this one; where there is none, this one is noted until its own comes."""
        ...

    def keep(self, work: Work, reading: Reading, now_s: float) -> None:
        """A frame is finished here."""
        ...

    def sent_on(self, work: Work, now_s: float) -> None:
        """A frame goes to the next node."""
        ...

    def forget(self, work: Work) -> None:
        """A frame is dropped here."""
        ...

    def overtakes(self, work: Work, now_s: float) -> bool:
        """Whether earlier frames of its stream and lane were sent on and have no outcome yet."""
        ...
