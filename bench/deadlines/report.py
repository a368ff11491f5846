"""What was measured, as Markdown for ``docs/benchmarks.md``, and whether each claim is met."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bench.deadlines.claims import Cell, claims
from bench.deadlines.strategies import COORDINATOR, STRATEGIES
from bench.testbed.log import Figures
from bench.testbed.report import ms, table


def report(figures: Figures) -> list[str]:
    """All lines."""
    cells = figures.of("cells")
    lines = [f"{name}: {value}" for name, value in figures.about.items()] + [""]
    for strategy in STRATEGIES:
        mine = [cell for cell in cells if cell["strategy"] == strategy]
        if mine:
            lines += [f"accuracy in time, {strategy}", "", *_matrix(mine)]
    lines += _plans([cell for cell in cells if cell["strategy"] == COORDINATOR])
    rows = [(claim.asked, claim.came, "met" if claim.met else "**missed**") for claim in claims(cells)]
    return lines + (table(("claim", "measured", ""), rows) if rows else [])


def axis(cells: Iterable[Cell], name: str) -> list[float]:
    """The values of an axis, ascending."""
    return sorted({float(cell[name]) for cell in cells})


def _matrix(cells: Sequence[Cell]) -> list[str]:
    """Bandwidths down, deadlines across; in brackets where the plan is said to be late."""
    found = {(cell["mbps"], cell["deadline_ms"]): cell for cell in cells}
    deadlines = axis(cells, "deadline_ms")
    rows = []
    for mbps in axis(cells, "mbps"):
        row = [found.get((mbps, deadline)) for deadline in deadlines]
        rows.append((f"{mbps:g}", *("-" if cell is None else _share(cell) for cell in row)))
    return table(("Mbit/s", *(f"{deadline:g} ms" for deadline in deadlines)), rows)


def _share(cell: Cell) -> str:
    said = f"{100 * cell['accuracy']:.0f} %"
    return said if cell["feasible"] else f"({said})"


def _plans(cells: Sequence[Cell]) -> list[str]:
    head = ("Mbit/s", "deadline ms", "plan", "predicted / measured ms", "in time", "accuracy", "no result")
    rows = [
        (
            f"{cell['mbps']:g}",
            f"{cell['deadline_ms']:g}",
            f"`{cell['plan']}`" + ("" if cell["feasible"] else ", late") + ("" if cell["plans"] == 1 else ", changed"),
            f"{ms(cell['predicted_ms'])} / {ms(cell['measured_ms'])}",
            f"{100 * cell['met_share']:.0f} %",
            f"{100 * cell['accuracy']:.0f} %",
            ", ".join(f"{count} {reason}" for reason, count in cell["no_result"].items()) or "-",
        )
        for cell in cells
    ]
    return table(head, rows) if rows else []
