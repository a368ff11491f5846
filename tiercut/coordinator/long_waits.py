"""Nodes at which a stream's frames waited for somebody else's, remembered after the stream has left them.

Nothing tells of a queue that a stream is not in any more. So a node that was left for its queue is tried again after a
while, and if it is the same then, after twice as long.
"""

from __future__ import annotations

from dataclasses import dataclass

#: How long a wait is remembered at first, and at most.
REMEMBERED_S, MOST_S = 10.0, 300.0
#: Notes further apart than this are of two waits.
APART_S = 2.0


@dataclass(slots=True)
class _Wait:
    seconds: float
    noted_s: float
    remembered_s: float

    def ends_s(self) -> float:
        return self.noted_s + self.remembered_s


class LongWaits:
    """Those of one stream."""

    def __init__(self) -> None:
        self._known: dict[str, _Wait] = {}

    def noted(self, where: str, seconds: float, now_s: float) -> None:
        """Frames wait so long at a node."""
        known = self._known.get(where)
        remembered_s = REMEMBERED_S if known is None else known.remembered_s
        if known is not None and now_s - known.noted_s > APART_S:
            soon = now_s - known.ends_s() < known.remembered_s
            remembered_s = min(2 * remembered_s, MOST_S) if soon else REMEMBERED_S
        self._known[where] = _Wait(seconds, now_s, remembered_s)

    def seconds(self, where: str, now_s: float) -> float:
        """How long a frame would wait at a node, as far as is remembered."""
        known = self._known.get(where)
        return known.seconds if known is not None and now_s < known.ends_s() else 0.0
