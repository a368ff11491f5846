"""Outcomes of frames that went different ways, put in the order in which the frames set out."""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass
from typing import Generic, TypeVar

Outcome = TypeVar("Outcome")

#: Frames that may be waited for or wait for others, and bytes of outcomes that wait. Beyond that no frame sets out, or
#: the first is skipped.
MAX_FRAMES, MAX_BYTES = 512, 16 * 1024 * 1024
#: Numbers of skipped frames that are remembered, so that their late outcomes can be told from second ones.
MAX_SKIPPED = 1024


@dataclass(slots=True)
class _Expected(Generic[Outcome]):
    """A frame that has set out.

    Attributes:
        until_s: From then on it does not hold up others.
        settled: Its outcome is known.
        outcome: What is to be published; ``None`` where nothing is.
        nbytes: Its size.
    """

    until_s: float
    settled: bool = False
    outcome: Outcome | None = None
    nbytes: int = 0


class OutcomeOrder(Generic[Outcome]):
    """Keeps outcomes until those of all frames before them are known, or have taken too long."""

    def __init__(self) -> None:
        #: frames by number, in the order of setting out
        self._frames: OrderedDict[int, _Expected[Outcome]] = OrderedDict()
        self._skipped: OrderedDict[int, None] = OrderedDict()
        #: those whose outcome waits, and their bytes
        self._waiting = 0
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._frames)

    @property
    def is_full(self) -> bool:
        """Whether as much waits as may."""
        return len(self._frames) >= MAX_FRAMES or self._bytes >= MAX_BYTES

    @property
    def due_s(self) -> float:
        """When the first frame no longer holds up others; infinity while it holds up none, or may for ever."""
        if not self._waiting or not self._frames:
            return math.inf
        return next(iter(self._frames.values())).until_s

    def expect(self, seq: int, until_s: float = math.inf) -> None:
        """A frame sets out; those after it wait for its outcome until a time."""
        self._frames[seq] = _Expected(until_s)

    def expects(self, seq: int) -> bool:
        """Whether a frame has set out whose outcome is not known."""
        frame = self._frames.get(seq)
        return frame is not None and not frame.settled

    def settle(self, seq: int, outcome: Outcome | None = None, nbytes: int = 0) -> bool:
        """A frame's outcome is known; ``None`` where nothing is to be published. False: nobody waits for it."""
        frame = self._frames.get(seq)
        if frame is None or frame.settled:
            return False
        frame.settled, frame.outcome, frame.nbytes = True, outcome, nbytes
        self._waiting += 1
        self._bytes += nbytes
        return True

    def was_skipped(self, seq: int) -> bool:
        """Whether a frame has taken too long and others have been published before it."""
        return seq in self._skipped

    def take(self, now_s: float) -> list[Outcome]:
        """What can be published now, in order; frames that have held up others for too long are skipped."""
        ready: list[Outcome] = []
        while self._frames and self._waiting:
            seq, first = next(iter(self._frames.items()))
            if not first.settled and now_s < first.until_s:
                break
            del self._frames[seq]
            if first.settled:
                self._waiting -= 1
                self._bytes -= first.nbytes
                ready += [] if first.outcome is None else [first.outcome]
            else:
                self._skip(seq)
        return ready

    def skip_first(self) -> None:
        """The first frame, whose outcome is not known, does not hold up others any more."""
        seq, _ = self._frames.popitem(last=False)
        self._skip(seq)

    def take_all(self) -> list[Outcome]:
        """All that waits, in order; nothing is waited for any more."""
        ready = [each.outcome for each in self._frames.values() if each.outcome is not None]
        self._frames.clear()
        self._waiting = self._bytes = 0
        return ready

    def _skip(self, seq: int) -> None:
        self._skipped[seq] = None
        if len(self._skipped) > MAX_SKIPPED:
            self._skipped.popitem(last=False)
