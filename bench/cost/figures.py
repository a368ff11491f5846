"""What the measurements come to: overheads, bases, ratios."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from bench.cost.counters import Spent
from bench.cost.measure import Measured, Traffic
from bench.cost.systems import Frame

#: Programs that a frame visits.
NODES = ("device", "edge", "cloud")


@dataclass
class Turns:
    """All systems, measured in turns while so many other processes compute.

    Attributes:
        busy: Other processes.
        measured: By system, one per round.
    """

    busy: int
    measured: dict[str, list[Measured]] = field(default_factory=dict)


@dataclass
class Figures:
    """All that one run has measured; what was not asked for is empty.

    Attributes:
        idle: By process of tiercut, per second.
        traffic: By system.
        hop: Rivals, and tiercut with one cut.
        full_speed: Rounds of (tiercut's frames per second, what the cores can do).
        cold_s: By node, from its process's start to its first result.
        cpu_by_package: By process of tiercut, share of its CPU time by package.
    """

    about: dict[str, str]
    turns: list[Turns] = field(default_factory=list)
    idle: dict[str, Spent] = field(default_factory=dict)
    traffic: dict[str, Traffic] = field(default_factory=dict)
    hop: Turns | None = None
    full_speed: list[tuple[float, float]] = field(default_factory=list)
    cold_s: dict[str, float] = field(default_factory=dict)
    cpu_by_package: dict[str, dict[str, float]] = field(default_factory=dict)


def complete(figures: Figures) -> list[Turns]:
    """Turns in which each system has been measured: all but those in which a run was broken off."""
    return [turns for turns in figures.turns if {"bare", "tiercut"} <= turns.measured.keys()]


def beyond_s(measured: Measured, names: Iterable[str] = NODES) -> float:
    """CPU seconds per frame of some processes beyond sensor, model and codecs."""
    return sum(measured.spent[name].cpu_s - measured.work_s[name] for name in names if name in measured.work_s)


def overhead_ratio(ours: Measured, bare: Measured) -> float:
    """Medians of what is neither segment nor codec, one by the other."""
    return p50_s(ours, lambda f: f.overhead_s) / p50_s(bare, lambda f: f.overhead_s)


def cpu_ratio(ours: Measured, bare: Measured) -> float:
    """CPU beyond model and codecs of a frame's nodes, one by the other."""
    return beyond_s(ours) / beyond_s(bare)


def tail_ratio(measured: Measured) -> float:
    """99th percentile of end to end over its median."""
    times = [frame.end_to_end_s for frame in measured.frames]
    return float(np.percentile(times, 99)) / statistics.median(times)


def p50_s(measured: Measured, of: Callable[[Frame], float]) -> float:
    """Median over a round's frames."""
    return statistics.median(map(of, measured.frames))


def over_rounds(rounds: Sequence[Measured], of: Callable[[Measured], float]) -> float:
    """Median of a figure over rounds."""
    return statistics.median(map(of, rounds))


def paired(ours: Sequence[Measured], bare: Sequence[Measured], of: Callable[[Measured, Measured], float]) -> float:
    """Median of a ratio over rounds: each round's two systems were measured right after each other."""
    return statistics.median(map(of, ours, bare))


@dataclass(frozen=True, slots=True)
class StageRow:
    """A stage of a frame's way: wall seconds, median and mean over frames."""

    where: str
    kind: str
    p50_s: float
    mean_s: float


def stage_table(frames: Sequence[Frame]) -> list[StageRow]:
    """Where a frame's time goes: its stages in order, those of one node and kind added, and what no stage tells."""
    summed: list[dict[tuple[str, str], float]] = []
    for frame in frames:
        own: dict[tuple[str, str], float] = defaultdict(float)
        for where, kind, seconds in frame.stages:
            own[where, kind] += seconds
        told = sum(seconds for (_, kind), seconds in own.items() if kind != "prepare")
        own["", "no stage"] = frame.end_to_end_s - told
        summed.append(own)
    order = dict.fromkeys(key for own in summed for key in own if key[0])
    rows = [(key, [own.get(key, 0.0) for own in summed]) for key in (*order, ("", "no stage"))]
    return [StageRow(*key, statistics.median(values), statistics.mean(values)) for key, values in rows]
