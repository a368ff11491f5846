"""A frame on its way to the worker: made the model's input, on a thread where that takes time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial

from iot_node.drop_report import DropReport
from iot_node.sensor_frame import Outbound, SensorFrame
from tiercut.clock import Clock
from tiercut.errors import InputError
from tiercut.model.bundle import Bundle
from tiercut.pipeline.jobs import Job


class Sender:
    """Gives the frames of one stream to the worker.

    Args:
        bundle: The stream's model.
        clock: The device's clock.
        drops: Counts frames that cannot be made an input.
        submit: Takes a frame to the worker.
        left: Told the number of a frame that the next node's broker has, or whose outcome is published.
        failed: Told the number of a frame that cannot be made an input.
        changed: Told when a frame was made one, so that the next may set out.
        logger: The stream's log.

    Attributes:
        preparing: Frames whose input is being made; those behind them wait, which keeps the order.
        closed: Nothing is sent any more.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        clock: Clock,
        drops: DropReport,
        submit: Callable[[Job], None],
        left: Callable[[int], None],
        failed: Callable[[int], object],
        changed: Callable[[], None],
        logger: logging.Logger,
    ) -> None:
        self.preparing = 0
        self.closed = False
        self._bundle = bundle
        self._clock = clock
        self._drops = drops
        self._submit = submit
        self._left = left
        self._failed = failed
        self._changed = changed
        self._log = logger

    def send(self, frame: SensorFrame, outbound: Outbound) -> None:
        """Send a frame by a plan."""
        if outbound.is_ready(frame):
            self._to_worker(frame, outbound)
        elif outbound.takes.takes_as_is(frame.frame):  # nothing to compute
            self._prepared(outbound, frame.seq, partial(frame.prepared, self._bundle, outbound.variant, self._clock))
        else:
            self.preparing += 1
            making = asyncio.get_running_loop().run_in_executor(
                None, frame.prepared, self._bundle, outbound.variant, self._clock
            )
            making.add_done_callback(partial(self._has_prepared, outbound, frame.seq))

    def _has_prepared(self, outbound: Outbound, seq: int, making: asyncio.Future[SensorFrame]) -> None:
        self.preparing -= 1
        if not making.cancelled() and not self.closed:
            self._prepared(outbound, seq, making.result)
        self._changed()

    def _prepared(self, outbound: Outbound, seq: int, made: Callable[[], SensorFrame]) -> None:
        try:
            frame = made()
        except Exception as error:  # noqa: BLE001 - whatever it is, it costs this frame, and is counted
            self._failed(seq)
            if isinstance(error, InputError):
                self._drops.note("wrong_shape", str(error))
            else:
                self._log.exception("frame not prepared", extra={"seq": seq})
                self._drops.note("fault", f"{type(error).__name__}: {error}")
        else:
            self._to_worker(frame, outbound)

    def _to_worker(self, frame: SensorFrame, outbound: Outbound) -> None:
        left = partial(self._left, frame.seq)
        work, arrived_s = outbound.work(frame), self._clock.monotonic_s()
        self._submit(Job(work=work, arrived_s=arrived_s, ack=left, arrays=frame.arrays))
