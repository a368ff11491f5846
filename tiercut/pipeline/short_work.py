"""Which frames are worked on in the event loop itself: those whose work is short."""

from __future__ import annotations

from collections import deque

from tiercut.plan import Plan

#: Work that takes longer leaves the loop to others and goes to a thread. The way there and back costs about 0.4 ms of
#: processor time where caches are cold: 2 % of this.
BORDER_S = 0.020
#: Runs that are remembered: the shortest counts, as what other programs take from this one says nothing of the work.
RUNS = 8
#: Streams that are remembered; hostile names must not fill the memory.
MAX_STREAMS = 1024


class _Known:
    """What the frames of a stream have taken with a plan, from a cut on."""

    __slots__ = ("cut", "plan", "seconds")

    def __init__(self, plan: Plan, cut: int) -> None:
        self.plan = plan
        self.cut = cut
        self.seconds: deque[float] = deque(maxlen=RUNS)


class ShortWork:
    """Remembers how long the last frames of each stream took.

    The first frame of a plan goes to a thread, as its segment may have to be loaded.
    """

    def __init__(self) -> None:
        self._known: dict[str, _Known] = {}

    def is_short(self, stream: str, plan: Plan, cut: int) -> bool:
        """Whether a frame that came at a cut, with its plan, is known to be done within `BORDER_S`."""
        known = self._known.get(stream)
        if known is None or known.cut != cut or (known.plan is not plan and known.plan != plan):
            return False
        return min(known.seconds) <= BORDER_S

    def took(self, stream: str, plan: Plan, cut: int, seconds: float) -> None:
        """A frame is done: all that it took here."""
        known = self._known.get(stream)
        if known is None or known.cut != cut or (known.plan is not plan and known.plan != plan):
            if len(self._known) >= MAX_STREAMS:
                self._known.clear()
            known = self._known[stream] = _Known(plan, cut)
        known.seconds.append(seconds)
