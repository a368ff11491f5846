"""One stream of a device: from its sensor to frames under way, as fast as their outcomes allow.

The sensor is read on a thread of its own. `Window` says when one more frame may set out. In between stands a single
place for the next frame: with ``delivery = "every"`` the sensor waits until it is free, with ``"latest"`` a newer frame
takes it and the older one is counted as ``dropped.newer_frame``. A frame that hardly differs from the one before it may
be skipped before anything is made of it (`stillness`): it keeps its number and is counted as ``dropped.unchanged``. One
that cannot be used is counted under its reason, said in the stream's report, and the sensor goes on.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

from numpy.typing import NDArray

from iot_node.difference_detector import Stillness
from iot_node.drop_report import Troubles
from iot_node.privacy import check_plan
from iot_node.source import Source, open_source
from tiercut.clock import Clock
from tiercut.errors import InputError, SensorError
from tiercut.limits import MAX_TEXT
from tiercut.model.bundle import Bundle
from tiercut.pipeline.jobs import Arrays, Job
from tiercut.pipeline.window import Window
from tiercut.plan import FULL, Plan
from tiercut.protocol import events
from tiercut.protocol.frames import ClockStamp, Stage, Work
from tiercut.protocol.nodes import StreamPlan
from tiercut.protocol.stream_settings import StreamSettings
from tiercut.protocol.streams import SourceReport, SourceState
from tiercut.sensing.sensor_format import Captured, Spoiled

#: How often frames without an outcome are looked for.
OVERDUE_EVERY_S = 1.0
#: Why frames are dropped without anything being wrong with them, and what to do.
LOST = {
    "newer_frame": "the sensor gives frames faster than the site takes them; lower its rate, or set fps",
    "sensor_ahead": "messages come faster than they can be read; lower the sensor's rate",
    "retained": "a retained message is from before this stream was there; publish without retain",
    "lost": "neither a result nor a reason came back in time",
}


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


class Stream:
    """A sensor whose frames go to a worker.

    Args:
        settings: The stream's settings.
        site: Its site.
        node: The device's id.
        bundle: Its model.
        clock: The device's clock.
        counters: Where it counts: ``frames_captured``, ``frames_done`` (their outcome is known), ``frames_resent``,
            ``dropped.<reason>``.
        submit: Takes a frame to the worker.

    Attributes:
        source: Its open sensor.

    Raises:
        SettingsError: the sensor does not fit the model.
        SensorError: the sensor cannot be opened.
    """

    def __init__(
        self,
        settings: StreamSettings,
        *,
        site: str,
        node: str,
        bundle: Bundle,
        clock: Clock,
        counters: Counter[str],
        submit: Callable[[Job], None],
    ) -> None:
        self.settings = settings
        self.bundle = bundle
        self.plan: Plan | None = None
        self._site = site
        self._node = node
        self._clock = clock
        self._counters = counters
        self._submit = submit
        self._log = logging.getLogger(f"{node}.{settings.name}")
        self.source: Source = open_source(settings, bundle, clock=clock)
        self._troubles = Troubles(counters)
        self._state: SourceState = "silent"
        self._failed = ""
        #: the last failure that was logged
        self._said = ""
        self._stillness = Stillness(below=settings.skip_below, max_s=settings.skip_most_s)
        self._window = Window(limit=settings.in_flight, timeout_s=settings.timeout_s)
        #: the single place between sensor and window
        self._next: Prepared | None = None
        #: frames under way that can be sent again (``every`` only): at most ``in_flight``
        self._kept: dict[int, Prepared] = {}
        #: epoch of the frames under way
        self._epoch: int | None = None
        #: frames under way that are still in this device's worker or outbox
        self._inside: set[int] = set()
        #: CloudEvents id of each frame under way
        self._events: dict[int, str] = {}
        self._changed = asyncio.Condition()
        #: set when a place in the window may have become free
        self._room = asyncio.Event()
        #: number of the next frame
        self._seq = 0

    # ------------------------------------------------------------------ what the node tells

    def check(self, offered: StreamPlan) -> None:
        """Refuse a plan that does not fit this stream.

        Raises:
            SettingsError: says why; the last plan stays.
        """
        check_plan(
            offered,
            self.bundle,
            stream=self.settings.name,
            node=self._node,
            min_first_cut=self.settings.min_first_cut,
            min_noise=self.settings.min_noise,
        )

    async def new_plan(self, offered: StreamPlan) -> None:
        """Follow a plan from the next frame on; `check` it before."""
        async with self._changed:
            self.plan = offered.plan
            self._changed.notify_all()
        self._room.set()  # the new plan may let more frames set out
        plan = offered.plan
        cuts = {"first": plan.first_cut, "second": plan.second_cut}
        self._log.info("plan", extra={"epoch": plan.epoch, **cuts, "why": offered.reason})

    def outcome(self, seq: int, event: str | None = None, *, dropped: bool = False) -> None:
        """A frame's result, or the reason why there is none, was published.

        Args:
            seq: Its number.
            event: Its CloudEvents id: a frame of that number from before a restart of this device has another.
            dropped: It has no result: the next frame is not skipped for being like it.
        """
        expected = self._events.get(seq)
        if event is not None and expected is not None and event != expected:
            return
        if self._forget(seq):
            self._counters["frames_done"] += 1
            self._troubles.frames["done"] += 1
            if dropped:
                self._stillness.forget()

    def _forget(self, seq: int) -> bool:
        known = self._window.end(seq)
        self._events.pop(seq, None)
        self._kept.pop(seq, None)
        self._inside.discard(seq)
        self._room.set()
        return known

    # ------------------------------------------------------------------ tasks

    async def read(self) -> None:
        """Read the sensor at its rate until it ends, or fails: then it may be opened again, for `resume` and this."""
        pool = ThreadPoolExecutor(1, thread_name_prefix=f"sensor-{self.settings.name}")
        try:
            await self._read_all(pool)
        except SensorError as error:  # the device's other streams go on
            self._counters["sensors_failed"] += 1
            self.failed(str(error))
        except Exception as error:  # noqa: BLE001 - a driver may raise anything, and must not end the device's other streams
            self._counters["sensors_failed"] += 1
            self.failed(f"{type(error).__name__}: {error}", error)
        else:
            self._state = "ended"
            self._log.info("sensor ended")
        finally:
            self.source.close()
            pool.shutdown(wait=False, cancel_futures=True)

    @property
    def has_ended(self) -> bool:
        """The sensor has come to its end: there is nothing more to read."""
        return self._state == "ended"

    async def _read_all(self, pool: ThreadPoolExecutor) -> None:
        loop = asyncio.get_running_loop()
        period_s = 1 / self.settings.fps if self.settings.fps else 0.0
        due_s = self._clock.monotonic_s()
        while self.settings.frames is None or self._seq < self.settings.frames:
            await self._wait_for_place()
            captured = await loop.run_in_executor(pool, self._capture, self._seq)
            if captured == "ended":
                return
            self._seq += 1
            self._counters["frames_captured"] += 1
            self._troubles.frames["captured"] += 1
            self._state = "running"
            if isinstance(captured, Prepared):
                await self._offer(captured)
            else:
                self._drop(captured)
            due_s = max(due_s + period_s, self._clock.monotonic_s())
            await asyncio.sleep(max(due_s - self._clock.monotonic_s(), 0))

    def failed(self, why: str, error: Exception | None = None) -> None:
        """The sensor cannot be read or opened; ``error`` is what nobody foresaw."""
        if why != self._said:
            self._log.error("sensor failed", extra={"reason": why}, exc_info=error)
        self._said = self._failed = why
        self._state = "failed"

    def open_again(self) -> Source:
        """The sensor, opened again; blocks, on any thread.

        Raises:
            SettingsError: it does not fit the model.
            SensorError: it cannot be opened.
        """
        return open_source(self.settings, self.bundle, clock=self._clock)

    def resume(self, source: Source) -> None:
        """Go on with what `open_again` has opened: frames are numbered and counted on."""
        self._drop_lost()
        self.source = source
        self._state, self._failed = "silent", ""

    def _drop_lost(self) -> None:
        for reason, count in self.source.take_lost().items():
            self._drop(Spoiled(reason, LOST[reason]), count)

    def report(self) -> SourceReport:
        """How its sensor does."""
        self._drop_lost()
        return SourceReport(
            stream=self.settings.name,
            node=self._node,
            state=self._state,
            model=self.bundle.model,
            message=self._failed,
            frames=dict(self._troubles.frames),
            trouble=self._troubles.told(),
        )

    async def start(self) -> None:
        """Let frames set out as the window has room."""
        while True:
            async with self._changed:
                await self._changed.wait_for(lambda: self._next and self.plan)
            while not self._has_room or self._would_overtake():
                self._room.clear()
                await self._room.wait()
            async with self._changed:
                prepared, plan = self._next, self.plan
                self._next = None
                self._changed.notify_all()
            if prepared is None or plan is None:  # both were just seen; this is for the type checker
                continue
            self._epoch = plan.epoch
            self._window.start(prepared.seq, self._clock.monotonic_s())
            self._events[prepared.seq] = events.event_id(prepared.seq, prepared.captured_unix_s)
            if self.settings.delivery == "every":
                self._kept[prepared.seq] = prepared
            self._send(prepared, plan)

    async def watch_overdue(self) -> None:
        """Give up frames without an outcome (``latest``), or send them again, ever more rarely (``every``)."""
        while True:
            await asyncio.sleep(OVERDUE_EVERY_S)
            for seq in self._window.overdue(self._clock.monotonic_s()):
                if seq in self._inside:  # still on this device, waiting for a thread or for its broker
                    continue
                if (kept := self._kept.get(seq)) and self.plan:  # today's: the one it followed may be why it is late
                    self._counters["frames_resent"] += 1
                    self._window.sent_again(seq, self._clock.monotonic_s())
                    self._send(kept, self.plan)
                elif self._forget(seq):
                    self._drop(Spoiled("lost", LOST["lost"]))
                    self._stillness.forget()
                    self._log.warning("frame lost: neither a result nor a reason came", extra={"seq": seq})

    # ------------------------------------------------------------------ steps

    def _would_overtake(self) -> bool:
        """Whether a frame of a new plan could come home before those of the old one (``every`` keeps the order)."""
        new = self.plan is not None and self.plan.epoch != self._epoch
        return new and self.settings.delivery == "every" and len(self._window) > 0

    @property
    def _has_room(self) -> bool:
        """Whether one more frame may set out: where there is a deadline, without waiting for those before it."""
        deadline = None if self.plan is None else self.plan.deadline
        most = None if deadline is None else deadline.in_flight
        return self._window.has_room and (most is None or len(self._window) < most)

    async def _wait_for_place(self) -> None:
        """Without a rate of its own a sensor gives as many frames as are taken, whatever the delivery mode.

        With a deadline it is read when its frame can set out: one that waits grows old.
        """
        if self.settings.delivery == "every" or self.settings.fps is None:
            async with self._changed:
                await self._changed.wait_for(lambda: self._next is None)
            while self.plan is not None and self.plan.deadline is not None and not self._has_room:
                self._room.clear()
                await self._room.wait()

    def _capture(self, seq: int) -> Prepared | Spoiled | Literal["ended"]:
        """On the sensor's thread: the next frame as the model's input, if it is worth it."""
        captured = self.source.next()
        if captured is None:
            return "ended"
        if isinstance(captured, Spoiled):
            return captured
        now_s, unix_s = self._clock.monotonic_s(), self._clock.unix_s()
        age_s = 0.0 if captured.at_unix_s is None else max(0.0, unix_s - captured.at_unix_s)
        at_s, at_unix_s = now_s - age_s, unix_s - age_s
        deadline_s = self._deadline_s(self.plan)
        if deadline_s is not None and age_s > deadline_s:  # whatever the plan: it could not have been in time with any
            ages = f"{age_s * 1e3:.0f} ms old as it came, deadline {deadline_s * 1e3:.0f} ms"
            return Spoiled("past_deadline", f"{ages}; raise deadline_ms, or see what holds the sensor's frames up")
        if self._stillness.skips(captured.frame, at_s):
            return Spoiled("unchanged", "")
        return self._prepared(seq, captured, at_s, at_unix_s)

    def _prepared(self, seq: int, captured: Captured, at_s: float, at_unix_s: float) -> Prepared | Spoiled:
        """The frame as the model's input; it was captured at these times of the monotonic and of the wall clock."""
        variant = FULL if self.plan is None else self.plan.exit
        try:
            arrays = self.bundle.to_inputs(captured.frame, variant)
        except InputError as error:
            return Spoiled("wrong_shape", str(error))
        return Prepared(
            seq=seq,
            frame=captured.frame,
            arrays=arrays,
            variant=variant,
            label=_printable(captured.label),
            captured_s=at_s,
            captured_unix_s=at_unix_s,
            prepare_s=max(0.0, self._clock.monotonic_s() - at_s),
        )

    def _drop(self, spoiled: Spoiled, count: int = 1) -> None:
        self._troubles.note(spoiled.reason, spoiled.message, self._clock.unix_s(), count)

    async def _offer(self, prepared: Prepared) -> None:
        async with self._changed:
            if self._next is not None:
                self._drop(Spoiled("newer_frame", LOST["newer_frame"]))
            self._next = prepared
            self._changed.notify_all()

    def _send(self, prepared: Prepared, plan: Plan) -> None:
        self._inside.add(prepared.seq)
        if self.bundle.variant(plan.exit).frame != self.bundle.variant(prepared.variant).frame:
            prepared = replace(prepared, arrays=self.bundle.to_inputs(prepared.frame, plan.exit), variant=plan.exit)
        self._submit(self._job(prepared, plan))

    def _job(self, prepared: Prepared, plan: Plan) -> Job:
        stamp = ClockStamp(self._clock.id, prepared.captured_s)
        # For a place under way; what it waits for a thread is the worker's to say, and no fault of the stream's.
        now_s = self._clock.monotonic_s()
        waited_s = now_s - (prepared.captured_s + prepared.prepare_s)
        work = Work(
            site=self._site,
            stream=self.settings.name,
            seq=prepared.seq,
            model=self.bundle.model,
            plan=plan,
            delivery=self.settings.delivery,
            cut=0,
            tensors=(),
            captured_unix_s=prepared.captured_unix_s,
            captured=stamp,
            sent=stamp,
            stages=(Stage(self._node, "prepare", prepared.prepare_s), Stage(self._node, "queue", max(0.0, waited_s))),
            deadline_s=self._deadline_s(plan),
            label=prepared.label,
        )
        left = partial(self._left, prepared.seq)
        return Job(work=work, arrived_s=now_s, ack=left, arrays=prepared.arrays)

    def _deadline_s(self, plan: Plan | None) -> float | None:
        """The age after which a result is of no use."""
        if plan is not None and plan.deadline is not None:
            return plan.deadline.seconds
        return None if self.settings.deadline_ms is None else self.settings.deadline_ms / 1e3

    def _left(self, seq: int) -> None:
        """The next node's broker has it, or its outcome is published: the wait for the outcome begins now."""
        self._inside.discard(seq)
        self._window.left(seq, self._clock.monotonic_s())


def _printable(label: str | None) -> str | None:
    """A name that UTF-8 can say (a file's may be any bytes), not longer than a message may have it."""
    return None if label is None else label.encode("utf-8", "replace").decode()[:MAX_TEXT]
