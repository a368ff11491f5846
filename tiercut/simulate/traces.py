"""A figure that changes over time in steps, and the generators that make such traces from a seed."""

from __future__ import annotations

import bisect
import csv
import itertools
import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tiercut.errors import SettingsError
from tiercut.simulate.fields import number, numbers, only, pairs, refuse


@dataclass(frozen=True, slots=True)
class Trace:
    """A value that holds from each time to the next; the last one holds for ever.

    Attributes:
        times: Seconds, increasing from 0.
        values: One per time, finite and not negative.
    """

    times: tuple[float, ...]
    values: tuple[float, ...]

    def __post_init__(self) -> None:
        rising = all(a < b for a, b in itertools.pairwise(self.times))
        valid = all(math.isfinite(value) and value >= 0 for value in self.values)
        if not self.times or self.times[0] != 0 or not rising or not valid or len(self.times) != len(self.values):
            raise SettingsError(
                "a trace does not hold together",
                expected="times that rise from 0, and one finite value >= 0 for each",
                came=f"{list(zip(self.times, self.values, strict=False))[:3]} …",
                fix="correct the trace",
            )

    def at(self, now_s: float) -> float:
        """The value at a time; before 0 the first one."""
        return self.values[max(0, bisect.bisect_right(self.times, now_s) - 1)]

    def mean(self, until_s: float) -> float:
        """Mean over ``[0, until_s)``."""
        ends = [*self.times[1:], math.inf]
        spans = zip(self.values, self.times, ends, strict=True)
        return sum(value * max(0.0, min(end, until_s) - start) for value, start, end in spans) / until_s

    def until_sum(self, start_s: float, amount: float) -> float:
        """When the integral from ``start_s`` on reaches an amount; infinite if it never does."""
        index = max(0, bisect.bisect_right(self.times, start_s) - 1)
        now_s = start_s
        for value, end_s in zip(self.values[index:], [*self.times[index + 1 :], math.inf], strict=True):
            if value and amount <= value * (end_s - now_s):
                return now_s + amount / value
            amount -= value * (end_s - now_s) if value else 0.0
            now_s = end_s
        return math.inf

    def zeros(self) -> tuple[tuple[float, float], ...]:
        """The spans ``[start, end)`` where the value is 0, neighbours joined; the last end may be infinite."""
        found: list[tuple[float, float]] = []
        for value, start_s, end_s in zip(self.values, self.times, [*self.times[1:], math.inf], strict=True):
            if value == 0:
                joined = found and found[-1][1] == start_s
                found[-1:] = [(found[-1][0], end_s)] if joined else [*found[-1:], (start_s, end_s)]
        return tuple(found)


def constant(value: float) -> Trace:
    """A trace that never changes."""
    return Trace((0.0,), (value,))


def trace_of(spec: object, where: str, *, seed: str, duration_s: float, folder: Path) -> Trace:
    """The trace that a scenario's field describes: a number, or a table with ``kind``.

    Args:
        spec: What the file says.
        where: Name of the field, for errors.
        seed: Of this trace alone, so that traces are independent of each other and of their order.
        duration_s: How far generators go.
        folder: Where a ``file`` is looked for.

    Raises:
        SettingsError: it describes none.
    """
    if isinstance(spec, (int, float)) and not isinstance(spec, bool):
        return constant(float(spec))
    if not isinstance(spec, dict) or spec.get("kind") not in KINDS:
        refuse(where, f"a number, or a table with kind = one of {', '.join(KINDS)}", spec)
    if spec["kind"] == "outage":
        only(spec, where, ("kind", "of", "during"))
        inner = trace_of(spec.get("of"), f"{where}.of", seed=seed, duration_s=duration_s, folder=folder)
        return cut_out(inner, pairs(spec.get("during"), f"{where}.during"))
    if spec["kind"] == "file":
        only(spec, where, ("kind", "path"))
        return read_trace(folder / str(spec.get("path")))
    draw = random.Random(seed)  # noqa: S311 - a model of chance, repeatable
    return KINDS[spec["kind"]](spec, where, draw, duration_s)


def cut_out(trace: Trace, spans: Sequence[tuple[float, float]]) -> Trace:
    """The trace with 0 during some spans of time."""
    ends = [end for _, end in spans]
    times = sorted({*trace.times, *(start for start, _ in spans), *ends})
    out = [any(start <= time < end for start, end in spans) for time in times]
    return Trace(tuple(times), tuple(0.0 if none else trace.at(time) for time, none in zip(times, out, strict=True)))


