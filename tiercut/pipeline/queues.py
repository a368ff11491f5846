"""Frames that wait at a node: one queue per stream, so that order is kept and streams take turns."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from tiercut.plan import DeliveryMode

Item = TypeVar("Item")


class StreamQueues(Generic[Item]):
    """Waiting frames of all streams at a node; each queue hands out one frame at a time.

    A queue is *busy* from `take` until `done`: its next frame is not handed out before, which keeps a stream in order
    whatever number of threads works on the node's queues. Ready queues take turns. A frame waits in its queue once,
    however often it comes: the copy that came last is kept, as only that can still be acknowledged after a reconnect.

    Args:
        key: What names a frame in its stream, and orders frames that are put back.
    """

    def __init__(self, key: Callable[[Item], Any]) -> None:
        self._key = key
        #: stream → waiting frames; a queue without frames is removed, so the number of queues is bounded by the frames
        self._waiting: OrderedDict[str, deque[Item]] = OrderedDict()
        self._busy: set[str] = set()

    def __len__(self) -> int:
        return sum(len(queue) for queue in self._waiting.values())

    def put(self, stream: str, item: Item, mode: DeliveryMode) -> list[Item]:
        """Add a frame; returns those it replaces: its own earlier copy, and with ``latest`` all that wait."""
        queue = self._waiting.setdefault(stream, deque())
        if mode == "latest":
            replaced = list(queue)
            queue.clear()
            queue.append(item)
            return replaced
        for place, waiting in enumerate(queue):
            if self._key(waiting) == self._key(item):
                queue[place] = item
                return [waiting]
        queue.append(item)
        return []

    def claim(self, stream: str) -> bool:
        """Take the turn of a stream for a frame that need not wait, as none does; `done` ends it."""
        if self._waiting or stream in self._busy:
            return False
        self._busy.add(stream)
        return True

    def put_back(self, stream: str, items: list[Item]) -> list[Item]:
        """Put frames that were taken before among those that wait, in order; returns those that wait there already."""
        waiting = self._waiting.get(stream, ())
        known = {self._key(each) for each in waiting}
        back = [item for item in items if self._key(item) not in known]
        self._waiting[stream] = deque(sorted((*back, *waiting), key=self._key))
        return [item for item in items if self._key(item) in known]

    def take(self) -> tuple[str, Item] | None:
        """The next frame of the queue that has waited longest for its turn; ``None`` when no queue is ready."""
        for stream, queue in self._waiting.items():
            if stream in self._busy:
                continue
            item = queue.popleft()
            if queue:
                self._waiting.move_to_end(stream)
            else:
                del self._waiting[stream]
            self._busy.add(stream)
            return stream, item
        return None

    def done(self, stream: str) -> None:
        """The frame that `take` gave out is finished; the queue may give out its next one."""
        self._busy.discard(stream)

    def drain(self) -> list[Item]:
        """Take out everything that waits."""
        items = [item for queue in self._waiting.values() for item in queue]
        self._waiting.clear()
        return items
