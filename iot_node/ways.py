"""The plans that a stream's frames follow at once: each with its share of them, and a window of its own.

With a single plan the stream talks to that one's `InFlightWindow` itself. `Ways` is the same for several: it has the
same methods, and says which plan takes the next frame.

A plan *works* while its nodes are there and outcomes come back. Where its first node is gone, or nothing has come back
for much longer than usual, its share goes to the others at once; frames of a stream with ``every`` that are on their
way there are sent again by another plan. A plan that was only silent gets single frames, ever more rarely, until one
comes back.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from iot_node.sensor_frame import Outbound, SensorFrame
from tiercut.pipeline.dealing import Dealer
from tiercut.pipeline.window import InFlight, InFlightWindow
from tiercut.plan import Plan
from tiercut.protocol.streams import PlanReport

#: A plan without outcomes is not taken for silent before so many seconds, and in its first frames.
SILENT_S, SILENT_AT_FIRST_S = 0.75, 3.0
#: Pause before a silent plan gets a frame again, which doubles each time up to the last.
FIRST_PAUSE_S, MAX_PAUSE_S = 2.0, 16.0

Window = InFlightWindow[SensorFrame]


@dataclass(slots=True, eq=False)
class Way:
    """A plan with its share of the frames.

    Attributes:
        outbound: Makes the messages of its frames.
        share: Part of the frames that follow it.
        lane: Number among those that run at once, the same for as long as it does.
        window: Its frames in flight.
        frames: How many have set out.
        silent: Nothing has come back for too long.
        pause_s: Between two frames while it is silent.
        trial_s: When the next of these may set out.
    """

    outbound: Outbound
    share: float
    lane: int
    window: Window
    frames: int = 0
    silent: bool = False
    pause_s: float = FIRST_PAUSE_S
    trial_s: float = math.inf

    @property
    def plan(self) -> Plan:
        """The plan."""
        return self.outbound.plan

    def look(self, now_s: float) -> None:
        """See whether outcomes come back."""
        is_silent = self.window.silent_s(now_s, at_first_s=SILENT_AT_FIRST_S) > SILENT_S
        if is_silent and not self.silent:
            self.silent, self.trial_s = True, now_s + self.pause_s

    @property
    def is_still_silent(self) -> bool:
        """Whether it is silent and no outcome has come since the last frame that asked: as a single plan none asks."""
        return self.silent and self.window.outcome_s < self.trial_s - self.pause_s

    def heard(self) -> None:
        """An outcome has come back."""
        self.silent, self.pause_s = False, FIRST_PAUSE_S

    def started(self, now_s: float) -> None:
        """A frame has set out."""
        self.frames += 1
        if self.silent:
            self.pause_s = min(2 * self.pause_s, MAX_PAUSE_S)
            self.trial_s = now_s + self.pause_s


@dataclass(slots=True, eq=False)
class Ways:
    """Several plans of one stream that run at once, or frames of such that are still in flight.

    Args:
        ways: At least one.
        in_turn: A frame waits for the plan whose turn it is, so that shares are exact; otherwise it goes to one that
            has room.
        reachable: Whether a plan's nodes are there.
        leaving: Windows of plans that were left, with frames in flight.
    """

    ways: Sequence[Way]
    in_turn: bool
    reachable: Callable[[Plan], bool]
    leaving: list[Window] = field(default_factory=list)
    _dealer: Dealer = field(init=False)
    #: those that kept the last frame from setting out
    _full: Sequence[Way] = ()

    def __post_init__(self) -> None:
        self._dealer = Dealer([each.share for each in self.ways])

    @property
    def window(self) -> Window | Ways:
        """The only window that there is, or all of them."""
        self.leaving = [each for each in self.leaving if len(each)]
        return self if len(self.ways) > 1 or self.leaving else self.ways[0].window

    @property
    def size(self) -> float:
        """How many frames may be in flight now, on average, over all plans."""
        return sum(each.window.size for each in self.ways)

    def reports(self) -> tuple[PlanReport, ...]:
        """How each plan does."""
        return tuple(
            PlanReport(
                plan=each.plan,
                share=each.share,
                frames=each.frames,
                window=round(each.window.size, 1),
                works=not each.silent and self.reachable(each.plan),
            )
            for each in self.ways
        )

    # ------------------------------------------------------------------ which plan is next

    def wait_s(self, now_s: float) -> float:
        """See `InFlightWindow`."""
        able = self._able(now_s) if len(self.ways) > 1 else [0]
        asked = [self._dealer.next(able)] if self.in_turn else able
        wait_s = min(self.ways[place].window.wait_s(now_s) for place in asked)
        self._full = [self.ways[place] for place in asked] if wait_s else ()
        if not wait_s:
            return 0.0
        trials = [each.trial_s - now_s for each in self.ways if each.silent and each.trial_s > now_s]
        return min([wait_s, *trials])

    def _able(self, now_s: float) -> list[int]:
        """Places of the plans that take their share: those that work, or else all."""
        for way in self.ways:
            way.look(now_s)
        there = [place for place, way in enumerate(self.ways) if self.reachable(way.plan)]
        works = [place for place in there if not self.ways[place].silent or now_s >= self.ways[place].trial_s]
        return works or there or list(range(len(self.ways)))

    def take(self, now_s: float) -> Way:
        """A frame sets out now, as `wait_s` has allowed; returns the plan that it follows."""
        if len(self.ways) == 1:
            return self.ways[0]
        able = self._able(now_s)
        if not self.in_turn:
            able = [place for place in able if not self.ways[place].window.wait_s(now_s)] or able
        place = self._dealer.next(able)
        self._dealer.dealt(place, able)
        self.ways[place].started(now_s)
        return self.ways[place]

    def ahead(self, now_s: float) -> Plan:
        """The plan whose turn it is."""
        return self.ways[self._dealer.next(self._able(now_s))].plan

    # ------------------------------------------------------------------ as of one window

    def held(self) -> None:
        """See `InFlightWindow`."""
        for way in self._full:
            way.window.held()

    def holds_other_epoch(self, epoch: int) -> bool:
        """See `InFlightWindow`."""
        return any(each.holds_other_epoch(epoch) for each in self._windows)

    def left(self, seq: int, now_s: float) -> None:
        """See `InFlightWindow`."""
        for each in self._windows:
            each.left(seq, now_s)

    def expects(self, seq: int, event: str | None) -> bool:
        """See `InFlightWindow`."""
        return all(each.expects(seq, event) for each in self._windows)

    def outcome(self, seq: int, now_s: float, *, dropped: bool = False) -> bool:
        """See `InFlightWindow`."""
        for way in self.ways:
            if seq in way.window:
                way.heard()
        return any(each.outcome(seq, now_s, dropped=dropped) for each in self._windows)

    def give_up(self, seq: int) -> bool:
        """See `InFlightWindow`."""
        return any(each.give_up(seq) for each in self._windows)

    def __contains__(self, seq: int) -> bool:
        return any(seq in each for each in self._windows)

    def __len__(self) -> int:
        return sum(map(len, self._windows))

    @property
    def seqs(self) -> tuple[int, ...]:
        """See `InFlightWindow`."""
        return tuple(sorted(seq for each in self._windows for seq in each.seqs))

    # ------------------------------------------------------------------ frames that are late

    def overdue(self, now_s: float) -> list[InFlight[SensorFrame]]:
        """Frames to send again or to give up: overdue ones, and those kept that are with a plan that does not work."""
        late = [frame for each in self._windows for frame in each.overdue(now_s)]
        if len(self.ways) > 1:
            able = self._able(now_s)
            stuck = [way for place, way in enumerate(self.ways) if place not in able or way.silent]
            if len(stuck) < len(self.ways):
                known = {frame.seq for frame in late}
                away = (frame for way in stuck for frame in way.window.away() if self._is_lost(way, frame, now_s))
                late += [frame for frame in away if frame.kept is not None and frame.seq not in known]
        return sorted(late, key=lambda frame: frame.seq)

    def _is_lost(self, way: Way, frame: InFlight[SensorFrame], now_s: float) -> bool:
        """Whether to wait no longer for a frame that is with a plan that does not work; a trial is given its time."""
        usual_s = way.window.late_after_s
        patience_s = SILENT_AT_FIRST_S if usual_s == math.inf else max(usual_s, SILENT_S)
        return now_s - frame.sent_s > patience_s or not self.reachable(way.plan)

    def sent_again(self, seq: int, now_s: float) -> Way:
        """A frame that has left the device is sent once more, by another plan if any works; returns that."""
        own = next(each for each in self._windows if seq in each)
        able = [self.ways[place] for place in self._able(now_s)]
        others = [way for way in able if way.window is not own and not way.silent]
        way = min(others, key=lambda each: len(each.window), default=None)
        if way is None:
            way = next((each for each in self.ways if each.window is own), self.ways[0])
        if way.window is own:
            own.sent_again(seq, now_s)
        else:
            own.move_to(way.window, seq, now_s)
        return way

    @property
    def _windows(self) -> list[Window]:
        return [*(each.window for each in self.ways), *self.leaving]
