"""The plans that a simulated stream's frames follow at once: dealt as on the real devices, each with its own window."""

from __future__ import annotations

from dataclasses import dataclass

from tiercut.coordinator.mix import Mix, essence
from tiercut.pipeline.dealing import Dealer
from tiercut.pipeline.window import InFlightWindow
from tiercut.plan import Plan
from tiercut.protocol.frames import MAX_LANES

Window = InFlightWindow[None]


@dataclass(slots=True, eq=False)
class _Way:
    plan: Plan
    lane: int
    window: Window


class SimWays:
    """As `iot_node.ways.Ways` for streams with ``latest``, but that no plan is left before the coordinator leaves it.

    Args:
        limit: Frames of one plan that may be in flight.
        timeout_s: Of a frame.
    """

    def __init__(self, limit: int, timeout_s: float) -> None:
        self._limit = limit
        self._timeout_s = timeout_s
        self._epoch: int | None = None
        self._ways: list[_Way] = []
        self._dealer = Dealer([1.0])
        #: before the first plan, and of plans that were left
        self._windows = [self._window()]

    def follow(self, mix: Mix, now_s: float) -> None:
        """Follow these plans from the next frame on; what is known of one that was there before is kept."""
        if mix.first.epoch == self._epoch:
            return
        self._epoch = mix.first.epoch
        left, self._ways = self._ways, []
        several = len(mix.plans) > 1
        known = {str(essence(way.plan)): way for way in left} if several else {}
        kept = [known.get(str(essence(plan))) for plan, _ in mix.plans]
        free = [way.window for way in left if way not in kept] or self._windows
        self._windows = [window for window in self._windows if len(window) and window not in free]
        lanes = {way.lane for way in kept if way is not None}
        unused = (lane for lane in range(MAX_LANES) if lane not in lanes)
        for (plan, _), way in zip(mix.plans, kept, strict=True):
            window = way.window if way is not None else free.pop(0) if free else self._window()
            if way is None:
                window.new_way(self._limit, now_s)
            window.spaced(spaced=mix.frames_per_second is not None)
            lane = 0 if not several else way.lane if way is not None else next(unused)
            self._ways.append(_Way(plan, lane, window))
        self._windows += free
        self._dealer = Dealer([share for _, share in mix.plans])

    def wait_s(self, now_s: float) -> float:
        """Seconds until some plan takes one more frame; infinity: not before an outcome."""
        return min(each.wait_s(now_s) for each in self._in_use)

    def held(self) -> None:
        """A frame was there and had to wait."""
        for each in self._in_use:
            each.held()

    def start(self, seq: int, now_s: float) -> tuple[Plan, int]:
        """A frame sets out; returns the plan that it follows, and the lane of that."""
        able = [place for place, way in enumerate(self._ways) if not way.window.wait_s(now_s)]
        able = able or list(range(len(self._ways)))
        place = self._dealer.next(able)
        self._dealer.dealt(place, able)
        way = self._ways[place]
        way.window.start(seq, now_s)
        return way.plan, way.lane

    def outcome(self, seq: int, now_s: float, *, dropped: bool) -> bool:
        """A frame's outcome is known; ``False`` when it was not in flight."""
        return any(each.outcome(seq, now_s, dropped=dropped) for each in self._all)

    def give_up(self, seq: int) -> bool:
        """A frame is not waited for any more; ``False`` when it was not in flight."""
        return any(each.give_up(seq) for each in self._all)

    @property
    def _in_use(self) -> list[Window]:
        return [way.window for way in self._ways] or self._windows

    @property
    def _all(self) -> list[Window]:
        return [*(way.window for way in self._ways), *self._windows]

    def _window(self) -> Window:
        return InFlightWindow(limit=self._limit, timeout_s=self._timeout_s)
