"""The sensor of a stream: read on a thread of its own, at its rate, until it ends or fails; and how it does."""

from __future__ import annotations

import logging
from collections.abc import Callable

from msgspec import UNSET

from iot_node.difference_detector import DifferenceDetector
from iot_node.drop_report import ADVICE, DropReport
from iot_node.sensor_frame import SensorFrame, deadline_s
from iot_node.sensor_thread import SensorThread
from iot_node.source import Source, open_source
from tiercut.alarm import Alarm
from tiercut.clock import Clock
from tiercut.errors import InputError, SensorError
from tiercut.limits import MAX_TEXT
from tiercut.model.bundle import Bundle
from tiercut.plan import FULL, Plan
from tiercut.protocol.stream_settings import StreamSettings
from tiercut.protocol.streams import SourceReport, SourceState
from tiercut.sensing.sensor_format import Captured, Spoiled


class SensorReader:
    """Reads a stream's sensor. A frame that cannot be used is counted and reported, and the sensor goes on.

    Args:
        settings: The stream's settings.
        node: The device's id.
        bundle: The stream's model.
        clock: The device's clock.
        drops: Where it counts frames, and what it drops.
        detector: Says which frames to skip.
        plan: Gives the plan that the stream's next frame follows.
        is_early: Whether a frame that is read now is one too many for the rate that the site has room for.
        prepares: Whether a frame that is read now is made the model's input at once; otherwise it may be replaced.
        offer: Takes a frame.
        ready: Told that `read_one` may be called: at the start, and after each frame.

    Attributes:
        source: The open sensor.
        changed: Rings when its state has changed.

    Raises:
        SettingsError: the sensor does not fit the model.
        SensorError: the sensor cannot be opened.
    """

    def __init__(
        self,
        settings: StreamSettings,
        *,
        node: str,
        bundle: Bundle,
        clock: Clock,
        drops: DropReport,
        detector: DifferenceDetector,
        plan: Callable[[], Plan | None],
        is_early: Callable[[float], bool],
        prepares: Callable[[], bool],
        offer: Callable[[SensorFrame], None],
        ready: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._node = node
        self._bundle = bundle
        self._clock = clock
        self._drops = drops
        self._detector = detector
        self._plan = plan
        self._is_early = is_early
        self._prepares = prepares
        self._offer = offer
        self._ready = ready
        self._thread: SensorThread[SensorFrame | Spoiled] | None = None
        self._log = logging.getLogger(f"{node}.{settings.name}")
        self._state: SourceState = "silent"
        self.changed = Alarm()
        #: why it gives no frames; empty while it does
        self._failure = ""
        #: the last failure that was logged
        self._logged = ""
        #: number of the next frame; the sensor's thread counts
        self._seq = 0
        self.source: Source = self.open_again()

    @property
    def has_ended(self) -> bool:
        """The sensor has come to its end: there is nothing more to read."""
        return self._state == "ended"

    async def read(self) -> None:
        """Read the sensor at its rate until it ends, or fails: then it may be opened again, for `resume` and this."""
        settings = self._settings
        thread = self._thread = SensorThread(
            self._next,
            self._given,
            period_s=1 / settings.fps if settings.fps else 0.0,
            most=None if settings.frames is None else max(0, settings.frames - self._seq),
            clock=self._clock,
            name=f"sensor-{settings.name}",
        )
        try:
            self._ready()
            await thread.ended()
        except SensorError as error:  # the device's other streams go on
            self._drops.counters["sensors_failed"] += 1
            self.failed(str(error))
        except Exception as error:  # noqa: BLE001 - a driver may raise anything, and must not end the device's other streams
            self._drops.counters["sensors_failed"] += 1
            self.failed(f"{type(error).__name__}: {error}", error)
        else:
            self._enter("ended")
            self._log.info("sensor ended")
        finally:
            self._thread = None
            thread.stop()
            self.source.close()

    def read_one(self) -> None:
        """Read one more frame, as soon as the sensor's rate allows; once after each time it was ready."""
        if self._thread is not None:
            self._thread.permit()

    def _given(self, given: SensorFrame | Spoiled) -> None:
        self._drops.count("captured")
        self._enter("running")
        if isinstance(given, Spoiled):
            self._drops.note(given.reason, given.message)
        else:
            self._offer(given)
        self._ready()

    # ------------------------------------------------------------------ on the sensor's thread

    def _next(self) -> SensorFrame | Spoiled | None:
        """The next frame, if it is worth it; ``None`` at the end."""
        captured = self.source.next()
        if captured is None:
            return None
        seq, self._seq = self._seq, self._seq + 1
        return captured if isinstance(captured, Spoiled) else self._taken(captured, seq)

    def _taken(self, captured: Captured, seq: int) -> SensorFrame | Spoiled:
        now_s, unix_s = self._clock.monotonic_s(), self._clock.unix_s()
        age_s = 0.0 if captured.at_unix_s is None else max(0.0, unix_s - captured.at_unix_s)
        plan = self._plan()
        max_age_s = deadline_s(self._settings, plan)
        if max_age_s is not None and age_s > max_age_s:  # under any plan: it could not have been in time with one
            ages = f"{age_s * 1e3:.0f} ms old as it came, deadline {max_age_s * 1e3:.0f} ms"
            return Spoiled("past_deadline", f"{ages}; raise deadline_ms, or see what delays the sensor's frames")
        if self._is_early(now_s):
            return Spoiled("beyond_rate", ADVICE["beyond_rate"])
        if self._detector.skips(captured.frame, now_s - age_s):
            return Spoiled("unchanged", "")
        frame = SensorFrame(
            seq=seq,
            frame=captured.frame,
            label=_printable(captured.label),
            captured_s=now_s - age_s,
            captured_unix_s=unix_s - age_s,
            prepare_s=max(0.0, self._clock.monotonic_s() - now_s + age_s),
        )
        if not self._prepares():
            return frame
        try:
            return frame.prepared(self._bundle, FULL if plan is None else plan.exit, self._clock)
        except InputError as error:
            return Spoiled("wrong_shape", str(error))

    # ------------------------------------------------------------------ when it fails

    def failed(self, why: str, error: Exception | None = None) -> None:
        """The sensor cannot be read or opened; ``error`` is an unexpected exception."""
        if why != self._logged:
            self._log.error("sensor failed", extra={"reason": why}, exc_info=error)
        self._logged = self._failure = why
        self._enter("failed")

    def open_again(self) -> Source:
        """The sensor, opened again; blocks, on any thread.

        Raises:
            SettingsError: it does not fit the model.
            SensorError: it cannot be opened.
        """
        return open_source(self._settings, self._bundle, clock=self._clock)

    def resume(self, source: Source) -> None:
        """Go on with what `open_again` has opened: frames are numbered and counted on."""
        self._note_lost()
        self.source = source
        self._failure = ""
        self._enter("silent")

    # ------------------------------------------------------------------ how it does

    def report(self) -> SourceReport:
        """How the sensor does, and what was dropped of its frames."""
        self._note_lost()
        return SourceReport(
            stream=self._settings.name,
            node=self._node,
            state=self._state,
            model=self._bundle.model,
            message=self._failure,
            frames=dict(self._drops.frames),
            trouble=self._drops.troubles(),
            frames_per_second=UNSET if self._settings.fps is None else self._settings.fps,
        )

    def _enter(self, state: SourceState) -> None:
        if state != self._state:
            self._state = state
            self.changed.wake()

    def _note_lost(self) -> None:
        for reason, count in self.source.take_lost().items():
            self._drops.note_known(reason, count)


def _printable(label: str | None) -> str | None:
    """A name that UTF-8 can say (a file's may be any bytes), not longer than a message may have it."""
    return None if label is None else label.encode("utf-8", "replace").decode()[:MAX_TEXT]
