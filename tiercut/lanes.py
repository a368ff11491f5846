"""Frames that wait at a node: one lane per stream, so that order is kept and streams take turns."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Generic, TypeVar

from tiercut.plan import DeliveryMode

Item = TypeVar("Item")


class Lanes(Generic[Item]):
    """Waiting frames of all streams at a node; each lane hands out one frame at a time.

    A lane is *busy* from `take` until `done`: its next frame is not handed out before, which keeps a stream in order
    whatever number of threads works on the node's lanes. Ready lanes take turns.

    Args:
        number: The number of a frame in its stream, by which frames that are put back find their place.
    """

    def __init__(self, number: Callable[[Item], int]) -> None:
        self._number = number
        #: stream → waiting frames; a lane without frames is removed, so the number of lanes is bounded by the frames
        self._waiting: OrderedDict[str, deque[Item]] = OrderedDict()
        self._busy: set[str] = set()

    def __len__(self) -> int:
        return sum(len(lane) for lane in self._waiting.values())

    def put(self, stream: str, item: Item, mode: DeliveryMode) -> list[Item]:
        """Add a frame; returns those it replaces (``latest``: the ones still waiting in its lane)."""
        lane = self._waiting.setdefault(stream, deque())
        replaced = list(lane) if mode == "latest" else []
        if replaced:
            lane.clear()
        lane.append(item)
        return replaced

    def put_back(self, stream: str, items: list[Item]) -> None:
        """Put frames that were taken before among those that wait, in the order of their numbers."""
        waiting = self._waiting.get(stream, ())
        self._waiting[stream] = deque(sorted((*items, *waiting), key=self._number))

    def take(self) -> tuple[str, Item] | None:
        """The next frame of the lane that has waited longest for its turn; ``None`` when no lane is ready."""
        for stream, lane in self._waiting.items():
            if stream in self._busy:
                continue
            item = lane.popleft()
            if lane:
                self._waiting.move_to_end(stream)
            else:
                del self._waiting[stream]
            self._busy.add(stream)
            return stream, item
        return None

    def done(self, stream: str) -> None:
        """The frame that `take` gave out is finished; the lane may give out its next one."""
        self._busy.discard(stream)

    def drain(self) -> list[Item]:
        """Take out everything that waits."""
        items = [item for lane in self._waiting.values() for item in lane]
        self._waiting.clear()
        return items
