"""A figure that changes over time in steps, and the generators that make such traces from a seed."""

from __future__ import annotations

import bisect
import csv
import itertools
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from tiercut.errors import SettingsError
from tiercut.planner.problem import MAX_NUMBER, Amount, Positive
from tiercut.planner.reading import Reader

READER = Reader("scenario")

#: Most values that a trace is drawn of.
MAX_VALUES = 1_000_000

Points = Annotated[
    list[tuple[Amount, Amount]],
    Meta(min_length=1, description="a list of pairs [seconds, value] or [start, end]"),
]


@dataclass(frozen=True, slots=True)
class Trace:
    """A value that holds from each time to the next; the last one holds forever.

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
                "a trace is not valid",
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


@dataclass(frozen=True, slots=True)
class Making:
    """What generators of traces are given.

    Attributes:
        where: Name of the field, for errors.
        seed: Of this trace alone, so that traces are independent of each other and of their order.
        duration_s: How far generators go.
        folder: Where a file is looked for.
    """

    where: str
    seed: str
    duration_s: float
    folder: Path

    def times(self, every_s: float) -> list[float]:
        """Seconds from 0 on, in steps.

        Raises:
            SettingsError: these are too many.
        """
        if not self.duration_s / every_s <= MAX_VALUES:
            READER.refuse(f"{self.where}.every", f"steps of which {MAX_VALUES} last as long as the scenario", every_s)
        return [step * every_s for step in range(math.ceil(self.duration_s / every_s))]

    def draw(self) -> random.Random:
        """Chance, repeatable."""
        return random.Random(self.seed)  # noqa: S311 - a model of chance


def trace_of(spec: object, where: str, *, seed: str, duration_s: float, folder: Path) -> Trace:
    """The trace that a scenario's field describes: a number, or a table with ``kind``.

    Args:
        spec: What the file says.
        where: As of `Making`, like the others.
        seed: The same.
        duration_s: The same.
        folder: The same.

    Raises:
        SettingsError: it describes none.
    """
    if isinstance(spec, (int, float)) and not isinstance(spec, bool):
        if not 0 <= spec <= MAX_NUMBER:
            READER.refuse(where, f"a number of 0 to {MAX_NUMBER:g}", spec)
        return constant(float(spec))
    kind = spec.get("kind") if isinstance(spec, dict) else None
    if not isinstance(kind, str) or kind not in KINDS:
        READER.refuse(where, f"a number, or a table with kind = one of {', '.join(KINDS)}", spec)
    generator = READER.read(spec, KINDS[kind], where)
    return generator.trace(Making(where, seed, duration_s, folder))


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
        READER.refuse(str(path), "a CSV file with a header and the columns seconds, value", str(error))
    return Trace(tuple(time for time, _ in rows), tuple(value for _, value in rows))


class Generator(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag=str.lower):
    """What a scenario may say of a trace."""

    def trace(self, making: Making) -> Trace:
        """The trace."""
        raise NotImplementedError  # abstract: a Struct has a metaclass of its own, which is not ABC's


class Steps(Generator, frozen=True):
    """``points``: [seconds, value], each until the next."""

    points: Points

    def trace(self, making: Making) -> Trace:
        """Those points."""
        points = _in_order(self.points, making.where)
        return Trace(tuple(time for time, _ in points), tuple(value for _, value in points))


class Ramp(Generator, frozen=True):
    """``points``: [seconds, value], straight lines between, in steps of ``every`` seconds."""

    points: Points
    every: Positive = 1.0

    def trace(self, making: Making) -> Trace:
        """Values on those lines."""
        points = _in_order(self.points, making.where)
        times = making.times(self.every)
        return Trace(tuple(times), tuple(_between(points, time) for time in times))


class Fluctuating(Generator, frozen=True):
    """An Ornstein-Uhlenbeck process of the logarithm: ``median``, ``sigma``, ``relax`` seconds, ``least``, ``most``.

    Its exact discretisation (Gillespie, Phys. Rev. E 54, 1996, eq. 3.1), so that ``every`` does not change its law.
    """

    median: Positive
    sigma: Amount = 0.5
    relax: Positive = 10.0
    every: Positive = 1.0
    least: Amount | None = None
    most: Amount | None = None

    def trace(self, making: Making) -> Trace:
        """Drawn from the seed."""
        least = self.median / 10 if self.least is None else self.least
        most = self.median * 10 if self.most is None else self.most
        draw, keep = making.draw(), math.exp(-self.every / self.relax)
        log = self.sigma * draw.gauss(0, 1)
        values: list[float] = []
        times = making.times(self.every)
        for _ in times:
            values.append(min(most, max(least, self.median * math.exp(log))))
            log = keep * log + self.sigma * math.sqrt(1 - keep**2) * draw.gauss(0, 1)
        return Trace(tuple(times), tuple(values))


class Markov(Generator, frozen=True):
    """A Markov chain in continuous time: ``values``, and the mean seconds that it ``stay``-s in each."""

    values: list[Amount]
    stay: list[Positive]

    def trace(self, making: Making) -> Trace:
        """Drawn from the seed."""
        if len(self.values) != len(self.stay) or len(self.values) < 2:  # noqa: PLR2004 - a chain needs two states
            READER.refuse(making.where, "at least two values and as many mean stays", [self.values, self.stay])
        points = list(_jumps(self.values, self.stay, making.draw(), making.duration_s))
        return Trace(tuple(time for time, _ in points), tuple(value for _, value in points))


class Outage(Generator, frozen=True):
    """A trace (``of``) that is 0 ``during`` some spans [start, end)."""

    of: Any
    during: Points

    def trace(self, making: Making) -> Trace:
        """The trace with holes."""
        seed, duration_s, folder = making.seed, making.duration_s, making.folder
        inner = trace_of(self.of, f"{making.where}.of", seed=seed, duration_s=duration_s, folder=folder)
        return cut_out(inner, _in_order(self.during, f"{making.where}.during"))


class Product(Generator, frozen=True):
    """The traces ``of`` a list, multiplied: a rate that fluctuates, times what is left of it in each of some states."""

    of: list[Any]

    def trace(self, making: Making) -> Trace:
        """Their product, each drawn by itself."""
        if not self.of:
            READER.refuse(f"{making.where}.of", "a list of traces", self.of)
        seed, duration_s, folder = making.seed, making.duration_s, making.folder
        factors = [
            trace_of(spec, f"{making.where}.of[{k}]", seed=f"{seed} {k}", duration_s=duration_s, folder=folder)
            for k, spec in enumerate(self.of)
        ]
        times = sorted({time for factor in factors for time in factor.times})
        return Trace(tuple(times), tuple(math.prod(factor.at(time) for factor in factors) for time in times))


class File(Generator, frozen=True):
    """A recorded trace, at a ``path`` beside the scenario."""

    path: str

    def trace(self, making: Making) -> Trace:
        """What the file says."""
        return read_trace(making.folder / self.path)


#: By the name in scenarios.
KINDS: Mapping[str, type[Generator]] = {
    kind.__name__.lower(): kind for kind in (Steps, Ramp, Fluctuating, Markov, Outage, Product, File)
}


def _in_order(pairs: Sequence[tuple[float, float]], where: str) -> Sequence[tuple[float, float]]:
    if any(a >= b for (a, _), (b, _) in itertools.pairwise(pairs)):
        READER.refuse(where, "pairs in the order of time", list(pairs))
    return pairs


def _between(points: Sequence[tuple[float, float]], time: float) -> float:
    for (start_s, start), (end_s, end) in itertools.pairwise(points):
        if start_s <= time < end_s:
            return start + (end - start) * (time - start_s) / (end_s - start_s)
    return points[0][1] if time < points[0][0] else points[-1][1]


def _jumps(
    values: Sequence[float], stay_s: Sequence[float], draw: random.Random, duration_s: float
) -> Iterator[tuple[float, float]]:
    now_s, state = 0.0, 0
    while now_s < duration_s:
        yield now_s, values[state]
        now_s += max(1e-3, draw.expovariate(1 / stay_s[state]))
        state = draw.choice([other for other in range(len(values)) if other != state])
