"""Which frames are worked on in the event loop itself: those whose work is short."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from tiercut.pipeline.decide import Forward
from tiercut.pipeline.queues import Queue
from tiercut.plan import Plan, Tier

#: Work that takes longer leaves the loop to others and goes to a thread. The way there and back costs 0.15 to 0.3 ms of
#: processor time where caches are cold: about 1 % of this.
BORDER_S = 0.020
#: Runs that are remembered: the shortest counts, as what other programs take from this one says nothing of the work.
RUNS = 8
#: After a run that was this much too long for the loop, the next frame goes to a thread, whatever those before it took.
FAR_BEYOND = 5
#: Queues that are remembered; hostile names must not fill the memory.
MAX_STREAMS = 1024


class _Known:
    """What the frames of a queue have taken with a plan, from a cut on."""

    __slots__ = ("cut", "plan", "seconds", "to")

    def __init__(self, plan: Plan, cut: int) -> None:
        self.plan = plan
        self.cut = cut
        self.seconds: deque[float] = deque(maxlen=RUNS)
        #: where the last one went; ``None``: it was finished here
        self.to: Forward | None = None


class ShortWork:
    """Remembers how long the last frames of each queue took.

    The first frame of a plan goes to a thread, as its segment may have to be loaded; so does one whose next node is
    gone, as the rest of the model may have to be.

    Args:
        reachable: Whether a node of a tier can be sent to now.
    """

    def __init__(self, reachable: Callable[[Tier, str], bool]) -> None:
        self._reachable = reachable
        self._known: dict[Queue, _Known] = {}

    def is_short(self, queue: Queue, plan: Plan, cut: int) -> bool:
        """Whether a frame that came at a cut, with its plan, is known to be done within `BORDER_S`."""
        known = self._known.get(queue)
        if known is None or known.cut != cut or (known.plan is not plan and known.plan != plan):
            return False
        if known.to is not None and not self._reachable(known.to.tier, known.to.node):
            return False
        return bool(known.seconds) and min(known.seconds) <= BORDER_S

    def took(self, queue: Queue, plan: Plan, cut: int, seconds: float, to: Forward | None) -> None:
        """A frame is done, with all of its work here (a drop, an exit, a cached answer say nothing): what it took."""
        known = self._known.get(queue)
        if known is None or known.cut != cut or (known.plan is not plan and known.plan != plan):
            if len(self._known) >= MAX_STREAMS:
                self._known.clear()
            known = self._known[queue] = _Known(plan, cut)
        known.to = to
        if seconds > FAR_BEYOND * BORDER_S:
            known.seconds.clear()
        else:
            known.seconds.append(seconds)
