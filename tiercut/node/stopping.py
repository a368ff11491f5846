"""Give up waiting when a program is told to stop."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

Value = TypeVar("Value")


class Stopped(Exception):
    """The program was told to stop before it came."""


async def unless(stop: asyncio.Event, awaited: Coroutine[Any, Any, Value]) -> Value:
    """Await something that may never come (a broker, for one) until it does or ``stop`` is set.

    Raises:
        Stopped: ``stop`` was set first; what was awaited is cancelled.
    """
    wanted = asyncio.ensure_future(awaited)
    stopped = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({wanted, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if not wanted.done():
            raise Stopped
        return wanted.result()
    finally:
        for task in (wanted, stopped):
            task.cancel()
        await asyncio.gather(wanted, stopped, return_exceptions=True)
