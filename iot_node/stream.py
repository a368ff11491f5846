"""What happens to a frame on a device, in order.

1. `SensorReader` reads the sensor on a thread, one frame for each `read_one`. A frame may be skipped there, as it
   hardly differs from the one before it (`DifferenceDetector`): it keeps its number and is counted as
   ``dropped.unchanged``.
   With ``delivery = "every"``, or without a rate of its own, the sensor is read when its frame can be sent: one that
   waits grows old. With ``"latest"`` and a rate it is read at its rate.
   Where the site has room for fewer frames than the sensor gives, `RateLimit` lets no more set out: the sensor waits,
   or a frame that comes too early is counted as ``dropped.beyond_rate`` before any work was done on it.
2. `offer` puts it in the single place for the next frame. With ``"latest"`` a newer frame takes it, and the older one
   is counted as ``dropped.newer_frame`` before any work was done on it.
3. `_go` sends it as soon as the `InFlightWindow` has room, as the input of the model: from then on it is in flight, and
   the window owns its record. Of plans that run at once each has a window, and `Ways` says which takes the frame.
4. `_left`: the next node's broker has it.
5. `outcome`: it has a result, or a reason why there is none. `watch_overdue` sends it again where neither comes, or
   gives it up. `came_home`: the same, of a frame whose outcome this device publishes itself, in order (`Homecoming`).

Whatever may let the next frame go calls `_go`: a frame, an outcome, a plan, a timer. All of it is on the event loop,
but for the reading and preparing of frames.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import Counter
from collections.abc import Callable

from msgspec import UNSET, structs

from iot_node.difference_detector import DifferenceDetector
from iot_node.drop_report import DropReport
from iot_node.flights import Flights
from iot_node.homecoming import Publish
from iot_node.privacy import check_plan
from iot_node.sending import Sender
from iot_node.sensor_frame import SensorFrame
from iot_node.sensor_reader import SensorReader
from tiercut.bus import Message
from tiercut.clock import Clock
from tiercut.model.bundle import Bundle
from tiercut.pipeline.jobs import Job
from tiercut.pipeline.rate_limit import RateLimit
from tiercut.plan import Plan
from tiercut.protocol.events import DROPPED_TYPE, RESULT_TYPE, event_source
from tiercut.protocol.nodes import StreamPlan
from tiercut.protocol.stream_settings import StreamSettings
from tiercut.protocol.streams import SourceReport

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
        publish: Puts an outcome on the site's bus.
        reachable: Whether the nodes of a plan are there.

    Attributes:
        plan: The plan that the next frame follows; ``None`` before the first.
        sensor: Reads its open sensor.
        result_source: What its results name as their source (CloudEvents).
        dropped_source: The same of what says why there is no result.

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
        publish: Publish,
        reachable: Callable[[Plan], bool],
    ) -> None:
        self.settings = settings
        self.bundle = bundle
        self.plan: Plan | None = None
        self._site = site
        self._node = node
        self._clock = clock
        self._counters = counters
        self._log = logging.getLogger(f"{node}.{settings.name}")
        self._drops = DropReport(counters, clock)
        self._detector = DifferenceDetector(below=settings.skip_below, max_s=settings.skip_most_s)
        self._flights = Flights(
            settings,
            bundle=bundle,
            site=site,
            node=node,
            clock=clock,
            drops=self._drops,
            publish=publish,
            reachable=reachable,
        )
        self.sensor = SensorReader(
            settings,
            node=node,
            bundle=bundle,
            clock=clock,
            drops=self._drops,
            detector=self._detector,
            plan=lambda: self._flights.ahead,
            is_early=self._is_early,
            prepares=lambda: self._reads_on_demand or self._is_open,
            offer=self.offer,
            ready=self.ready,
        )
        self.result_source = event_source(site, settings.name, RESULT_TYPE)
        self.dropped_source = event_source(site, settings.name, DROPPED_TYPE)
        #: the sensor is read when its frame can be sent
        self._reads_on_demand = settings.delivery == "every" or settings.fps is None
        #: frames of a new plan wait for those of the old one, where they could overtake them
        self._keeps_order = settings.delivery == "every"
        self._period_s = 1 / settings.fps if settings.fps else 0.0
        #: lets no more frames set out than the site has room for; ``None``: it has for all
        self._rate: RateLimit | None = None
        #: the single place between sensor and window
        self._next: SensorFrame | None = None
        self._sender = Sender(
            bundle,
            clock=clock,
            drops=self._drops,
            submit=submit,
            left=self._flights.left,
            failed=self._flights.give_up,
            changed=self._go,
            logger=self._log,
        )
        #: a frame that came now would be sent at once; the sensor's thread reads it
        self._is_open = True
        #: the sensor waits to be told to read
        self._sensor_waits = False
        #: when the sensor may give its next frame, and whether the window has kept it from being read
        self._due_s = -math.inf
        self._sensor_held = False
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    def publish_all(self) -> None:
        """Publish the outcomes that wait for others: the stream ends (event loop only)."""
        self._flights.publish_all()

    def close(self) -> None:
        """End its sensor and send no more frames, from any thread."""
        self._closed = self._sender.closed = True
        self.sensor.source.close()

    def report(self) -> SourceReport:
        """How its sensor and its window do, and what was dropped of its frames."""
        ways = self._flights.ways
        plans = ways.reports() if ways is not None and len(ways.ways) > 1 else UNSET
        return structs.replace(self.sensor.report(), window=round(self._flights.window.size, 1), plans=plans)

    # ------------------------------------------------------------------ plans

    def check(self, offered: StreamPlan) -> None:
        """Refuse plans that do not fit this stream, all of them where one does not.

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

    def new_plan(self, offered: StreamPlan) -> None:
        """Follow a plan from the next frame on; `check` it before."""
        plan = offered.plan
        self._flights.follow(offered.mix, spaced=offered.frames_per_second is not UNSET)
        if offered.frames_per_second is UNSET:
            self._rate = None
        else:
            self._rate = self._rate or RateLimit(0.0 if self._reads_on_demand else self._period_s)
            self._rate.limit(offered.frames_per_second)
        self.plan = plan
        cuts = {"first": plan.first_cut, "second": plan.second_cut, "plans": len(offered.mix)}
        self._log.info("plan", extra={"epoch": plan.epoch, **cuts, "why": offered.reason})
        self._go()

    def nodes_changed(self) -> None:
        """A node has come or gone: frames on their way to it go another way, where there is one."""
        if self._flights.are_mixed:
            self._look_after(self._clock.monotonic_s())

    # ------------------------------------------------------------------ 1, 2: from the sensor to the single place

    def offer(self, frame: SensorFrame) -> None:
        """Put a frame in the single place; one that waits there makes room for it."""
        if self._next is not None:
            self._drops.note_known("newer_frame")
        self._next = frame

    def ready(self) -> None:
        """The sensor has given what it had, and can be read again."""
        self._sensor_waits, self._sensor_held = True, False
        self._due_s = self._clock.monotonic_s() + self._period_s
        self._go()

    def _read_on(self) -> None:
        """Let the sensor be read, where there is use for a frame. Before the first plan one is read ahead."""
        if self._reads_on_demand:
            if self._next is not None or self._sender.preparing:
                return
            now_s = self._clock.monotonic_s()
            if self.plan is not None:
                if wait_s := self._flights.window.wait_s(now_s):
                    self._sensor_held = True
                if self._rate is not None:
                    wait_s = max(wait_s, self._rate.wait_s(now_s))
                if wait_s:
                    self._try_again(wait_s)
                    return
            if self._sensor_held and now_s >= self._due_s:
                self._flights.window.held()
        self._sensor_waits = False
        self.sensor.read_one()

    # ------------------------------------------------------------------ 3: from there to the worker

    def _go(self) -> None:
        """Do what can be done now: send the frame that waits, and let the sensor be read."""
        if self._closed:
            return
        if self._next is not None:
            self._start_next()
        if not self._reads_on_demand:
            self._is_open = self._next is None and self._can_start()
        if self._sensor_waits:
            self._read_on()

    def _can_start(self) -> bool:
        plan = self.plan
        if plan is None or self._sender.preparing:
            return False
        return not self._flights.window.wait_s(self._clock.monotonic_s())

    def _start_next(self) -> None:
        frame, ways, plan = self._next, self._flights.ways, self.plan
        if frame is None or ways is None or plan is None or self._sender.preparing:
            return
        if self._keeps_order and self._flights.would_overtake(plan.epoch):
            return
        now_s = self._clock.monotonic_s()
        if wait_s := self._flights.window.wait_s(now_s):
            self._flights.window.held()
            self._try_again(wait_s)
            return
        if self._rate is not None and self._reads_on_demand and (wait_s := self._rate.wait_s(now_s)):
            self._try_again(wait_s)
            return
        self._next = None
        outbound = self._flights.start(frame, ways, now_s)
        if self._rate is not None:
            self._rate.started(now_s)
        self._sender.send(frame, outbound)

    def _is_early(self, now_s: float) -> bool:
        """Whether the sensor's frame is one too many (on the sensor's thread)."""
        rate = self._rate
        return rate is not None and not self._reads_on_demand and rate.is_early(now_s)

    def _try_again(self, wait_s: float) -> None:
        """A part of a place becomes free with time; all others with an outcome."""
        if wait_s == math.inf:
            return
        loop = asyncio.get_running_loop()
        if self._timer is not None:
            if self._timer.when() <= loop.time() + wait_s:
                return
            self._timer.cancel()
        self._timer = loop.call_later(wait_s, self._timed)

    def _timed(self) -> None:
        self._timer = None
        self._go()

    # ------------------------------------------------------------------ 4, 5: until its outcome

    def outcome(self, seq: int, event: str | None = None, *, dropped: bool = False) -> None:
        """A frame's result, or the reason why there is none, was published.

        Args:
            seq: Its number.
            event: Its CloudEvents id: a frame of that number from before a restart of this device has another.
            dropped: It has no result: the next frame is not skipped for being like it.
        """
        if not self._flights.window.expects(seq, event):
            return
        if self._flights.window.outcome(seq, self._clock.monotonic_s(), dropped=dropped):
            self._drops.count("done")
            if dropped:
                self._detector.forget()
            if self._flights.home is not None:  # others have published it
                self._flights.home.is_settled(seq)
            self._go()

    def came_home(
        self, seq: int, event: str, message: Message, ack: Callable[[], None], *, dropped: bool = False
    ) -> None:
        """An outcome has come that this device is to publish.

        Args:
            seq: Number of its frame.
            event: Its CloudEvents id.
            message: For the stream's topic.
            ack: Called once; at once, where the outcome is that of a frame of this run.
            dropped: It says why there is no result.
        """
        if self._flights.came_home(seq, event, message, ack, dropped=dropped):
            if dropped:
                self._detector.forget()
            self._go()

    async def watch_overdue(self) -> None:
        """Give up frames without an outcome (``latest``), or send them again, ever more rarely (``every``)."""
        while True:
            await asyncio.sleep(OVERDUE_EVERY_S)
            self._flights.tidy()
            self._look_after(self._clock.monotonic_s())

    def _look_after(self, now_s: float) -> None:
        for frame in self._flights.window.overdue(now_s):
            if frame.kept is not None and (outbound := self._flights.sent_again(frame.seq, now_s)) is not None:
                self._counters["frames_resent"] += 1
                self._sender.send(frame.kept, outbound)
            elif self._flights.give_up(frame.seq):
                self._drops.note_known("lost")
                self._detector.forget()
                self._log.warning("frame lost: neither a result nor a drop reason came", extra={"seq": frame.seq})
        self._go()  # frames that are late take no place any more
