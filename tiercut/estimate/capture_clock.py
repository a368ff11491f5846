"""When things happened to a frame, on the coordinator's clock.

A frame's stages are timed from its capture on, on the wall clock of its device, which differs from the coordinator's by
nobody knows how much. The result of a frame is heard of some time after its last stage: what its node, the broker and
the network take, more on a busy machine. The least of these times, over the last frames, is the difference of the
clocks (and what the way takes at best, which is the same for all).
"""

from __future__ import annotations

import itertools
from collections import deque

#: Frames whose times say what the difference is.
FRAMES = 64
#: A wall clock was set back where so many frames in a row all seem to be heard of so much later than those before.
LATE_FRAMES, LATE_S = 8, 1.0


class CaptureClock:
    """The wall clock of one device as the coordinator sees it."""

    def __init__(self) -> None:
        self._differences_s: deque[float] = deque(maxlen=FRAMES)

    def heard(self, ended_unix_s: float, now_s: float) -> float:
        """A result is heard of; when its last stage ended, at ``ended_unix_s``, on the coordinator's clock."""
        self._differences_s.append(now_s - ended_unix_s)
        lately = list(itertools.islice(reversed(self._differences_s), LATE_FRAMES))
        if len(lately) == LATE_FRAMES and min(lately) > min(self._differences_s) + LATE_S:
            self._differences_s = deque(reversed(lately), maxlen=FRAMES)
        return min(now_s, ended_unix_s + min(self._differences_s))
