"""What became of a stream's frames: counted, and for those that were dropped the reasons."""

from __future__ import annotations

from collections import Counter

from tiercut.clock import Clock
from tiercut.declared import iso_time
from tiercut.protocol.streams import Trouble

#: Reasons without a message of their own: these drops are normal.
USUAL = frozenset({"unchanged"})
#: Why frames are dropped although nothing is wrong with them, and what to do.
ADVICE = {
    "newer_frame": "the sensor gives frames faster than the site takes them; lower its rate, or set fps",
    "sensor_ahead": "messages come faster than they can be read; lower the sensor's rate",
    "retained": "the retained message is older than this stream; publish without retain",
    "beyond_rate": "the site has room for fewer frames than the sensor gives (see 'tiercut watch'); lower its rate",
    "overtaken": "its result came too late to be put in order; raise timeout_s or deadline_ms, or set ordered = false",
    "lost": "neither a result nor a drop reason came back in time",
}


class DropReport:
    """Counts frames of one stream, and remembers the last message of each reason to drop one.

    Args:
        counters: The node's, of all its streams.
        clock: The node's.

    Attributes:
        counters: The same: ``frames_captured``, ``frames_done``, ``dropped.<reason>``.
        frames: The stream's own: ``captured``, ``done``, ``dropped.<reason>``.
    """

    def __init__(self, counters: Counter[str], clock: Clock) -> None:
        self.frames: Counter[str] = Counter()
        self.counters = counters
        self._clock = clock
        #: reason → its last message, and when that was
        self._last: dict[str, tuple[str, float]] = {}

    def count(self, event: str) -> None:
        """A frame was ``captured``, or is ``done``: its outcome is known."""
        self.frames[event] += 1
        self.counters[f"frames_{event}"] += 1

    def note(self, reason: str, message: str, count: int = 1) -> None:
        """A number of frames were dropped."""
        self.frames[f"dropped.{reason}"] += count
        self.counters[f"dropped.{reason}"] += count
        if reason not in USUAL:
            self._last[reason] = (message, self._clock.unix_s())

    def note_known(self, reason: str, count: int = 1) -> None:
        """A number of frames were dropped for one of the reasons of `ADVICE`."""
        self.note(reason, ADVICE[reason], count)

    def troubles(self) -> tuple[Trouble, ...]:
        """The reasons, the newest first."""
        newest = sorted(self._last.items(), key=lambda each: -each[1][1])
        return tuple(
            Trouble(reason, message, self.frames[f"dropped.{reason}"], iso_time(at_s))
            for reason, (message, at_s) in newest
        )
