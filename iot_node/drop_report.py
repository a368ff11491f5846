"""What was dropped of a stream before it set out, by reason, and what was last wrong."""

from __future__ import annotations

from collections import Counter

from tiercut.declared import iso_time
from tiercut.protocol.streams import Trouble

#: Reasons without a message of their own: nothing is wrong.
USUAL = frozenset({"unchanged"})


class Troubles:
    """Counts drops of one stream, and remembers the last message of each reason.

    Args:
        counters: The node's, of all its streams: ``dropped.<reason>``.

    Attributes:
        frames: The stream's own: ``captured``, ``done``, ``dropped.<reason>``.
    """

    def __init__(self, counters: Counter[str]) -> None:
        self.frames: Counter[str] = Counter()
        self._counters = counters
        self._last: dict[str, tuple[str, float]] = {}

    def note(self, reason: str, message: str, now_unix_s: float, count: int = 1) -> None:
        """So many frames were dropped."""
        self.frames[f"dropped.{reason}"] += count
        self._counters[f"dropped.{reason}"] += count
        if reason not in USUAL:
            self._last[reason] = (message, now_unix_s)

    def told(self) -> tuple[Trouble, ...]:
        """The reasons, the newest first."""
        newest = sorted(self._last.items(), key=lambda each: -each[1][1])
        return tuple(
            Trouble(reason, message, self.frames[f"dropped.{reason}"], iso_time(at_s))
            for reason, (message, at_s) in newest
        )
