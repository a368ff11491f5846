"""Offsets between the monotonic clocks of nodes, from question and answer (NTP's four times, RFC 5905 section 8)."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

#: Exchanges kept per clock; the one with the shortest round trip is used (RFC 5905's clock filter keeps 8).
MAX_SAMPLES = 8
#: A crystal drifts by up to this much: an old exchange grows uncertain by this many seconds per second.
DRIFT_S_PER_S = 50e-6
#: Clocks kept; the least recently heard makes room, so that invented ids cannot fill the memory.
MAX_CLOCKS = 256


@dataclass(frozen=True, slots=True)
class Offset:
    """What to add to a remote clock's time to get ours, and how wrong that may be (seconds)."""

    seconds: float
    uncertainty_s: float


_OWN = Offset(0.0, 0.0)


@dataclass(frozen=True, slots=True)
class _Sample:
    offset_s: float
    round_trip_s: float
    at_s: float


class ClockOffsets:
    """Our view of other nodes' clocks.

    Args:
        own_clock_id: Our own clock: its offset is zero without asking.
    """

    def __init__(self, own_clock_id: str) -> None:
        self._own = own_clock_id
        self._samples: dict[str, deque[_Sample]] = {}

    def add(self, clock_id: str, *, asked_s: float, heard_s: float, answered_s: float, back_s: float) -> None:
        """Take in one exchange: asked and back on our clock, heard and answered on theirs (all seconds)."""
        round_trip_s = (back_s - asked_s) - (answered_s - heard_s)
        if round_trip_s < 0:  # impossible with true times: a clock was stepped, or the answer is forged
            return
        offset_s = ((asked_s - heard_s) + (back_s - answered_s)) / 2
        samples = self._samples.pop(clock_id, None) or deque(maxlen=MAX_SAMPLES)
        samples.append(_Sample(offset_s, round_trip_s, back_s))
        self._samples[clock_id] = samples
        while len(self._samples) > MAX_CLOCKS:
            del self._samples[next(iter(self._samples))]

    def offset(self, clock_id: str, now_s: float) -> Offset | None:
        """The best estimate for a clock, ``None`` while nothing is known."""
        if clock_id == self._own:
            return _OWN
        estimates = [
            Offset(sample.offset_s, sample.round_trip_s / 2 + DRIFT_S_PER_S * (now_s - sample.at_s))
            for sample in self._samples.get(clock_id, ())
        ]
        return min(estimates, key=lambda estimate: estimate.uncertainty_s, default=None)

    def stale(self, clock_id: str, now_s: float, *, after_s: float) -> bool:
        """Whether it is time to ask again."""
        if clock_id == self._own:
            return False
        samples = self._samples.get(clock_id)
        return not samples or len(samples) < MAX_SAMPLES or now_s - samples[-1].at_s > after_s
