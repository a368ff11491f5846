"""Lines as they are found in the world: how their rates are drawn, and the figures that they are fitted to.

A *line* is a small file (``examples/scenarios/lines``): a trace as scenarios have them, what it claims to be like, and
where that is from.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from msgspec import Meta

from tiercut.planner.objectives import Floats
from tiercut.planner.problem import Amount, Positive, Share, Text
from tiercut.planner.reading import Reader
from tiercut.simulate.curves import Curve
from tiercut.simulate.traces import Trace, trace_of

READER = Reader("line")
FORMAT = "tiercut-line/1"

#: Figures are of one sample per second, as the published logs have.
SAMPLE_S = 1.0
#: A line is down where it has less than this part of its median.
DOWN = 0.05


class Figures(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a line does, of one sample per second.

    Attributes:
        mean_mbps: Mean rate.
        variation: Standard deviation over the mean.
        relax_seconds: After so long the autocorrelation is below 1/e.
        down_share: Part of the time with less than a twentieth of the median rate.
    """

    mean_mbps: Positive
    variation: Amount
    relax_seconds: Positive
    down_share: Share


class Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A line as its file says it.

    Attributes:
        name: Short.
        group: Which lines it is counted with.
        about: One sentence.
        source: Where its figures are from.
        figures: What the rate is fitted to.
        mbps: How it is drawn: what a scenario may say of a link's rate.
        latency_seconds: The same of its delay.
    """

    format: Annotated[Literal["tiercut-line/1"], Meta(description=f"'{FORMAT}'")]
    name: Text
    group: Text
    about: Text
    source: Text
    figures: Figures
    mbps: Any
    latency_seconds: Any = 0.0

    def trace(self, seed: int, duration_s: float) -> Trace:
        """The rate over time, drawn from a seed."""
        return trace_of(self.mbps, "mbps", seed=f"{seed} {self.name}", duration_s=duration_s, folder=Path())


def read_line(path: Path) -> Line:
    """A line from its file.

    Raises:
        SettingsError: it cannot be read, or a field is wrong.
    """
    try:
        document: Mapping[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        READER.refuse("file", f"TOML at '{path}'", str(error))
    return READER.read(document, Line)


@dataclass(frozen=True, slots=True)
class Measured:
    """The figures of a trace; see `Figures`."""

    mean_mbps: float
    variation: float
    relax_seconds: float
    down_share: float


def measured(trace: Trace, duration_s: float) -> Measured:
    """What a trace does, sampled as published logs are: the mean of each second."""
    rates = np.diff(Curve.of(trace).sum_until(np.arange(0.0, duration_s, SAMPLE_S))) / SAMPLE_S
    mean, deviation = float(rates.mean()), float(rates.std())
    return Measured(
        mean_mbps=mean,
        variation=deviation / mean,
        relax_seconds=_relaxation(rates - mean),
        down_share=float(np.mean(rates < DOWN * np.median(rates))),
    )


def _relaxation(around: Floats) -> float:
    """Seconds until the autocorrelation is below 1/e."""
    variance = float((around**2).mean())
    for lag in range(1, len(around)):
        if float((around[lag:] * around[:-lag]).mean()) < variance / np.e:
            return lag * SAMPLE_S
    return len(around) * SAMPLE_S
