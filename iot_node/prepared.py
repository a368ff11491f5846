"""A frame as the model's input, before it is sent: how it is made of what a sensor gave, and the message it becomes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from numpy.typing import NDArray

from iot_node.difference_detector import DifferenceDetector
from tiercut.clock import Clock
from tiercut.errors import InputError
from tiercut.limits import MAX_TEXT
from tiercut.model.bundle import Bundle
from tiercut.pipeline.jobs import Arrays
from tiercut.plan import FULL, Plan
from tiercut.protocol.frames import ClockStamp, Stage, Work
from tiercut.protocol.stream_settings import StreamSettings
from tiercut.sensing.sensor_format import Captured, Spoiled


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


class FramePreparer:
    """Makes `Prepared` frames, on the sensor's thread.

    Args:
        settings: The stream's settings.
        bundle: Its model.
        clock: The device's clock.
        detector: Says which frames to skip.
        plan: Gives the plan that the stream follows now.
    """

    def __init__(
        self,
        settings: StreamSettings,
        bundle: Bundle,
        *,
        clock: Clock,
        detector: DifferenceDetector,
        plan: Callable[[], Plan | None],
    ) -> None:
        self._settings = settings
        self._bundle = bundle
        self._clock = clock
        self._detector = detector
        self._plan = plan

    def prepare(self, seq: int, captured: Captured) -> Prepared | Spoiled:
        """The frame as the model's input, if it is worth it."""
        now_s, unix_s = self._clock.monotonic_s(), self._clock.unix_s()
        age_s = 0.0 if captured.at_unix_s is None else max(0.0, unix_s - captured.at_unix_s)
        plan = self._plan()
        max_age_s = deadline_s(self._settings, plan)
        if max_age_s is not None and age_s > max_age_s:  # whatever the plan: it could not have been in time with any
            ages = f"{age_s * 1e3:.0f} ms old as it came, deadline {max_age_s * 1e3:.0f} ms"
            return Spoiled("past_deadline", f"{ages}; raise deadline_ms, or see what holds the sensor's frames up")
        at_s = now_s - age_s
        if self._detector.skips(captured.frame, at_s):
            return Spoiled("unchanged", "")
        variant = FULL if plan is None else plan.exit
        try:
            arrays = self._bundle.to_inputs(captured.frame, variant)
        except InputError as error:
            return Spoiled("wrong_shape", str(error))
        return Prepared(
            seq=seq,
            frame=captured.frame,
            arrays=arrays,
            variant=variant,
            label=_printable(captured.label),
            captured_s=at_s,
            captured_unix_s=unix_s - age_s,
            prepare_s=max(0.0, self._clock.monotonic_s() - at_s),
        )


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
    """The age after which a result is of no use; ``None``: there is none."""
    if plan is not None and plan.deadline is not None:
        return plan.deadline.seconds
    return None if settings.deadline_ms is None else settings.deadline_ms / 1e3


def _printable(label: str | None) -> str | None:
    """A name that UTF-8 can say (a file's may be any bytes), not longer than a message may have it."""
    return None if label is None else label.encode("utf-8", "replace").decode()[:MAX_TEXT]
