"""Frames that wait at a node: a queue for each stream, so that order is kept and streams take turns.

A stream whose frames follow several plans has a queue for each of these, and takes one turn for all of them.

Frames that must be done by some time go before others, the earliest first (Liu and Layland, Journal of the ACM 1973):
a frame that has come far with little time left goes before one that was captured just now. Nobody starves: the stream
that has waited longest for its turn is passed over at most once for each stream that waits, and so is a queue among
those of its stream.
"""

from __future__ import annotations

import math
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from operator import itemgetter
from typing import Any, Generic, NamedTuple, TypeVar

from tiercut.plan import DeliveryMode

Item = TypeVar("Item")


class Queue(NamedTuple):
    """Names a queue.

    Attributes:
        stream: Those of one stream share its turn.
        lane: Tells them apart.
    """

    stream: str
    lane: int = 0


class StreamQueues(Generic[Item]):
    """Waiting frames of all streams at a node; each queue hands out one frame at a time.

    A queue is *busy* from `take` until `done`: its next frame is not handed out before, which keeps a stream in order
    whatever number of threads works on the node's queues. Streams with a ready queue take turns, and so do the ready
    queues of each, but for frames that are due. A frame waits in its queue once, however often it comes: the copy that
    came last is kept, as only that can still be acknowledged after a reconnect.

    Args:
        key: What names a frame in its stream, and orders frames that are put back.
        due_s: By when work on a frame must begin, on any one clock, as seen now; infinity for one that has time, and
            for one that is late in any case: it must not make others late.
    """

    def __init__(self, key: Callable[[Item], Any], due_s: Callable[[Item], float] = lambda _: math.inf) -> None:
        self._key = key
        self._due_s = due_s
        #: stream → its queues → waiting frames; what is empty is removed, so the frames bound the number of queues
        self._waiting: OrderedDict[str, OrderedDict[Queue, deque[Item]]] = OrderedDict()
        self._busy: set[Queue] = set()
        #: how often the stream whose turn it is was passed over
        self._passed_over = 0
        #: the same of the queue whose turn it is among those of a stream
        self._lanes_passed_over: Counter[str] = Counter()

    def __len__(self) -> int:
        return sum(len(items) for queues in self._waiting.values() for items in queues.values())

    def put(self, queue: Queue, item: Item, mode: DeliveryMode) -> list[Item]:
        """Add a frame; returns those it replaces: its own earlier copy, and with ``latest`` all that wait."""
        items = self._waiting.setdefault(queue.stream, OrderedDict()).setdefault(queue, deque())
        if mode == "latest":
            replaced = list(items)
            items.clear()
            items.append(item)
            return replaced
        for place, waiting in enumerate(items):
            if self._key(waiting) == self._key(item):
                items[place] = item
                return [waiting]
        items.append(item)
        return []

    def claim(self, queue: Queue, *, beside: bool = False) -> bool:
        """Take the turn of a queue for a frame that need not wait, as none does; `done` ends it.

        Args:
            queue: The frame's.
            beside: Frames of other queues may wait: it takes nothing that they wait for.
        """
        others = queue in self._waiting.get(queue.stream, ()) if beside else bool(self._waiting)
        if others or queue in self._busy:
            return False
        self._busy.add(queue)
        return True

    def put_back(self, queue: Queue, items: list[Item]) -> list[Item]:
        """Put frames that were taken before among those that wait, in order; returns those that wait there already."""
        queues = self._waiting.setdefault(queue.stream, OrderedDict())
        waiting = queues.get(queue, ())
        known = {self._key(each) for each in waiting}
        back = [item for item in items if self._key(item) not in known]
        queues[queue] = deque(sorted((*back, *waiting), key=self._key))
        return [item for item in items if self._key(item) in known]

    def take(self, only: Callable[[Queue, Item], bool] | None = None) -> tuple[Queue, Item] | None:
        """The frame that is due first, else of the stream that has waited longest; ``None`` when no queue is ready.

        Args:
            only: Of these frames; they take nobody's turn.
        """
        found, front = None, None
        for stream, queues in self._waiting.items():
            ready = [
                (self._due_s(items[0]), queue)
                for queue, items in queues.items()
                if queue not in self._busy and (only is None or only(queue, items[0]))
            ]
            if not ready:
                continue
            front = front or stream
            due_s, queue = min(ready, key=itemgetter(0))
            if only is None and self._lanes_passed_over[stream] >= len(queues):
                queue = ready[0][1]  # of the stream's queues, its turn has come
            if found is None or due_s < found[0]:
                found = due_s, queue, ready[0][1]
            if only is None and self._passed_over >= len(self._waiting):
                break  # its turn has come
        if found is None:
            return None
        _, queue, first = found
        if only is None:
            self._passed_over = 0 if queue.stream == front else self._passed_over + 1
            self._lanes_passed_over[queue.stream] = 0 if queue == first else self._lanes_passed_over[queue.stream] + 1
        return queue, self._take(queue)

    def _take(self, queue: Queue) -> Item:
        """Take the first frame out of a queue, which goes behind the others, as its stream does."""
        queues = self._waiting[queue.stream]
        items = queues[queue]
        item = items.popleft()
        if items:
            queues.move_to_end(queue)
        else:
            del queues[queue]
        if queues:
            self._waiting.move_to_end(queue.stream)
        else:
            del self._waiting[queue.stream]
            self._lanes_passed_over.pop(queue.stream, None)
        self._busy.add(queue)
        return item

    def done(self, queue: Queue) -> None:
        """The frame that `take` gave out is finished; the queue may give out its next one."""
        self._busy.discard(queue)

    def drain(self) -> list[Item]:
        """Take out everything that waits."""
        items = [item for queues in self._waiting.values() for waiting in queues.values() for item in waiting]
        self._waiting.clear()
        self._lanes_passed_over.clear()
        return items
