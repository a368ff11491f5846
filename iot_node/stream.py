"""What happens to a frame on a device, in order.

1. `wanted` holds its sensor's thread back until there is use for a frame; `SensorReader` reads it and makes the
   model's input of it. It may be skipped there, as it hardly differs from the one before it (`DifferenceDetector`): it
   keeps its number and is counted as ``dropped.unchanged``.
2. `offer` puts it in the single place for the next frame. With ``delivery = "every"`` the sensor waits until that is
   free, with ``"latest"`` a newer frame takes it and the older one is counted as ``dropped.newer_frame``.
3. `start` sends it as soon as the `InFlightWindow` has room: from then on it is in flight, and the window owns its
   record.
4. `_left`: the next node's broker has it.
5. `outcome`: it has a result, or a reason why there is none. `watch_overdue` sends it again where neither comes, or
   gives it up.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from functools import partial

from iot_node.difference_detector import DifferenceDetector
from iot_node.drop_report import DropReport
from iot_node.prepared import Prepared, work_of
from iot_node.privacy import check_plan
from iot_node.sensor_reader import SensorReader
from tiercut.clock import Clock
from tiercut.model.bundle import Bundle
from tiercut.pipeline.jobs import Job
from tiercut.pipeline.window import InFlightWindow
from tiercut.plan import Plan
from tiercut.protocol.events import event_id
from tiercut.protocol.nodes import StreamPlan
from tiercut.protocol.stream_settings import StreamSettings

#: How often to look for frames without an outcome.
OVERDUE_EVERY_S = 1.0


class Stream:
    """A sensor whose frames go to a worker, as fast as their outcomes allow.

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
        plan: The plan that the next frame follows; ``None`` before the first.
        sensor: Reads its open sensor.

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
        self._drops = DropReport(counters, clock)
        self._detector = DifferenceDetector(below=settings.skip_below, max_s=settings.skip_most_s)
        self.sensor = SensorReader(
            settings,
            node=node,
            bundle=bundle,
            clock=clock,
            drops=self._drops,
            detector=self._detector,
            plan=lambda: self.plan,
            wanted=self.wanted,
            offer=self.offer,
        )
        #: the single place between sensor and window
        self._next: Prepared | None = None
        #: frames that can be sent again (``every`` only) are kept with their records: at most ``in_flight``
        self._window: InFlightWindow[Prepared] = InFlightWindow(limit=settings.in_flight, timeout_s=settings.timeout_s)
        #: the single place or the plan has changed
        self._changed = asyncio.Condition()
        #: set when the window may have got room
        self._room = asyncio.Event()

    def close(self) -> None:
        """End its sensor, from any thread."""
        self.sensor.source.close()

    # ------------------------------------------------------------------ plans

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
        self._room.set()  # the new plan may let more frames be sent
        plan = offered.plan
        cuts = {"first": plan.first_cut, "second": plan.second_cut}
        self._log.info("plan", extra={"epoch": plan.epoch, **cuts, "why": offered.reason})

    # ------------------------------------------------------------------ 1, 2: from the sensor to the single place

    async def wanted(self) -> None:
        """Wait until the sensor is to be read.

        Without a rate of its own a sensor gives as many frames as are taken, whatever the delivery mode. With a
        deadline it is read when its frame can be sent: one that waits grows old.
        """
        if self.settings.delivery == "every" or self.settings.fps is None:
            async with self._changed:
                await self._changed.wait_for(lambda: self._next is None)
            while self.plan is not None and self.plan.deadline is not None and not self._has_room:
                await self._more_room()

    async def offer(self, prepared: Prepared) -> None:
        """Put a frame in the single place; one that waits there makes room for it."""
        async with self._changed:
            if self._next is not None:
                self._drops.note_known("newer_frame")
            self._next = prepared
            self._changed.notify_all()

    # ------------------------------------------------------------------ 3: from there to the worker

    async def start(self) -> None:
        """Send frames as the window has room, forever."""
        while True:
            async with self._changed:
                await self._changed.wait_for(lambda: self._next and self.plan)
            while not self._has_room or self._would_overtake:
                await self._more_room()
            async with self._changed:
                prepared, plan = self._next, self.plan
                self._next = None
                self._changed.notify_all()
            if prepared is None or plan is None:  # both were just seen; this is for the type checker
                continue
            self._window.start(
                prepared.seq,
                self._clock.monotonic_s(),
                epoch=plan.epoch,
                event=event_id(prepared.seq, prepared.captured_unix_s),
                kept=prepared if self.settings.delivery == "every" else None,
            )
            self._send(prepared, plan)

    @property
    def _has_room(self) -> bool:
        """Whether one more frame may be sent: where there is a deadline, without waiting for those before it."""
        deadline = None if self.plan is None else self.plan.deadline
        most = None if deadline is None else deadline.in_flight
        return self._window.has_room and (most is None or len(self._window) < most)

    @property
    def _would_overtake(self) -> bool:
        """Whether a frame of a new plan could come home before those of the old one (``every`` keeps the order)."""
        if self.plan is None or self.settings.delivery != "every":
            return False
        return self._window.holds_other_epoch(self.plan.epoch)

    async def _more_room(self) -> None:
        self._room.clear()
        await self._room.wait()

    def _send(self, prepared: Prepared, plan: Plan) -> None:
        prepared = prepared.made_for(plan, self.bundle)
        arrived_s = self._clock.monotonic_s()
        names = {"site": self._site, "node": self._node, "model": self.bundle.model}
        work = work_of(prepared, plan, self.settings, clock=self._clock, **names)
        left = partial(self._left, prepared.seq)
        self._submit(Job(work=work, arrived_s=arrived_s, ack=left, arrays=prepared.arrays))

    # ------------------------------------------------------------------ 4, 5: until its outcome

    def _left(self, seq: int) -> None:
        """The next node's broker has it, or its outcome is published: the wait for the outcome begins now."""
        self._window.left(seq, self._clock.monotonic_s())

    def outcome(self, seq: int, event: str | None = None, *, dropped: bool = False) -> None:
        """A frame's result, or the reason why there is none, was published.

        Args:
            seq: Its number.
            event: Its CloudEvents id: a frame of that number from before a restart of this device has another.
            dropped: It has no result: the next frame is not skipped for being like it.
        """
        if self._window.expects(seq, event) and self._end(seq):
            self._drops.count("done")
            if dropped:
                self._detector.forget()

    async def watch_overdue(self) -> None:
        """Give up frames without an outcome (``latest``), or send them again, ever more rarely (``every``)."""
        while True:
            await asyncio.sleep(OVERDUE_EVERY_S)
            for frame in self._window.overdue(self._clock.monotonic_s()):
                if frame.kept is not None and self.plan:  # today's: the one it followed may be why it is late
                    self._counters["frames_resent"] += 1
                    self._window.sent_again(frame.seq, self._clock.monotonic_s())
                    self._send(frame.kept, self.plan)
                elif self._end(frame.seq):
                    self._drops.note_known("lost")
                    self._detector.forget()
                    self._log.warning("frame lost: neither a result nor a drop reason came", extra={"seq": frame.seq})

    def _end(self, seq: int) -> bool:
        """It is not in flight any more; false where it was not."""
        known = self._window.end(seq)
        self._room.set()
        return known
