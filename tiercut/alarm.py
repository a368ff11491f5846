"""A task that has nothing to do rests for long, and is woken when something is new."""

from __future__ import annotations

import asyncio


class Alarm:
    """Rests until a time is over, or until it is woken."""

    def __init__(self) -> None:
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """End the rest; without one, there will be none the next time."""
        self._woken.set()

    async def rest(self, seconds: float) -> None:
        """Wait that long, unless woken."""
        timer = asyncio.get_running_loop().call_later(seconds, self._woken.set)
        try:
            await self._woken.wait()
        finally:
            timer.cancel()
            self._woken.clear()
