"""The thread that reads a sensor: at its rate, and one frame for each permit."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from iot_node.background_open import as_exception
from tiercut.clock import Clock

Item = TypeVar("Item")


class SensorThread(Generic[Item]):
    """Keeps a sensor's time by itself, so that a frame costs the event loop one call.

    Its locks are used as signals: waiting for one takes no Python code, unlike an event's or a condition's.

    Args:
        read: Gives the next item, and may wait for it; ``None`` at the end.
        given: Takes an item, on the event loop; none is read before the next `permit`.
        period_s: Time from one reading to the next, at least.
        most: Items to read; ``None``: all there are.
        clock: The device's.
        name: Of the thread.
    """

    def __init__(
        self,
        read: Callable[[], Item | None],
        given: Callable[[Item], None],
        *,
        period_s: float,
        most: int | None,
        clock: Clock,
        name: str,
    ) -> None:
        self._read = read
        self._given = given
        self._period_s = period_s
        self._most = most
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self._stopped = False
        #: free once there is a permit, and once the thread is to end
        self._permit, self._stop = threading.Lock(), threading.Lock()
        self._permit.acquire()
        self._stop.acquire()
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def permit(self) -> None:
        """Let it read one more (event loop only); not twice before an item was given."""
        self._permit.release()

    async def ended(self) -> None:
        """Wait for its end.

        Raises:
            Exception: as of ``read``.
        """
        await self._ended

    def stop(self) -> None:
        """Give no more items (event loop only); the thread ends once the sensor lets it."""
        if not self._stopped:
            self._stopped = True
            self._stop.release()
            with contextlib.suppress(RuntimeError):  # there is a permit already
                self._permit.release()

    # ------------------------------------------------------------------ on the thread

    def _run(self) -> None:
        error: Exception | None = None
        try:
            self._read_all()
        except BaseException as caught:  # noqa: BLE001 - a driver may raise anything, and nobody else would hear of it
            error = as_exception(caught, "cannot read the sensor")
        self._call(self._end, error)

    def _read_all(self) -> None:
        count, due_s = 0, self._clock.monotonic_s()
        while count != self._most:
            self._permit.acquire()
            if self._stopped or (item := self._read()) is None:
                return
            self._call(self._give, item)
            count += 1
            now_s = self._clock.monotonic_s()
            due_s = max(due_s + self._period_s, now_s)
            if due_s > now_s and count != self._most and self._stop.acquire(timeout=due_s - now_s):
                return

    def _call(self, handler: Callable[..., None], argument: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
            self._loop.call_soon_threadsafe(handler, argument)

    # ------------------------------------------------------------------ on the event loop

    def _give(self, item: Item) -> None:
        if not self._stopped:
            self._given(item)

    def _end(self, error: Exception | None) -> None:
        if self._stopped or self._ended.done():
            return
        if error is None:
            self._ended.set_result(None)
        else:
            self._ended.set_exception(error)
