"""Opening a sensor without holding up anyone: neither the loop, nor the end of the process."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import TypeVar

from tiercut.errors import SensorError

T = TypeVar("T")


async def open_in_background(make: Callable[[], T], *, late: Callable[[T], None], name: str) -> T:
    """Open something on a thread; unlike an executor's, it never keeps the process from ending.

    Args:
        make: Opens it; may take a long time.
        late: Closes it again if nobody waits for it any more.
        name: Of the thread.

    Raises:
        Exception: as of ``make``.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def give(made: T) -> None:
        if done.done():
            late(made)
        else:
            done.set_result(made)

    def fail(error: Exception) -> None:
        if not done.done():
            done.set_exception(error)

    def run() -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
            try:
                made = make()
            except BaseException as caught:  # noqa: BLE001 - a driver may raise anything, and nobody else would hear of it
                loop.call_soon_threadsafe(fail, as_exception(caught))
            else:
                loop.call_soon_threadsafe(give, made)

    threading.Thread(target=run, name=name, daemon=True).start()
    try:
        return await done
    except asyncio.CancelledError:
        if not done.cancelled() and done.exception() is None:  # it came at the same moment
            late(done.result())
        raise


def as_exception(caught: BaseException, what: str = "cannot open the sensor") -> Exception:
    """What a task may raise without ending the loop."""
    if isinstance(caught, Exception) and not isinstance(caught, StopIteration):
        return caught
    came = f"{type(caught).__name__}: {caught}"
    return SensorError(what, expected="a sensor", came=came, fix="check the sensor")
