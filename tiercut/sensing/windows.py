"""Windows of a signal: the model's number of samples at the model's rate, with overlap, each with the time of its end.

Samples of a known rate are counted: their times follow from the first one's, corrected by when chunks arrive. Those of
unknown rate (a thermometer that reports a change) hold until the next one comes. Windows are made as they are taken, so
that a large chunk needs no memory for all of them: take all before the next chunk.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tiercut.model.preprocess import FrameSpec
from tiercut.sensing.resampling import Resampler

#: After this many seconds without samples, or half a window, a sensor was away: its next samples begin a new window.
MIN_GAP_S = 1.0
#: A reading of a sensor without a rate holds for an hour (what Zigbee sensors report at the latest), or a window.
MIN_HOLD_S = 3600.0
#: A delay beyond the expected that lasts as long as this is the sensor's clock, a shorter one is the network.
DRIFT_S = 30.0

Samples = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class SignalWindow:
    """``(samples, channels)``, and the wall clock of the last sample."""

    samples: Samples
    at_unix_s: float


class Cutter:
    """Cuts windows out of samples at the model's rate.

    Args:
        frame: Length and rate.
        overlap: Part of a window that the next one shares, 0 to below 1.
        aligned: Windows end at whole multiples of their step since 1970, so that those of several sensors meet.
    """

    def __init__(self, frame: FrameSpec, overlap: float, *, aligned: bool) -> None:
        self._length, self._rate_hz = frame.samples, frame.rate_hz
        self.step = max(1, round(frame.samples * (1 - overlap)))
        self._aligned = aligned
        self._kept: Samples | None = None
        self._skip = 0

    def reset(self) -> None:
        """Forget a window that has begun."""
        self._kept, self._skip = None, 0

    def push(self, samples: Samples, at_unix_s: float) -> Iterator[SignalWindow]:
        """Samples that follow on those before, the last of them at this time."""
        if self._kept is None:
            self._kept = samples[:0]
            self._skip = self._to_grid(at_unix_s, len(samples)) if self._aligned else 0
        kept = np.concatenate([self._kept, samples])
        while len(kept) >= self._skip + self._length:
            end = self._skip + self._length
            ends_at = at_unix_s - (len(kept) - end) / self._rate_hz
            window = SignalWindow(np.array(kept[self._skip : end]), ends_at)
            forth = self._skip + self.step
            drop = max(0, min(forth - 1, len(kept)))  # one more is kept, for a sensor whose clock is slow
            kept = kept[drop:]
            self._skip = max(0, forth - drop + (self._drifted(ends_at) if self._aligned else 0))
            self._kept = kept
            yield window
        self._kept = kept.copy()  # no view that would hold a large chunk

    def _to_grid(self, at_unix_s: float, count: int) -> int:
        """Samples to omit so that the first window ends on the grid."""
        ends = at_unix_s * self._rate_hz - count + self._length
        return max(0, round(math.ceil(ends / self.step - 1e-6) * self.step - ends))

    def _drifted(self, ends_at: float) -> int:
        """Samples by which the next window is to begin later (or, -1, earlier), to keep to the grid."""
        ends = ends_at * self._rate_hz
        late = ends - round(ends / self.step) * self.step
        return 0 if abs(late) < 1 else (-1 if late > 0 else 1)


class RegularWindows:
    """Windows of a signal whose rate is known.

    Args:
        rate_hz: The sensor's samples per second.
        frame: What the model takes.
        overlap: Part of a window that the next one shares.
        aligned: As `Cutter` has it.
    """

    def __init__(self, rate_hz: float, frame: FrameSpec, overlap: float, *, aligned: bool) -> None:
        self._given_hz = rate_hz
        self._resampler = Resampler(rate_hz, frame.rate_hz)
        self._cutter = Cutter(frame, overlap, aligned=aligned)
        self._gap_s = max(MIN_GAP_S, frame.samples / frame.rate_hz / 2)
        self._start: float | None = None  # wall clock of the first sample
        self._came = self._made = 0

    def push(self, samples: Samples, at_unix_s: float) -> Iterator[SignalWindow]:
        """A chunk ``(n, channels)`` whose last sample is of this time."""
        if not len(samples):
            return
        late = math.inf
        if self._start is not None:
            late = at_unix_s - (self._start + (self._came + len(samples) - 1) / self._given_hz)
        if self._start is None or abs(late) > self._gap_s:
            self._begin(at_unix_s - (len(samples) - 1) / self._given_hz)
        else:  # a chunk can be delayed, but it cannot come before its time
            self._start += late * (1 if late < 0 else min(1, len(samples) / self._given_hz / DRIFT_S))
        self._came += len(samples)
        yield from self._cut(self._resampler.push(samples))

    def end(self) -> Iterator[SignalWindow]:
        """The windows that the last samples make, once nothing follows."""
        rest = self._resampler.end()
        if rest is not None:
            yield from self._cut(rest)

    def _begin(self, start: float) -> None:
        self._start, self._came, self._made = start, 0, 0
        self._resampler.reset()
        self._cutter.reset()

    def _cut(self, made: Samples) -> Iterator[SignalWindow]:
        if self._start is None or not len(made):
            return
        self._made += len(made)
        yield from self._cutter.push(made, self._start + (self._made - 1) * self._resampler.step_s)


class HeldWindows:
    """Windows of readings that come when they please: each holds until the next one.

    After a silence only the newest window is made of what was held; after a longer one than a reading holds, the next
    reading begins a new window.

    Args:
        frame: What the model takes.
        overlap: Part of a window that the next one shares.
        aligned: As `Cutter` has it.
    """

    def __init__(self, frame: FrameSpec, overlap: float, *, aligned: bool) -> None:
        self._rate_hz, self._length = frame.rate_hz, frame.samples
        self._cutter = Cutter(frame, overlap, aligned=aligned)
        self._hold_s = max(MIN_HOLD_S, frame.samples / frame.rate_hz)
        self._last: Samples | None = None
        self._heard_at = 0.0
        self._next = 0  # number of the next sample, counted from 1970

    def push(self, samples: Samples, at_unix_s: float) -> list[SignalWindow]:
        """One reading ``(1, channels)``, or none ``(0, channels)``: time goes on."""
        if self._last is not None and not 0 <= at_unix_s - self._heard_at <= self._hold_s:
            self._last = None  # it was away, or the clock was set back
            self._cutter.reset()
        until = math.floor(at_unix_s * self._rate_hz)
        windows = [] if self._last is None else self._held(self._last, until)
        if len(samples):
            if self._last is None:
                self._next = until
            self._last, self._heard_at = samples[-1:], at_unix_s
        return windows

    def _held(self, last: Samples, until: int) -> list[SignalWindow]:
        """Samples of the last reading, up to a number (that one not: it is the next reading's)."""
        count = until - self._next
        if count <= 0:
            return []
        whole = self._length + self._cutter.step
        if count > whole:  # older windows are useless by now
            self._cutter.reset()
            self._next += (count - whole) // self._cutter.step * self._cutter.step
            count = until - self._next
        self._next = until
        windows = list(self._cutter.push(np.repeat(last, count, axis=0), (until - 1) / self._rate_hz))
        return windows[-1:] if count >= self._length else windows
