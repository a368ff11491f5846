"""When things happened to a frame, on the coordinator's clock.

A frame's stages are timed from its capture on, on the wall clock of its device, which differs from the coordinator's by
nobody knows how much. The result of a frame is heard of some time after its last stage: what its node, the broker and
the network take, more on a busy machine. The least of these times, over the last frames, is the difference of the
clocks (and what the way takes at best, which is the same for all).
"""

from __future__ import annotations

from collections import deque

#: Frames whose times say what the difference is; few enough to follow a wall clock that was set.
FRAMES = 64


class CaptureClock:
    """The wall clock of one device as the coordinator sees it."""

    def __init__(self) -> None:
        self._differences_s: deque[float] = deque(maxlen=FRAMES)

    def heard(self, ended_unix_s: float, now_s: float) -> float:
        """A result is heard of; when its last stage ended, at ``ended_unix_s``, on the coordinator's clock."""
        self._differences_s.append(now_s - ended_unix_s)
        return min(now_s, ended_unix_s + min(self._differences_s))
