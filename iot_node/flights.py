"""The frames of one stream that are in flight: the plans they follow, and who publishes their outcomes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from iot_node.drop_report import DropReport
from iot_node.following import follow
from iot_node.homecoming import Homecoming, Publish
from iot_node.sensor_frame import Outbound, SensorFrame
from iot_node.ways import Ways, Window
from tiercut.bus import Message
from tiercut.clock import Clock
from tiercut.model.bundle import Bundle
from tiercut.pipeline.window import InFlightWindow
from tiercut.plan import Plan
from tiercut.protocol.events import captured_in, event_id
from tiercut.protocol.stream_settings import StreamSettings


class Flights:
    """Frames in flight by one plan, or by several at once.

    Args:
        settings: The stream's settings.
        bundle: Its model.
        site: Its site.
        node: The device's id.
        clock: The device's clock.
        drops: Counts frames.
        publish: Puts an outcome on the site's bus.
        reachable: Whether the nodes of a plan are there.

    Attributes:
        window: The only plan's window, or all of several plans. Frames that can be sent again (``every`` only) are kept
            with their records: at most ``in_flight`` of each plan.
        ways: The plans; ``None`` before the first.
        ahead: The plan that is next to take a frame (read by the sensor's thread).
        would_overtake: Whether a frame of a plan, by its epoch, could come home before those of another.
        home: Publishes outcomes that this device puts in order; ``None`` while there was no such plan.
    """

    def __init__(
        self,
        settings: StreamSettings,
        *,
        bundle: Bundle,
        site: str,
        node: str,
        clock: Clock,
        drops: DropReport,
        publish: Publish,
        reachable: Callable[[Plan], bool],
    ) -> None:
        self.window: Window | Ways = InFlightWindow(limit=settings.in_flight, timeout_s=settings.patience_s)
        self.would_overtake: Callable[[int], bool] = self.window.holds_other_epoch
        self.ways: Ways | None = None
        self.ahead: Plan | None = None
        self.home: Homecoming | None = None
        self._settings = settings
        self._bundle = bundle
        self._names = {"site": site, "node": node}
        self._clock = clock
        self._drops = drops
        self._publish = publish
        self._reachable = reachable
        self._opened_unix_s = clock.unix_s()
        self._keeps = settings.delivery == "every"
        #: the outcomes of frames that set out now are published by this device
        self._by_device = False

    @property
    def are_mixed(self) -> bool:
        """Whether frames of several plans are in flight, or may be."""
        return self.window is self.ways

    # ------------------------------------------------------------------ plans

    def follow(self, mix: Sequence[tuple[Plan, float]], *, spaced: bool = False) -> None:
        """Frames follow these plans from now on, each with its share; the hub may space them."""
        self.ways = follow(
            mix,
            self.window if self.ways is None else self.ways,
            settings=self._settings,
            outbound=self._outbound_of,
            reachable=self._reachable,
            now_s=self._clock.monotonic_s(),
        )
        for way in self.ways.ways:
            way.window.spaced(spaced=spaced)
        self.ahead, self._by_device = mix[0][0], self.ways.ways[0].outbound.by_device
        if self._by_device:
            self._put_in_order()
        self.window = self.ways.window
        self.would_overtake = self.window.holds_other_epoch if self.home is None else self._would_overtake

    def _outbound_of(self, plan: Plan, *, by_device: bool, lane: int) -> Outbound:
        settings, bundle, clock = self._settings, self._bundle, self._clock
        return Outbound(plan, settings, bundle, clock=clock, by_device=by_device, lane=lane, **self._names)

    def _put_in_order(self) -> None:
        """From now on this device publishes outcomes, after those of frames that have set out before."""
        if self.home is None:
            self.home = Homecoming(publish=self._publish, drops=self._drops, clock=self._clock, waits=self._keeps)
        if not len(self.home):
            for seq in self.window.seqs:
                self.home.expect(seq)

    # ------------------------------------------------------------------ out

    def _would_overtake(self, epoch: int) -> bool:
        """``would_overtake`` where this device publishes outcomes, or has done so: then it keeps the order itself."""
        if self.home is not None and (self._by_device or len(self.home)):
            return self.home.is_full or not self._by_device
        return self.window.holds_other_epoch(epoch)

    def start(self, frame: SensorFrame, ways: Ways, now_s: float) -> Outbound:
        """A frame sets out, as ``window`` has allowed; returns what sends it."""
        mixed = self.window is ways
        way = ways.take(now_s) if mixed else ways.ways[0]
        outbound = way.outbound
        way.window.start(
            frame.seq,
            now_s,
            epoch=outbound.plan.epoch,
            event=event_id(frame.seq, frame.captured_unix_s),
            kept=frame if self._keeps else None,
        )
        if self.home is not None and self._by_device:
            self.home.expect(frame.seq, way.window.late_after_s)
        if mixed:
            self.ahead = ways.ahead(now_s)
        return outbound

    def left(self, seq: int) -> None:
        """The next node's broker has a frame, or its outcome is published: the wait for the outcome begins now."""
        self.window.left(seq, self._clock.monotonic_s())

    def sent_again(self, seq: int, now_s: float) -> Outbound | None:
        """A frame is to be sent once more; returns what sends it: today's plan, as its own may be why it is late.

        Its outcome comes to this device as long as those of frames before it may wait here, whatever the plan.
        """
        if self.ways is None:
            return None
        way = self.window.sent_again(seq, now_s) or self.ways.ways[0]
        if self.home is not None and self.home.expects(seq) and not way.outbound.by_device:
            return self._outbound_of(way.plan, by_device=True, lane=way.lane)
        return way.outbound

    # ------------------------------------------------------------------ home

    def came_home(self, seq: int, event: str, message: Message, ack: Callable[[], None], *, dropped: bool) -> bool:
        """An outcome has come that this device is to publish; see `Stream.came_home`.

        It is acknowledged at once: a connection's acknowledgements go out in order, so one that is held back holds back
        those of all streams of the device.

        Returns:
            Whether it is the first of a frame in flight.
        """
        home, is_own = self.home, self.window.expects(seq, event)
        if home is None or not is_own or (seq not in self.window and captured_in(event) < self._opened_unix_s):
            self._publish(message, ack)  # of a frame from before this device started again
            return False
        ack()
        is_first = self.window.outcome(seq, self._clock.monotonic_s(), dropped=dropped)
        if is_first and not home.was_skipped(seq):
            self._drops.count("done")
        home.came(seq, message, is_first=is_first)
        return is_first

    def give_up(self, seq: int) -> bool:
        """A frame is not waited for any more; ``False`` when it was not in flight."""
        was_in_flight = self.window.give_up(seq)
        if self.home is not None:
            self.home.is_settled(seq)
        return was_in_flight

    def tidy(self) -> None:
        """Forget windows that are empty and of no plan any more."""
        if self.ways is not None and self.are_mixed:
            self.window = self.ways.window

    def publish_all(self) -> None:
        """Publish the outcomes that wait for others."""
        if self.home is not None:
            self.home.flush()