def read_trace(path: Path) -> Trace:
    """A recorded trace: CSV with a header and the columns seconds, value.

    Raises:
        SettingsError: it cannot be read.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = [(float(row[0]), float(row[1])) for row in itertools.islice(csv.reader(file), 1, None) if row]
    except (OSError, ValueError, IndexError) as error:
        refuse(str(path), "a CSV file with a header and the columns seconds, value", error)
    return Trace(tuple(time for time, _ in rows), tuple(value for _, value in rows))


def _steps(spec: Mapping[str, Any], where: str, _: random.Random, __: float) -> Trace:
    """``points``: [seconds, value], each until the next."""
    only(spec, where, ("kind", "points"))
    points = pairs(spec.get("points"), f"{where}.points")
    return Trace(tuple(time for time, _ in points), tuple(value for _, value in points))


def _ramp(spec: Mapping[str, Any], where: str, _: random.Random, duration_s: float) -> Trace:
    """``points``: [seconds, value], straight lines between, in steps of ``every`` seconds."""
    only(spec, where, ("kind", "points", "every"))
    points = pairs(spec.get("points"), f"{where}.points")
    every_s = number(spec, "every", where, default=1.0, above=0.0)
    times = [step * every_s for step in range(math.ceil(duration_s / every_s))]
    return Trace(tuple(times), tuple(_between(points, time) for time in times))


def _between(points: Sequence[tuple[float, float]], time: float) -> float:
    for (start_s, start), (end_s, end) in itertools.pairwise(points):
        if start_s <= time < end_s:
            return start + (end - start) * (time - start_s) / (end_s - start_s)
    return points[0][1] if time < points[0][0] else points[-1][1]


def _fluctuating(spec: Mapping[str, Any], where: str, draw: random.Random, duration_s: float) -> Trace:
    """An Ornstein-Uhlenbeck process of the logarithm: ``median``, ``sigma``, ``relax`` seconds, ``least``, ``most``.

    Its exact discretisation (Gillespie, Phys. Rev. E 54, 1996, eq. 3.1), so that ``every`` does not change its law.
    """
    only(spec, where, ("kind", "median", "sigma", "relax", "every", "least", "most"))
    median = number(spec, "median", where, above=0.0)
    sigma, relax_s = number(spec, "sigma", where, default=0.5), number(spec, "relax", where, default=10.0, above=0.0)
    every_s = number(spec, "every", where, default=1.0, above=0.0)
    least, most = number(spec, "least", where, default=median / 10), number(spec, "most", where, default=median * 10)
    keep = math.exp(-every_s / relax_s)
    log = sigma * draw.gauss(0, 1)
    values: list[float] = []
    for _ in range(math.ceil(duration_s / every_s)):
        values.append(min(most, max(least, median * math.exp(log))))
        log = keep * log + sigma * math.sqrt(1 - keep**2) * draw.gauss(0, 1)
    return Trace(tuple(step * every_s for step in range(len(values))), tuple(values))


def _markov(spec: Mapping[str, Any], where: str, draw: random.Random, duration_s: float) -> Trace:
    """A Markov chain in continuous time: ``values``, and the mean seconds that it ``stay``-s in each."""
    only(spec, where, ("kind", "values", "stay"))
    values, stay_s = numbers(spec.get("values"), f"{where}.values"), numbers(spec.get("stay"), f"{where}.stay")
    if len(values) != len(stay_s) or len(values) < 2 or min(stay_s) <= 0:  # noqa: PLR2004 - a chain needs two states
        refuse(where, "at least two values and as many mean stays > 0", spec)
    points = list(_jumps(values, stay_s, draw, duration_s))
    return Trace(tuple(time for time, _ in points), tuple(value for _, value in points))


def _jumps(
    values: Sequence[float], stay_s: Sequence[float], draw: random.Random, duration_s: float
) -> Iterator[tuple[float, float]]:
    now_s, state = 0.0, 0
    while now_s < duration_s:
        yield now_s, values[state]
        now_s += max(1e-3, draw.expovariate(1 / stay_s[state]))
        state = draw.choice([other for other in range(len(values)) if other != state])


_Generator = Callable[[Mapping[str, Any], str, random.Random, float], Trace]

#: What a scenario may say of a trace; ``outage`` and ``file`` are made by `trace_of` itself.
KINDS: Mapping[str, _Generator] = {
    "steps": _steps,
    "ramp": _ramp,
    "fluctuating": _fluctuating,
    "markov": _markov,
    "outage": _steps,
    "file": _steps,
}
