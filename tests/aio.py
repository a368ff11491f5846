"""Async tests without a plugin: `async_test` on a real loop, `virtual_time` on one whose clock jumps."""

from __future__ import annotations

import asyncio
import functools
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec

from tiercut.clock import ManualClock

Args = ParamSpec("Args")
#: Far above what any test takes: a shared machine may stand still for seconds.
_LIMIT_S = 60.0


def async_test(test: Callable[Args, Coroutine[Any, Any, None]]) -> Callable[Args, None]:
    """Run a test on a loop of its own; it must end in time and leave no task behind."""

    @functools.wraps(test)
    def run(*args: Args.args, **kwargs: Args.kwargs) -> None:
        asyncio.run(_bounded(test(*args, **kwargs)))

    return run


async def _bounded(test: Coroutine[Any, Any, None]) -> None:
    async with asyncio.timeout(_LIMIT_S):
        await test
    left = [task.get_name() for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    assert not left, f"tasks left behind: {left}"


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what has no event."""
    while not condition():  # noqa: ASYNC110 - no event, as said
        await asyncio.sleep(0.001)


class _JumpingSelector(selectors.DefaultSelector):
    """Does not wait: it moves the clock instead."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__()
        self._clock = clock

    def select(self, timeout: float | None = None) -> Any:
        if timeout is None:
            raise AssertionError("nothing will ever happen: the test waits for ever")
        self._clock.advance(max(0.0, timeout))
        return super().select(0)


class _VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self, clock: ManualClock) -> None:
        super().__init__(_JumpingSelector(clock))
        self.clock = clock

    def time(self) -> float:
        return self.clock.monotonic_s()


def virtual_time(test: Callable[[ManualClock], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """Run a test that is given the clock of a loop on which waiting takes no time; for tests without sockets."""

    def run() -> None:
        clock = ManualClock()
        loop = _VirtualLoop(clock)
        try:
            loop.run_until_complete(_without_leftovers(test(clock)))
        finally:
            loop.close()

    run.__name__ = test.__name__
    return run


async def _without_leftovers(test: Coroutine[Any, Any, None]) -> None:
    await test
    left = [task.get_name() for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    assert not left, f"tasks left behind: {left}"
