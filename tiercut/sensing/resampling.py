"""From a sensor's rate to the model's, chunk by chunk and without seams: what comes out does not depend on the chunks.

Going down, and going up in sound, a low-pass filter of windowed sinc, one set of weights per phase (Crochiere and
Rabiner, 1983, chapter 4). Going up from a slow sensor, straight lines from sample to sample: a filter would answer
after several of the sensor's samples, and ring at steps.

Why not a library: `soxr` in streaming gives its first sample of 100 to 50 Hz after 982 to 1,890 samples, 10 to 19
seconds (1.1.0, measured 2026-11-21), and SciPy's are for whole arrays. This one waits for `ZEROS` samples of the slower
rate: 0.24 s at 50 Hz, 0.75 ms at 16 kHz.
"""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

#: Zero crossings of the sinc on each side, and the shape of its window. From 100 to 50 Hz a tone of 20 Hz keeps 90 % of
#: its size, one of 26 Hz, which would fold back, is 43 dB down, and one of 28 Hz 67 dB (measured 2026-11-21).
ZEROS, KAISER = 12, 6.0
#: Where the filter's edge is, in parts of the highest frequency that the slower rate can carry.
EDGE = 0.9
#: Sensors of at least this many samples per second are sound: they are filtered when upsampled as well.
SOUND_HZ = 1000.0
#: Sets of weights at most, and so the denominator of the ratio that stands for the two rates. Ten times as many samples
#: a second or more have fewer, as each set is longer; 44.1 to 16 kHz takes 160. Rates are met to 0.05 %.
MAX_PHASES = 1000
#: Rates that are further apart have nothing to do with each other.
MAX_RATIO = 1000.0
#: Numbers that are gathered at once.
BLOCK = 1 << 20

Samples = NDArray[np.float32]


class Resampler:
    """Samples at one rate in, samples at another out; the first sample out stands at the time of the first one in.

    Args:
        given_hz: Samples per second that come.
        wanted_hz: Samples per second that go.
    """

    def __init__(self, given_hz: float, wanted_hz: float) -> None:
        ratio = min(max(given_hz / wanted_hz, 1 / MAX_RATIO), MAX_RATIO)
        self._step = Fraction(ratio).limit_denominator(int(MAX_PHASES / max(1.0, ratio / 10)))
        self._weights = _weights(self._step, filtered=self._step > 1 or given_hz >= SOUND_HZ)
        #: Seconds from one sample out to the next.
        self.step_s = float(self._step) / given_hz
        self._half = self._weights.shape[1] // 2
        self.reset()

    def reset(self) -> None:
        """Begin again: the next sample has nothing to do with those before."""
        self._kept: Samples | None = None
        self._base = 0  # number of the first kept sample, counted from the first that came
        self._next = 0  # number of the next sample out

    def push(self, samples: Samples) -> Samples:
        """Samples ``(n, channels)`` that follow on those before; gives those that can be told by now."""
        if self._step == 1 or not len(samples):
            return samples
        if self._kept is None:
            self._base = 1 - self._half
            self._kept = np.repeat(samples[:1], self._half - 1, axis=0)
        kept = np.concatenate([self._kept, samples])
        end = self._base + len(kept) - self._half  # number of the last sample that has all its neighbours
        count = max(0, math.ceil(end / self._step) - self._next)
        made = self._made(kept, self._next, count)
        self._next += count
        drop = max(0, math.floor(self._next * self._step) + 1 - self._half - self._base)
        self._kept, self._base = kept[drop:].copy(), self._base + drop
        return made

    def end(self) -> Samples | None:
        """The last samples, once nothing follows; ``None`` where there never was one."""
        if self._kept is None or self._step == 1:
            return None
        return self.push(np.repeat(self._kept[-1:], self._half, axis=0))

    def _made(self, kept: Samples, first: int, count: int) -> Samples:
        if not count:
            return kept[:0]
        block = max(1, BLOCK // (2 * self._half * kept.shape[1]))
        ends = range(first, first + count, block)
        return np.concatenate([self._block(kept, k, min(block, first + count - k)) for k in ends])

    def _block(self, kept: Samples, first: int, count: int) -> Samples:
        places = np.arange(first, first + count) * self._step.numerator  # in parts of a sample
        starts = places // self._step.denominator + 1 - self._half - self._base
        weights = self._weights[places % self._step.denominator]  # [count, taps]
        taken = np.lib.stride_tricks.sliding_window_view(kept, 2 * self._half, axis=0)[
            starts
        ]  # [count, channels, taps]
        made: Samples = np.einsum("ict,it->ic", taken, weights).astype(np.float32)
        return made


def _weights(step: Fraction, *, filtered: bool) -> NDArray[np.float64]:
    """``(phases, taps)``: what each neighbour counts for a sample out that stands so far behind the middle one."""
    behind = np.arange(step.denominator)[:, None] / step.denominator
    if not filtered:
        return np.concatenate([1 - behind, behind], axis=1)
    edge = EDGE * min(1.0, 1 / float(step))
    half = math.ceil(ZEROS * max(1.0, float(step)))
    apart = np.arange(1 - half, half + 1) - behind
    window = np.i0(KAISER * np.sqrt(np.maximum(0, 1 - (apart / half) ** 2))) / np.i0(KAISER)
    weights = np.sinc(edge * apart) * window
    normal: NDArray[np.float64] = weights / weights.sum(axis=1, keepdims=True)
    return normal
