"""A frame as the model's input, before it is sent, and the message that it becomes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from numpy.typing import NDArray

from tiercut.clock import Clock
from tiercut.model.bundle import Bundle
from tiercut.pipeline.jobs import Arrays
from tiercut.plan import Plan
from tiercut.protocol.frames import ClockStamp, Stage, Work
from tiercut.protocol.stream_settings import StreamSettings


@dataclass(frozen=True, slots=True)
class Prepared:
    """A frame as the model's input, with its number and times.

    Attributes:
        frame: As the sensor gave it.
        arrays: As the input of ``variant``.
    """

    seq: int
    frame: NDArray[Any]
    arrays: Arrays
    variant: str
    label: str | None
    captured_s: float
    captured_unix_s: float
    prepare_s: float

    def made_for(self, plan: Plan, bundle: Bundle) -> Prepared:
        """The same frame for a plan whose variant may take another size."""
        if bundle.variant(plan.exit).frame == bundle.variant(self.variant).frame:
            return self
        return replace(self, arrays=bundle.to_inputs(self.frame, plan.exit), variant=plan.exit)


def work_of(
    prepared: Prepared, plan: Plan, settings: StreamSettings, *, site: str, node: str, model: str, clock: Clock
) -> Work:
    """The message that carries a frame through its plan.

    Its stage ``queue`` is the wait for a place in the window; what it waits for a thread is the worker's to say, and
    no fault of the stream's.
    """
    stamp = ClockStamp(clock.id, prepared.captured_s)
    waited_s = clock.monotonic_s() - (prepared.captured_s + prepared.prepare_s)
    return Work(
        site=site,
        stream=settings.name,
        seq=prepared.seq,
        model=model,
        plan=plan,
        delivery=settings.delivery,
        cut=0,
        tensors=(),
        captured_unix_s=prepared.captured_unix_s,
        captured=stamp,
        sent=stamp,
        stages=(Stage(node, "prepare", prepared.prepare_s), Stage(node, "queue", max(0.0, waited_s))),
        deadline_s=deadline_s(settings, plan),
        label=prepared.label,
    )


def deadline_s(settings: StreamSettings, plan: Plan | None) -> float | None:
    """The age after which a result is useless; ``None``: there is none."""
    if plan is not None and plan.deadline is not None:
        return plan.deadline.seconds
    return None if settings.deadline_ms is None else settings.deadline_ms / 1e3
