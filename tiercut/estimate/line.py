"""A line through transfers, ``seconds = fixed_s + bytes * byte_s``, with a prior and without faith in outliers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

#: Residuals beyond this many standard deviations count less (Huber 1964; 95 % efficient on normal noise at 1.345).
_HUBER = 1.345
_ROUNDS = 5
#: No link of ours is faster than 100 Gbit/s.
_MIN_BYTE_S = 8e-11


class Point(NamedTuple):
    """One transfer: ``seconds = fixed * fixed_s + bytes * byte_s``, give or take ``sigma_s``.

    ``fixed`` is 0 for a transfer that waited for the one before it: its time has no latency in it.
    """

    fixed: float
    bytes: int
    seconds: float
    sigma_s: float


@dataclass(frozen=True, slots=True)
class Line:
    """Mean and covariance of ``(fixed_s, byte_s)``."""

    fixed_s: float
    byte_s: float
    fixed_var: float
    byte_var: float
    both_cov: float = 0.0

    def seconds(self, payload_bytes: int, *, fixed: float = 1.0) -> float:
        """Time of a transfer."""
        return fixed * self.fixed_s + payload_bytes * self.byte_s

    def std_s(self, payload_bytes: int) -> float:
        """Standard deviation of that time: small where transfers of this size were seen, whatever the split is."""
        variance = self.fixed_var + payload_bytes**2 * self.byte_var + 2 * payload_bytes * self.both_cov
        return math.sqrt(max(0.0, variance))


def fit(points: Sequence[Point], prior: Line) -> Line:
    """Bayesian least squares with Huber's weights.

    Where all points have one size they say only what the sum is: the prior's covariance then decides the split, which
    leaves what it is sure of as it was. Both parts stay positive.
    """
    line = prior
    for _ in range(_ROUNDS):
        before, line = line, _better(line, points, prior)
        if line == before:
            break
    return line


def _better(line: Line, points: Sequence[Point], prior: Line) -> Line:
    """Posterior of a normal prior: information matrices add up. A point weighs 1 / s², less where it is far off."""
    line_fixed_s, line_byte_s = line.fixed_s, line.byte_s
    determinant = prior.fixed_var * prior.byte_var - prior.both_cov**2
    a, b, c = prior.byte_var / determinant, -prior.both_cov / determinant, prior.fixed_var / determinant
    u, v = a * prior.fixed_s + b * prior.byte_s, b * prior.fixed_s + c * prior.byte_s
    for fixed, size, seconds, sigma_s in points:  # each result is the occasion of a fit, hence no calls in here
        off = abs(seconds - (fixed * line_fixed_s + size * line_byte_s)) / sigma_s
        weight = (1.0 if off <= _HUBER else _HUBER / off) / sigma_s**2
        a += weight * fixed * fixed
        b += weight * fixed * size
        c += weight * size * size
        u += weight * fixed * seconds
        v += weight * size * seconds
    determinant = a * c - b * b
    fixed_s, byte_s = (c * u - b * v) / determinant, (a * v - b * u) / determinant
    if fixed_s < 0:  # the best line with both parts positive lies on the border
        fixed_s, byte_s = 0.0, v / c
    if byte_s < _MIN_BYTE_S:
        fixed_s, byte_s = max(0.0, (u - b * _MIN_BYTE_S) / a), _MIN_BYTE_S
    return Line(fixed_s, byte_s, c / determinant, a / determinant, -b / determinant)
