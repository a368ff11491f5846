"""The frames of one stream that are in flight: how many may be, and what has become of each.

MQTT's flow control ends at the broker: it takes a message whether or not anyone works on it. So the device counts the
frames of a stream that have no outcome yet (a result, or a reason why there is none). It sends no more than ``limit``
of them, and no more than keep the slowest stage of their way busy (`way_window`). What it does with the next one is the
stream's delivery mode: ``every`` lets the sensor wait, ``latest`` keeps the newest frame and drops the one that it
replaces.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Generic, TypeVar

from tiercut.pipeline.way_window import QUEUE_RATIO, SPACED_QUEUE_RATIO, WayWindow

#: What it takes to send a frame again.
Kept = TypeVar("Kept")

#: A frame that was sent again waits twice as long as before for its outcome, up to this many times the timeout: what is
#: late because a node has too much to do does not get there sooner by being sent more often.
MAX_TIMEOUTS = 8
#: A frame that was sent another way before takes a place for so long where nobody knows what was usual there.
LEFT_BEHIND_S = 1.0


class FrameState(Enum):
    """State of a frame without an outcome; with an outcome it is no longer in flight."""

    SENT = "given to this device's worker, and still there or in its outbox"
    AWAY = "the next node's broker has it, or its outcome is published"


class FrameEvent(Enum):
    """What happens to a frame in flight."""

    LEFT = "its message was acknowledged"
    RESENT = "it was given to the worker once more"


#: What becomes of a frame in flight; what is not listed must not happen.
TRANSITIONS: Mapping[tuple[FrameState, FrameEvent], FrameState] = {
    (FrameState.SENT, FrameEvent.LEFT): FrameState.AWAY,
    (FrameState.AWAY, FrameEvent.LEFT): FrameState.AWAY,  # each sending is acknowledged
    (FrameState.AWAY, FrameEvent.RESENT): FrameState.SENT,
}


@dataclass(slots=True, eq=False)
class InFlight(Generic[Kept]):
    """A frame without an outcome.

    Attributes:
        seq: Its number.
        first_s: When it was sent for the first time.
        alone: No other frame was in flight then, but such as may be lost.
        sent_s: When it was sent, left the device, or was sent again: whichever was last.
        patience_s: How long to wait for its outcome from then on.
        epoch: Of the plan with which it was sent first.
        event: CloudEvents id of its outcome; empty where not needed.
        kept: What it takes to send it again; ``None``: it is given up when it is overdue.
        state: Where it is.
        resent: It was sent more than once: which sending an outcome belongs to is unknown.
    """

    seq: int
    first_s: float
    alone: bool
    sent_s: float
    patience_s: float
    epoch: int
    event: str
    kept: Kept | None
    state: FrameState = FrameState.SENT
    resent: bool = False

    def happens(self, event: FrameEvent, now_s: float) -> None:
        """Follow `TRANSITIONS`; the wait for the outcome begins again."""
        self.state = TRANSITIONS[self.state, event]
        self.sent_s = now_s


class InFlightWindow(Generic[Kept]):
    """Owns the records of one stream's frames in flight.

    Args:
        limit: How many there may be, >= 1.
        timeout_s: Seconds after which a frame without an outcome is overdue for the first time.
    """

    def __init__(self, *, limit: int, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self._way = WayWindow(limit)
        #: by number, in the order of sending
        self._frames: dict[int, InFlight[Kept]] = {}
        #: frames sent before are of another plan, and their outcomes say nothing of the way
        self._way_from_s = -math.inf
        #: what was much later than usual on the way before that
        self._left_behind_s = LEFT_BEHIND_S

    def __len__(self) -> int:
        return len(self._frames)

    @property
    def size(self) -> float:
        """How many frames may be in flight now, on average: 1 to the limit."""
        return self._way.size

    def wait_s(self, now_s: float) -> float:
        """Seconds until one more frame may be sent; infinity: not before an outcome.

        A frame that is much later than usual (it may be lost) takes a place of the limit only, not of those that the
        way is worth: or one lost frame could stop a stream until its timeout. One that was sent another way before
        takes none at all then: what holds it up says nothing of the way that frames take now.
        """
        in_flight = len(self._frames)
        wait_s = self._way.wait_s(in_flight, now_s)
        if not wait_s:
            return wait_s
        behind = self._left_behind(now_s)
        if in_flight - behind >= self._way.limit:
            return wait_s
        late = self._late(now_s, behind)
        return self._way.wait_s(in_flight - late, now_s) if late else wait_s

    def _left_behind(self, now_s: float) -> int:
        """Frames that were sent another way before, and are much later than usual there."""
        behind = 0
        for frame in self._frames.values():
            if frame.first_s >= self._way_from_s or now_s - frame.first_s <= self._left_behind_s:
                break
            behind += 1
        return behind

    def _late(self, now_s: float, behind: int) -> int:
        """Frames that are much later than usual; the first of them are ``behind``."""
        late_s, late = now_s - self._way.late_after_s, 0
        for frame in self._frames.values():
            if late >= behind and frame.first_s >= late_s:
                break
            late += 1
        return late

    def held(self) -> None:
        """A frame was there to be sent and had to wait for the window."""
        self._way.held()

    def new_way(self, limit: int, now_s: float) -> None:
        """Frames are sent another way from now on, with another limit."""
        usual_s = self._way.late_after_s
        self._left_behind_s = LEFT_BEHIND_S if usual_s == math.inf else usual_s
        self._way_from_s = now_s
        self._way.new_way(limit, now_s)

    def spaced(self, *, spaced: bool) -> None:
        """Whether the hub spaces frames, as it has found so much room for them beside those of other streams."""
        self._way.queue_ratio = SPACED_QUEUE_RATIO if spaced else QUEUE_RATIO

    def relimit(self, limit: int) -> None:
        """There may be so many from now on; frames are sent the same way as before."""
        self._way.relimit(limit)

    def __contains__(self, seq: int) -> bool:
        return seq in self._frames

    @property
    def seqs(self) -> tuple[int, ...]:
        """Numbers of the frames in flight, in order: one that was sent again by another way comes late."""
        return tuple(sorted(self._frames))

    def silent_s(self, now_s: float, *, at_first_s: float) -> float:
        """For how long the way has been silent beyond what is usual, seconds; 0 or less: it is not.

        Counted from when the oldest frame in flight was sent this way, unless an outcome has come since.

        Args:
            now_s: Now.
            at_first_s: What is usual where no round trip is known.
        """
        sent_s = (each.first_s for each in self._frames.values() if each.first_s >= self._way_from_s)
        first_s = next(sent_s, None)
        if first_s is None or self._way.outcome_s >= first_s:
            return 0.0
        usual_s = self._way.late_after_s
        return now_s - first_s - (at_first_s if usual_s == math.inf else usual_s)

    @property
    def late_after_s(self) -> float:
        """Seconds after which a frame is much later than usual; infinity while nobody knows what is usual."""
        return self._way.late_after_s

    @property
    def outcome_s(self) -> float:
        """When the last outcome came this way; minus infinity before the first."""
        return self._way.outcome_s

    def away(self) -> list[InFlight[Kept]]:
        """Frames that have left the device, oldest first."""
        return [frame for frame in self._frames.values() if frame.state is FrameState.AWAY]

    def move_to(self, other: InFlightWindow[Kept], seq: int, now_s: float) -> None:
        """A frame that has left the device is sent once more, by the way of another window.

        Whichever of the two gets through first gives the outcome, which says little of the other's way.
        """
        frame = self._frames.pop(seq)
        other.start(seq, now_s, epoch=frame.epoch, event=frame.event, kept=frame.kept)
        moved = other._frames[seq]
        moved.resent, moved.alone = True, False
        moved.patience_s = min(2 * frame.patience_s, MAX_TIMEOUTS * self.timeout_s)

    def holds_other_epoch(self, epoch: int) -> bool:
        """Whether a frame in flight was sent with another plan."""
        return any(frame.epoch != epoch for frame in self._frames.values())

    def start(self, seq: int, now_s: float, *, epoch: int = 0, event: str = "", kept: Kept | None = None) -> None:
        """A frame is sent for the first time; see `InFlight`."""
        self._frames[seq] = InFlight(
            seq=seq,
            first_s=now_s,
            alone=len(self._frames) == self._late(now_s, self._left_behind(now_s)),
            sent_s=now_s,
            patience_s=self.timeout_s,
            epoch=epoch,
            event=event,
            kept=kept,
        )

    def left(self, seq: int, now_s: float) -> None:
        """A frame has left the device, maybe long after it was sent; its outcome may be known already."""
        if (frame := self._frames.get(seq)) is not None:
            frame.happens(FrameEvent.LEFT, now_s)

    def expects(self, seq: int, event: str | None) -> bool:
        """Whether an outcome can be that of the frame: one from before a restart of the device has another id."""
        frame = self._frames.get(seq)
        return frame is None or event is None or event == frame.event

    def outcome(self, seq: int, now_s: float, *, dropped: bool = False) -> bool:
        """A frame's outcome is known; ``False`` when it was not in flight (a duplicate, or given up before)."""
        frame = self._frames.pop(seq, None)
        if frame is None:
            return False
        if frame.first_s >= self._way_from_s:
            self._way.outcome(frame.first_s, now_s, alone=frame.alone, exact=not (dropped or frame.resent))
        return True

    def give_up(self, seq: int) -> bool:
        """A frame is not waited for any more; ``False`` when it was not in flight."""
        return self._frames.pop(seq, None) is not None

    def overdue(self, now_s: float) -> list[InFlight[Kept]]:
        """Frames that have left the device and whose outcome is overdue, oldest first.

        One that is still on this device waits for a thread or for its broker: to send it again would not help.
        """
        away = (frame for frame in self._frames.values() if frame.state is FrameState.AWAY)
        return [frame for frame in away if now_s - frame.sent_s > frame.patience_s]

    def sent_again(self, seq: int, now_s: float) -> None:
        """An overdue frame was sent once more; the next time comes later."""
        frame = self._frames[seq]
        frame.happens(FrameEvent.RESENT, now_s)
        frame.resent = True
        frame.patience_s = min(2 * frame.patience_s, MAX_TIMEOUTS * self.timeout_s)
