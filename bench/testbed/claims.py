"""What is asked of the coordinator, and whether the figures meet it."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from bench.testbed.log import Figures

Row = dict[str, Any]
REGRET, TO_SINGLE, PREDICTION = 1.05, 1.05, 0.10
REACTION_S, REACTION_FRAMES = 1.0, 5
#: A plan that is better by less is not worth a change to the coordinator (`tiercut.coordinator.hysteresis`).
WORTH = 0.10
#: With busy cores: part of the steps that must be answered in time, and changes of plan in `CALM_S` on a steady site.
MOSTLY = 0.90
CALM, CALM_S = 6, 600.0


@dataclass(frozen=True, slots=True)
class Claim:
    """One of them.

    Attributes:
        asked: What is asked.
        came: What was measured.
        met: Whether that is enough.
    """

    asked: str
    came: str
    met: bool


def claims(figures: Figures) -> list[Claim]:
    """All that the figures say something of."""
    made = [
        *_of_grid(figures.of("grid")),
        *_of_steps([step for step in figures.of("steps") if not step["busy"]]),
        *_of_busy_steps([step for step in figures.of("steps") if step["busy"]]),
        *_of_frames([*figures.of("frames"), *figures.of("noise")]),
        *_of_switches(figures.of("switches")),
    ]
    return made + [_of_noise(row) for row in figures.of("noise")]


def _of_grid(cells: Sequence[Row]) -> Iterable[Claim]:
    if not cells:
        return
    regrets = [c["regret"] for c in cells]
    regret = statistics.median(regrets)
    came = f"{regret:.3f} over {len(cells)} cells, worst {max(regrets):.2f}"
    yield Claim(
        f"latency of the chosen plan at most {REGRET} x the best of those measured, median", came, regret <= REGRET
    )
    slower = sum(1 for c in cells if c["to_best_single"] > TO_SINGLE)
    came = f"{slower} of {len(cells)} cells are, worst {max(c['to_best_single'] for c in cells):.2f} x"
    yield Claim("never more than 5 % slower than the best single tier", came, not slower)
    errors = [abs(c["predicted_ms"] / c["steady_ms"] - 1) for c in cells if c["predicted_ms"] and c["steady_ms"]]
    if errors:
        error = statistics.median(errors)
        came = f"{100 * error:.1f} %, worst {100 * max(errors):.0f} %"
        yield Claim("predicted against measured latency: median error at most 10 %", came, error <= PREDICTION)


def _of_steps(steps: Sequence[Row]) -> Iterable[Claim]:
    worse = [step for step in steps if needs_plan(step)]
    for hurt, which in ((True, "that slow the plan down"), (False, "elsewhere, while another plan is better")):
        mine = [step for step in worse if step["affected"] == hurt]
        soon = sum(1 for step in mine if in_time(step))
        asked = f"new plan within {REACTION_S:g} s or {REACTION_FRAMES} frames after steps {which}"
        if mine:
            yield Claim(asked, f"after {soon} of {len(mine)}", soon == len(mine))
    if not worse:
        return
    good = sum(1 for step in worse if step["end_true_ms"] <= (1 + WORTH) * step["best_true_ms"])
    asked = "(not asked) the plan that a step ends with is within 10 % of the best by true figures"
    yield Claim(asked, f"after {good} of {len(worse)}", good == len(worse))


def _of_busy_steps(steps: Sequence[Row]) -> Iterable[Claim]:
    worse = [step for step in steps if needs_plan(step)]
    if not worse:
        return
    soon = sum(map(in_time, worse))
    asked = f"cores busy: new plan within {REACTION_S:g} s or {REACTION_FRAMES} frames after {MOSTLY:.0%} of the steps"
    yield Claim(asked, f"after {soon} of {len(worse)}", soon >= MOSTLY * len(worse))
    over = [step["end_true_ms"] / step["best_true_ms"] - 1 for step in worse]
    good = sum(1 for each in over if each <= WORTH)
    came = f"after {good} of {len(worse)}, worst {max(over):.0%} above"
    yield Claim("cores busy: a step ends with a plan within 10 % of the best, by hand", came, good == len(worse))


def _of_frames(runs: Sequence[Row]) -> Iterable[Claim]:
    if runs:
        names = ("lost", "doubled", "out_of_order")
        wrong = {name: sum(run[name] for run in runs) for name in names}
        said = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in wrong.items())
        came = f"{said} of {sum(run['frames'] for run in runs)}"
        yield Claim("0 frames lost, doubled or out of order", came, not any(wrong.values()))


def _of_switches(switches: Sequence[Row]) -> Iterable[Claim]:
    late = [each["excess_ms"] for each in switches if each["excess_ms"] is not None]
    loads = [each["load_ms"] for each in switches if each["load_ms"] is not None]
    if late and loads:
        over = sum(1 for excess in late if excess > max(loads))
        came = f"at {over} of {len(late)} changes one was, by {max(late):.0f} ms at most"
        asked = f"no frame at a change delayed by more than one segment's load (longest: {max(loads):.0f} ms)"
        yield Claim(asked, came, not over)


def _of_noise(row: Row) -> Claim:
    unpaid = sum(1 for change in row["changes"] if not change["paid"])
    came = f"{len(row['changes'])} changes, {unpaid} did not pay"
    cores = "cores busy: " if row["busy"] else ""
    if row["swing"]:
        asked = f"{cores}noise of ±{row['swing']:.0%} for {row['seconds']:g} s causes no change of plan unless it pays"
        return Claim(asked, came, not unpaid)
    most = CALM * row["seconds"] / CALM_S
    asked = f"{cores}steady site for {row['seconds']:g} s: no change of plan that does not pay, at most {most:g} in all"
    return Claim(asked, came, not unpaid and len(row["changes"]) <= most)


def needs_plan(step: Row) -> bool:
    """Whether a step makes a plan better than the one that was followed, by so much that a change is due."""
    before = step["before_true_ms"]
    return before is not None and step["best_true_ms"] < (1 - WORTH) * before


def in_time(step: Row) -> bool:
    """Whether a new plan came in time."""
    if step["reaction_s"] is None or step["reaction_frames"] is None:
        return False
    return bool(step["reaction_s"] <= REACTION_S or step["reaction_frames"] <= REACTION_FRAMES)
