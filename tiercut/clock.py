"""Time, injected: programs use ``SystemClock``, tests a ``ManualClock``."""

from __future__ import annotations

import time
import uuid
from functools import lru_cache
from pathlib import Path
from typing import Protocol


class Clock(Protocol):
    """What a node knows of time."""

    @property
    def id(self) -> str:
        """Names the monotonic clock: two nodes with one id may subtract each other's ``monotonic_s``."""
        ...

    def monotonic_s(self) -> float:
        """Seconds on a clock that never jumps; its zero is arbitrary."""
        ...

    def unix_s(self) -> float:
        """Seconds since 1970, for people only: it may jump, and no duration is computed from it."""
        ...


@lru_cache(maxsize=1)
def _system_clock_id() -> str:
    """Boot and time namespace: Linux' CLOCK_MONOTONIC is one clock for every process that shares both."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        namespace = Path("/proc/self/ns/time").readlink().name
    except OSError:  # not Linux, or hidden: a clock that nobody else has is the safe answer
        return uuid.uuid4().hex
    return uuid.uuid5(uuid.NAMESPACE_OID, boot + namespace).hex


class SystemClock:
    """The machine's own clocks.

    Attributes:
        id: Equal for all processes of one running kernel (and time namespace).
    """

    #: ``CLOCK_MONOTONIC`` and ``CLOCK_REALTIME``: the functions themselves, as a frame asks tens of times for the time.
    monotonic_s = staticmethod(time.monotonic)
    unix_s = staticmethod(time.time)

    def __init__(self) -> None:
        self.id = _system_clock_id()


class ManualClock:
    """A clock that moves when told to."""

    def __init__(self, *, id: str = "manual", start_s: float = 0.0) -> None:  # noqa: A002 - the protocol's word
        self.id = id
        self.now_s = start_s

    def monotonic_s(self) -> float:
        """The time that was set."""
        return self.now_s

    def unix_s(self) -> float:
        """The same time again: one clock is enough where it is set by hand."""
        return self.now_s

    def advance(self, seconds: float) -> None:
        """Move on by ``seconds``."""
        self.now_s += seconds
