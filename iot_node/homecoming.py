"""Outcomes that a device publishes itself, in the order of its frames.

Frames that go different ways do not come home in order. Where order is wanted their outcomes go to the device instead
of the stream's topics; the device publishes them there, unchanged, each when those of all frames before it are known.
A stream with ``every`` waits for each; with ``latest`` a frame that is much later than usual is skipped, and what comes
of it later is swallowed and counted.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

from iot_node.drop_report import DropReport
from iot_node.outcome_order import OutcomeOrder
from tiercut.bus import Message
from tiercut.bus.base import nothing
from tiercut.clock import Clock

#: A frame of ``latest`` is waited for so long where nobody knows what is usual.
AT_FIRST_S = 1.0

#: Puts an outcome on the site's bus; the second is called when that has it.
Publish = Callable[[Message, Callable[[], None]], None]


class Homecoming:
    """Puts the outcomes of one stream in order.

    Args:
        publish: Puts an outcome on the site's bus.
        drops: Counts ``overtaken``, and ``swallowed.duplicate``: an outcome of a frame that has had one.
        clock: The device's clock.
        waits: Whether to wait for every frame, however late.
    """

    def __init__(self, *, publish: Publish, drops: DropReport, clock: Clock, waits: bool) -> None:
        self._publish = publish
        self._drops = drops
        self._clock = clock
        self._waits = waits
        self._order: OutcomeOrder[Message] = OutcomeOrder()
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._order)

    @property
    def is_full(self) -> bool:
        """Whether so much waits that no more frames may set out, where every frame is waited for."""
        return self._order.is_full

    def expect(self, seq: int, late_after_s: float = math.inf) -> None:
        """A frame sets out.

        Args:
            seq: Its number.
            late_after_s: What is much later than usual on its way, seconds; infinity where nobody knows.
        """
        if self._waits:
            self._order.expect(seq)
            return
        self._make_room()
        patience_s = AT_FIRST_S if late_after_s == math.inf else late_after_s
        self._order.expect(seq, self._clock.monotonic_s() + patience_s)

    def expects(self, seq: int) -> bool:
        """Whether a frame's outcome is waited for."""
        return self._order.expects(seq)

    def came(self, seq: int, message: Message, *, is_first: bool) -> None:
        """An outcome of a frame of this run has come, and is acknowledged.

        Args:
            seq: The frame's number.
            message: For the stream's topic.
            is_first: No other outcome of the frame has come.
        """
        if self._order.settle(seq, message, len(message.payload)):
            self._release()
            self._make_room()
        elif is_first and not self._order.was_skipped(seq):  # it set out when nobody put outcomes in order
            self._put([message])
        else:
            self._swallow(is_first=is_first)

    def _swallow(self, *, is_first: bool) -> None:
        if is_first:
            self._drops.note_known("overtaken")
        else:
            self._drops.counters["swallowed.duplicate"] += 1
            self._drops.frames["swallowed.duplicate"] += 1

    def was_skipped(self, seq: int) -> bool:
        """Whether a frame has taken too long, and others were published before it."""
        return self._order.was_skipped(seq)

    def is_settled(self, seq: int) -> None:
        """A frame has no outcome that this device is to publish: there is none, or another has published it."""
        if self._order.settle(seq):
            self._release()

    def flush(self) -> None:
        """Publish all that waits, in order: nobody reads the stream's sensor any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._put(self._order.take_all())

    def _release(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        now_s = self._clock.monotonic_s()
        self._put(self._order.take(now_s))
        if (due_s := self._order.due_s) < math.inf:
            self._timer = asyncio.get_running_loop().call_later(max(0.0, due_s - now_s), self._timed)

    def _make_room(self) -> None:
        """Skip the oldest frames where as much waits as may, and not every frame is waited for."""
        while self._order.is_full and not self._waits:
            self._order.skip_first()
            self._release()

    def _timed(self) -> None:
        self._timer = None
        self._release()

    def _put(self, outcomes: list[Message]) -> None:
        for outcome in outcomes:
            self._publish(outcome, nothing)
