"""The sensor of a stream: read on a thread of its own, at its rate, until it ends or fails; and how it does."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

from iot_node.difference_detector import DifferenceDetector
from iot_node.drop_report import DropReport
from iot_node.prepared import Prepared, deadline_s
from iot_node.source import Source, open_source
from tiercut.clock import Clock
from tiercut.errors import InputError, SensorError
from tiercut.limits import MAX_TEXT
from tiercut.model.bundle import Bundle
from tiercut.plan import FULL, Plan
from tiercut.protocol.stream_settings import StreamSettings
from tiercut.protocol.streams import SourceReport, SourceState
from tiercut.sensing.sensor_format import Spoiled


class SensorReader:
    """Reads a stream's sensor. A frame that cannot be used is counted and reported, and the sensor goes on.

    Args:
        settings: The stream's settings.
        node: The device's id.
        bundle: The stream's model.
        clock: The device's clock.
        drops: Where it counts frames, and what it drops.
        detector: Says which frames to skip.
        plan: Gives the plan that the stream follows now.
        wanted: Waits until the sensor is to be read.
        offer: Takes a frame.

    Attributes:
        source: The open sensor.

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
        wanted: Callable[[], Awaitable[None]],
        offer: Callable[[Prepared], Awaitable[None]],
    ) -> None:
        self._settings = settings
        self._node = node
        self._bundle = bundle
        self._clock = clock
        self._drops = drops
        self._detector = detector
        self._plan = plan
        self._wanted = wanted
        self._offer = offer
        self._log = logging.getLogger(f"{node}.{settings.name}")
        self._state: SourceState = "silent"
        #: why it gives no frames; empty while it does
        self._failure = ""
        #: the last failure that was logged
        self._logged = ""
        #: number of the next frame
        self._seq = 0
        self.source: Source = self.open_again()

    @property
    def has_ended(self) -> bool:
        """The sensor has come to its end: there is nothing more to read."""
        return self._state == "ended"

    async def read(self) -> None:
        """Read the sensor at its rate until it ends, or fails: then it may be opened again, for `resume` and this."""
        pool = ThreadPoolExecutor(1, thread_name_prefix=f"sensor-{self._settings.name}")
        try:
            await self._read_all(pool)
        except SensorError as error:  # the device's other streams go on
            self._drops.counters["sensors_failed"] += 1
            self.failed(str(error))
        except Exception as error:  # noqa: BLE001 - a driver may raise anything, and must not end the device's other streams
            self._drops.counters["sensors_failed"] += 1
            self.failed(f"{type(error).__name__}: {error}", error)
        else:
            self._state = "ended"
            self._log.info("sensor ended")
        finally:
            self.source.close()
            pool.shutdown(wait=False, cancel_futures=True)

    async def _read_all(self, pool: ThreadPoolExecutor) -> None:
        loop = asyncio.get_running_loop()
        period_s = 1 / self._settings.fps if self._settings.fps else 0.0
        due_s = self._clock.monotonic_s()
        while self._settings.frames is None or self._seq < self._settings.frames:
            await self._wanted()
            given = await loop.run_in_executor(pool, self._next, self._seq)
            if given == "ended":
                return
            self._seq += 1
            self._drops.count("captured")
            self._state = "running"
            if isinstance(given, Prepared):
                await self._offer(given)
            else:
                self._drops.note(given.reason, given.message)
            due_s = max(due_s + period_s, self._clock.monotonic_s())
            await asyncio.sleep(max(due_s - self._clock.monotonic_s(), 0))

    # ------------------------------------------------------------------ on the sensor's thread

    def _next(self, seq: int) -> Prepared | Spoiled | Literal["ended"]:
        """The next frame as the model's input, if it is worth it."""
        captured = self.source.next()
        if captured is None:
            return "ended"
        if isinstance(captured, Spoiled):
            return captured
        now_s, unix_s = self._clock.monotonic_s(), self._clock.unix_s()
        age_s = 0.0 if captured.at_unix_s is None else max(0.0, unix_s - captured.at_unix_s)
        plan = self._plan()
        max_age_s = deadline_s(self._settings, plan)
        if max_age_s is not None and age_s > max_age_s:  # under any plan: it could not have been in time with one
            ages = f"{age_s * 1e3:.0f} ms old as it came, deadline {max_age_s * 1e3:.0f} ms"
            return Spoiled("past_deadline", f"{ages}; raise deadline_ms, or see what delays the sensor's frames")
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

    # ------------------------------------------------------------------ when it fails

    def failed(self, why: str, error: Exception | None = None) -> None:
        """The sensor cannot be read or opened; ``error`` is an unexpected exception."""
        if why != self._logged:
            self._log.error("sensor failed", extra={"reason": why}, exc_info=error)
        self._logged = self._failure = why
        self._state = "failed"

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
        self._state, self._failure = "silent", ""

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
        )

    def _note_lost(self) -> None:
        for reason, count in self.source.take_lost().items():
            self._drops.note_known(reason, count)


def _printable(label: str | None) -> str | None:
    """A name that UTF-8 can say (a file's may be any bytes), not longer than a message may have it."""
    return None if label is None else label.encode("utf-8", "replace").decode()[:MAX_TEXT]
