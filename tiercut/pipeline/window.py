"""Frames of one stream between the sensor and their results: how many may be under way, and which.

MQTT's flow control ends at the broker: it takes a message whether or not anybody works on it. So the device counts the
frames of a stream that have no outcome yet (a result, or a reason why there is none) and sends no more than
``limit`` of them. What it does with the next one is the stream's delivery mode: ``every`` lets the sensor wait,
``latest`` keeps the newest frame and drops the one that it replaces.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

#: A frame that was sent again waits twice as long as before for its outcome, up to so many times the timeout: what is
#: late because a node has too much to do does not get there sooner by being sent more often.
MAX_TIMEOUTS = 8


@dataclass(slots=True)
class _UnderWay:
    """A frame without an outcome.

    Attributes:
        sent_s: When it set out, left the device, or was sent again: whichever was last.
        patience_s: How long its outcome is waited for from then on.
    """

    sent_s: float
    patience_s: float


class Window:
    """The frames of one stream that are under way.

    Args:
        limit: How many may be, >= 1.
        timeout_s: Seconds after which a frame without an outcome is overdue for the first time.
    """

    def __init__(self, *, limit: int, timeout_s: float) -> None:
        self.limit = limit
        self.timeout_s = timeout_s
        #: seq → times, in the order of sending
        self._under_way: OrderedDict[int, _UnderWay] = OrderedDict()

    def __len__(self) -> int:
        return len(self._under_way)

    @property
    def has_room(self) -> bool:
        """Whether one more frame may start."""
        return len(self._under_way) < self.limit

    def start(self, seq: int, now_s: float) -> None:
        """A frame sets out."""
        self._under_way[seq] = _UnderWay(sent_s=now_s, patience_s=self.timeout_s)

    def left(self, seq: int, now_s: float) -> None:
        """A frame has left the device, maybe long after it set out; its outcome may be known already."""
        if (frame := self._under_way.get(seq)) is not None:
            frame.sent_s = now_s

    def end(self, seq: int) -> bool:
        """A frame's outcome is known; ``False`` when it was not under way (a duplicate, or given up before)."""
        return self._under_way.pop(seq, None) is not None

    def overdue(self, now_s: float) -> list[int]:
        """Frames whose outcome has been waited for too long since they were last sent, oldest first."""
        return [seq for seq, frame in self._under_way.items() if now_s - frame.sent_s > frame.patience_s]

    def sent_again(self, seq: int, now_s: float) -> None:
        """An overdue frame was sent once more; the next time comes later."""
        frame = self._under_way[seq]
        frame.sent_s = now_s
        frame.patience_s = min(2 * frame.patience_s, MAX_TIMEOUTS * self.timeout_s)
