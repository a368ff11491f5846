"""Two pictures of the grid: a map of accuracy per strategy, and accuracy over the deadline per bandwidth."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.deadlines.claims import Cell
from bench.deadlines.report import axis
from bench.deadlines.strategies import COORDINATOR, STRATEGIES
from tiercut.errors import SettingsError

#: As in the simulator's pictures.
COLOURS: Mapping[str, str] = {
    "tiercut": "#d62728",
    "device-only": "#9a9a9a",
    "cloud-only": "#76b7b2",
    "edgent": "#b07aa1",
}
MAPS, LINES = "deadlines-maps.png", "deadlines-lines.png"


def draw(cells: Sequence[Cell], folder: Path) -> tuple[Path, Path]:
    """Write both into a folder.

    Raises:
        SettingsError: matplotlib is not there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    maps, lines = folder / MAPS, folder / LINES
    _maps(cells).savefig(maps, dpi=110)
    _lines(cells).savefig(lines, dpi=110)
    return maps, lines


def _maps(cells: Sequence[Cell]) -> Any:
    """A map per strategy: the darker, the more frames are right in time."""
    deadlines, rates = axis(cells, "deadline_ms"), axis(cells, "mbps")
    figure = _figure((3.4 * len(STRATEGIES), 3.4))
    for axes, strategy in zip(figure.subplots(1, len(STRATEGIES), sharey=True), STRATEGIES, strict=True):
        found = {(c["mbps"], c["deadline_ms"]): c["accuracy"] for c in cells if c["strategy"] == strategy}
        values = [[found.get((rate, deadline), float("nan")) for deadline in deadlines] for rate in rates]
        image = axes.imshow(values, origin="lower", aspect="auto", vmin=0, vmax=1, cmap="viridis")
        axes.set_title(strategy)
        axes.set_xticks(range(len(deadlines)), [f"{each:g}" for each in deadlines], rotation=90)
        axes.set_yticks(range(len(rates)), [f"{each:g}" for each in rates])
        axes.set_xlabel("deadline, ms")
    figure.axes[0].set_ylabel("Mbit/s")
    figure.colorbar(image, ax=figure.axes, label="right in time")
    return figure


def _lines(cells: Sequence[Cell]) -> Any:
    """A panel per bandwidth, a line per strategy."""
    rates = axis(cells, "mbps")
    columns = min(3, len(rates))
    rows = -(-len(rates) // columns)
    figure = _figure((4.2 * columns, 3.0 * rows))
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for axes, rate in zip(panels, rates, strict=False):
        for strategy in STRATEGIES:
            mine = sorted(
                (c["deadline_ms"], c["accuracy"]) for c in cells if (c["strategy"], c["mbps"]) == (strategy, rate)
            )
            bold = strategy == COORDINATOR
            axes.plot(
                [deadline for deadline, _ in mine],
                [accuracy for _, accuracy in mine],
                color=COLOURS[strategy],
                label=strategy,
                marker="o",
                markersize=4 if bold else 3,
                linewidth=2.0 if bold else 1.2,
                zorder=3 if bold else 2,
            )
        axes.set_title(f"{rate:g} Mbit/s")
        axes.set_ylim(-0.02, 1.02)
        axes.set_xscale("log")
        axes.set_xticks([], minor=True)
        axes.set_xticks(deadlines := axis(cells, "deadline_ms"), [f"{each:g}" for each in deadlines], rotation=90)
        axes.grid(alpha=0.3)
    panels[0].legend(fontsize="small")
    figure.supxlabel("deadline, ms")
    figure.supylabel("right in time")
    return figure


def _figure(size: tuple[float, float]) -> Any:
    try:
        return importlib.import_module("matplotlib.figure").Figure(figsize=size, layout="constrained")
    except ImportError as error:
        raise SettingsError(
            "the pictures cannot be drawn",
            expected="the package matplotlib",
            came="none",
            fix="run 'pip install matplotlib', or omit --out",
        ) from error
