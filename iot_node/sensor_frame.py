"""A frame of a sensor, from its capture until it is sent, and the message that it becomes."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import UNSET, Struct, UnsetType, structs
from numpy.typing import NDArray

from tiercut.clock import Clock
from tiercut.model.bundle import Bundle
from tiercut.model.preprocess import FrameSpec
from tiercut.pipeline.jobs import Arrays
from tiercut.plan import Plan
from tiercut.protocol.frames import ClockStamp, Stage, Work
from tiercut.protocol.stream_settings import StreamSettings


class SensorFrame(Struct, frozen=True, kw_only=True):
    """A frame that was captured, with its number and times.

    Attributes:
        seq: Its number in its stream.
        frame: As the sensor gave it.
        label: What the sensor calls it.
        captured_s: When it was captured, on the device's monotonic clock.
        captured_unix_s: The same moment on its wall clock.
        prepare_s: Seconds spent on it so far: reading, and making the model's input.
        arrays: As the input of ``variant``; ``None``: that is still to be done.
        variant: Name of a variant of the model.
    """

    seq: int
    frame: NDArray[Any]
    label: str | None
    captured_s: float
    captured_unix_s: float
    prepare_s: float
    arrays: Arrays | None = None
    variant: str = ""

    def prepared(self, bundle: Bundle, variant: str, clock: Clock) -> SensorFrame:
        """The same frame as the input of a variant.

        Raises:
            InputError: it does not fit the model.
        """
        start_s = clock.monotonic_s()
        arrays = bundle.to_inputs(self.frame, variant)
        prepare_s = self.prepare_s + clock.monotonic_s() - start_s
        return structs.replace(self, arrays=arrays, variant=variant, prepare_s=prepare_s)


class Outbound:
    """Makes the messages of a stream's frames that follow one plan: what they have in common is looked up once.

    Args:
        plan: The plan.
        settings: The stream's settings.
        bundle: Its model.
        site: Its site.
        node: The device's id.
        clock: Its clock.
        by_device: The device puts the outcomes of its frames in order.
        lane: See `Work`.

    Attributes:
        plan: The same.
        by_device: The same.
        variant: The plan's variant of the model.
        takes: What that takes for a frame.
    """

    def __init__(
        self,
        plan: Plan,
        settings: StreamSettings,
        bundle: Bundle,
        *,
        site: str,
        node: str,
        clock: Clock,
        by_device: bool = False,
        lane: int = 0,
    ) -> None:
        self.plan = plan
        self.by_device = by_device
        self._outcomes: Literal["device"] | UnsetType = "device" if by_device else UNSET
        self._lane = lane or UNSET
        self._results_to: Literal["cloud"] | UnsetType = "cloud" if settings.results_to == "cloud" else UNSET
        self.variant = plan.exit
        self.takes: FrameSpec = bundle.variant(plan.exit).frame
        self._bundle = bundle
        self._settings = settings
        self._site = site
        self._node = node
        self._clock = clock
        self._deadline_s = deadline_s(settings, plan)
        #: names of variants that take the same input
        self._alike = {each.name for each in bundle.variants if each.frame == self.takes}

    def is_ready(self, frame: SensorFrame) -> bool:
        """Whether a frame is the input of the plan's variant already."""
        return frame.arrays is not None and frame.variant in self._alike

    def work(self, frame: SensorFrame) -> Work:
        """The message that carries a frame through the plan.

        Its stage ``queue`` is the wait for a place in the window; what it waits for a thread is the worker's to say,
        and no fault of the stream's.
        """
        settings, captured_s, prepare_s = self._settings, frame.captured_s, frame.prepare_s
        stamp = ClockStamp(self._clock.id, captured_s)
        waited_s = self._clock.monotonic_s() - (captured_s + prepare_s)
        return Work(
            site=self._site,
            stream=settings.name,
            seq=frame.seq,
            model=self._bundle.model,
            plan=self.plan,
            delivery=settings.delivery,
            cut=0,
            tensors=(),
            captured_unix_s=frame.captured_unix_s,
            captured=stamp,
            sent=stamp,
            stages=(Stage(self._node, "prepare", prepare_s), Stage(self._node, "queue", max(0.0, waited_s))),
            deadline_s=self._deadline_s,
            label=frame.label,
            outcomes=self._outcomes,
            results_to=self._results_to,
            lane=self._lane,
        )


def deadline_s(settings: StreamSettings, plan: Plan | None) -> float | None:
    """The age after which a result is useless; ``None``: there is none."""
    if plan is not None and plan.deadline is not None:
        return plan.deadline.seconds
    return None if settings.deadline_ms is None else settings.deadline_ms / 1e3
