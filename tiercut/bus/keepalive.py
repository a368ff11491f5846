"""Keep-alive (MQTT 5 §3.1.2.10): asks a quiet broker for a sign of life, and gives up one that is dead."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from tiercut.bus.acks import CallLater, Timer, on_the_loop


class Line(Protocol):
    """What is kept alive.

    Attributes:
        read_s: When something last came.
        wrote_s: When something was last sent.
    """

    read_s: float
    wrote_s: float


class KeepAlive:
    """One timer, set again only when it has run off: what is read and written costs it nothing.

    Args:
        ping: Send PINGREQ.
        dead: Nothing came for as long as the keep-alive after it.
    """

    def __init__(
        self,
        ping: Callable[[], None],
        dead: Callable[[], None],
        *,
        monotonic_s: Callable[[], float] = time.monotonic,
        call_later: CallLater = on_the_loop,
    ) -> None:
        self._ping = ping
        self._dead = dead
        self._monotonic_s = monotonic_s
        self._call_later = call_later
        self._line: Line | None = None
        self._seconds = 0.0
        self._timer: Timer | None = None
        #: when PINGREQ was sent, until something comes
        self._asked_s: float | None = None

    def start(self, line: Line, seconds: float) -> None:
        """Watch a line; with 0 seconds there is no keep-alive."""
        self.stop()
        self._line, self._seconds = line, seconds
        if seconds:
            self._timer = self._call_later(seconds, self._look)

    def stop(self) -> None:
        """The line is gone."""
        self._line = self._asked_s = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        if self._line is None:
            return
        now_s = self._monotonic_s()
        if self._asked_s is not None and self._line.read_s > self._asked_s:
            self._asked_s = None
        since_s = min(self._line.read_s, self._line.wrote_s) if self._asked_s is None else self._asked_s
        if since_s + self._seconds > now_s:
            self._timer = self._call_later(since_s + self._seconds - now_s, self._look)
        elif self._asked_s is not None:
            self._dead()
        else:
            self._asked_s = now_s
            self._timer = self._call_later(self._seconds, self._look)
            self._ping()
