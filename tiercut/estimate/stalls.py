"""What a line's stalls cost a frame on average: those of late, by how long each was, over the time it was watched."""

from __future__ import annotations

import math

#: A transfer that takes so many times as long as expected, and so much longer, has been held up.
TIMES, LEAST_S = 2.0, 0.1
#: Parts of one stall are no further apart than this.
APART_S = 0.5
#: Frames go on setting out for so long before a plan has left the line.
REACTION_S = 0.75
#: A frame is given up after this.
LONGEST_S = 10.0
#: A line is taken to have been watched for so long without a stall before the first transfer.
PRIOR_S = 60.0
#: Between two transfers a line is watched for at most so long.
WATCHED_S = 1.5
#: What was seen counts half after so long of watching, and after so long in any case.
HALF_WATCHED_S, HALF_S = 120.0, 600.0
#: Of the frames that set out into a longer stall this part is dropped, as newer ones overtake them: they count as given
#: up.
DROPPED = 0.33


class Stalls:
    """Those of one line."""

    def __init__(self) -> None:
        self._lost_s2 = 0.0
        self._watched_s = 0.0
        self._last_s = -math.inf
        #: the last stall: from when to when
        self._from_s, self._to_s = -math.inf, -math.inf

    def seen(self, at_s: float, seconds: float, expected_s: float) -> None:
        """A transfer has ended, or goes on, after so long; so long was expected."""
        self._pass(at_s)
        if seconds - expected_s <= max(LEAST_S, (TIMES - 1) * expected_s):
            return
        start_s = at_s - seconds
        if start_s > self._to_s + APART_S:
            self._from_s, self._to_s = start_s, start_s
        before = _lost(self._to_s - self._from_s)
        self._to_s = max(self._to_s, at_s)
        self._lost_s2 += _lost(self._to_s - self._from_s) - before

    def cost_s(self, now_s: float) -> float:
        """What a frame that crosses the line waits on average because of stalls."""
        if not self._lost_s2:
            return 0.0
        faded: float = 0.5 ** (max(0.0, now_s - self._last_s) / HALF_S)
        return faded * self._lost_s2 / (self._watched_s + PRIOR_S)

    def _pass(self, at_s: float) -> None:
        gap_s = max(0.0, at_s - self._last_s)
        self._last_s = max(self._last_s, at_s)
        if not math.isfinite(gap_s):
            return
        watched_s = min(gap_s, WATCHED_S)
        kept = 0.5 ** (watched_s / HALF_WATCHED_S + gap_s / HALF_S)
        self._lost_s2 *= kept
        self._watched_s = self._watched_s * kept + watched_s


def _lost(seconds: float) -> float:
    """Frame-seconds that are lost to a stall, with a frame each second: those that set out before the line is left."""
    if seconds <= REACTION_S:
        return seconds**2 / 2
    waits_s = min(seconds, LONGEST_S) - REACTION_S / 2
    return REACTION_S * ((1 - DROPPED) * waits_s + DROPPED * LONGEST_S)
