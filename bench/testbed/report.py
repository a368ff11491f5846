"""What was measured, as Markdown for ``docs/benchmarks.md``, and whether each claim is met."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence

from bench.testbed.claims import Row, claims, needs_plan
from bench.testbed.log import Figures
from bench.testbed.noise import COMPARED

#: Neurosurgeon (Kang et al., ASPLOS 2017, abstract): latency against the cloud-only status quo.
NEUROSURGEON = "3.1x on average, 40.7x at best"


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """A Markdown table, and an empty line."""
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    return [*lines, *(f"| {' | '.join(map(str, row))} |" for row in rows), ""]


def report(figures: Figures) -> list[str]:
    """All lines."""
    lines = [f"{name}: {value}" for name, value in figures.about.items()] + [""]
    if figures.of("grid"):
        lines += grid_lines(figures.of("grid"))
    if figures.of("steps") or figures.of("switches"):
        lines += step_lines(figures)
    for row in figures.of("noise"):
        lines += noise_lines(row)
    rows = [(claim.asked, claim.came, "met" if claim.met else "**missed**") for claim in claims(figures)]
    return lines + (table(("claim", "measured", ""), rows) if rows else [])


def grid_lines(cells: Sequence[Row]) -> list[str]:
    """The cells, and the speed-ups."""
    head = ("model", "edge", "Mbit/s", "chosen plan", "ms", "best by hand", "ms", "regret",
            "device / edge / cloud only ms", "predicted / measured ms", "plans, settled")  # fmt: skip
    rows = [
        (
            c["model"], f"x{c['edge_slowdown']:g}", f"{c['uplink_mbps']:g}", f"`{c['chosen']}`", ms(c["chosen_ms"]),
            "the same" if c["best"] == c["chosen"] else f"`{c['best']}`", ms(c["best_ms"]), f"{c['regret']:.3f}",
            " / ".join(ms(c[f"{kind}-only_ms"]) for kind in ("device", "edge", "cloud")),
            f"{ms(c['predicted_ms'])} / {ms(c['steady_ms'])}",
            f"{c['plans']}, {c['settled_s']:.1f} s" + ("" if c["stayed"] else ", does not stay"),
        )
        for c in cells
    ]  # fmt: skip
    lines = table(head, rows)
    speed = [
        ("with the same codecs", _ratios(cells, "cloud-only_ms")),
        ("raw frames to the cloud, as Neurosurgeon's status quo", _ratios(cells, "cloud_raw_ms")),
    ]
    speed_head = (
        "speed-up over cloud-only",
        "mean",
        "median",
        "least",
        "best",
        "Neurosurgeon, other machines and networks",
    )
    made = [
        (name, *(f"{x:.1f}x" for x in (statistics.mean(r), statistics.median(r), min(r), max(r))), NEUROSURGEON)
        for name, r in speed
        if r
    ]
    return lines + table(speed_head, made)


def step_lines(figures: Figures) -> list[str]:
    """Steps, changes of plan, frames."""
    head = ("step", "latency before ms", "first new plan after", "last one after", "new plans", "plan at the end",
            "by true figures ms (best)" if not figures.of("steps") or not figures.of("steps")[0]["busy"]
            else "by hand ms (best)")  # fmt: skip
    rows = [
        (
            s["step"], ms(s["usual_ms"]), _after(s), "-" if s["settled_s"] is None else f"{s['settled_s']:.2f} s",
            len(s["plans"]), f"`{s['end']}`", f"{ms(s['end_true_ms'])} ({ms(s['best_true_ms'])})",
        )
        for s in figures.of("steps")
    ]  # fmt: skip
    lines = table(head, rows) if rows else []
    return [*lines, *switch_lines(figures.of("switches")), *frame_lines(figures.of("frames"))]


def switch_lines(switches: Sequence[Row]) -> list[str]:
    """What changes of plan cost."""
    head = ("run", "changes", "segment load ms: median, longest", "first frames later than usual by ms: median, most",
            "later frames")  # fmt: skip
    rows = []
    for part in dict.fromkeys(s["part"] for s in switches):
        mine = [s for s in switches if s["part"] == part]
        loads = [s["load_ms"] for s in mine if s["load_ms"] is not None]
        late = [s["excess_ms"] for s in mine if s["excess_ms"] is not None]
        spread = [s["spread_ms"] for s in mine if s["spread_ms"] is not None]
        rows.append((part, len(mine), _middle_most(loads), _middle_most(late), _middle_most(spread)))
    return table(head, rows)


def frame_lines(frames: Sequence[Row]) -> list[str]:
    """What became of all frames."""
    head = ("run", "frames", "lost", "doubled", "out of order", "dropped", "fallbacks")
    return table(head, ([f["part"], *(f[k.replace(" ", "_")] for k in head[1:])] for f in frames))


def noise_lines(row: Row) -> list[str]:
    """The noise, and each change of plan under it."""
    about = f"±{row['swing']:.0%} about" if row["swing"] else "steady at"
    said = (
        f"{about} {row['mbps']:g} Mbit/s for {row['seconds']:g} s: {len(row['changes'])} changes of plan, "
        f"median {ms(row['median_ms'])} ms, lost {row['lost']}, doubled {row['doubled']}, "
        f"out of order {row['out_of_order']}"
    )
    head = ("change to", "reason", f"before ms, median of {COMPARED}", "after ms", "paid")
    rows = [
        (f"`{c['plan']}`", c["reason"], ms(c["before_ms"]), ms(c["after_ms"]), "yes" if c["paid"] else "no")
        for c in row["changes"]
    ]
    return [said, "", *(table(head, rows) if rows else [])]


def ms(value: float | None) -> str:
    """Milliseconds, as precise as they are."""
    return "-" if value is None else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def _ratios(cells: Sequence[Row], name: str) -> list[float]:
    return [c[name] / c["chosen_ms"] for c in cells if c[name] is not None]


def _after(step: Row) -> str:
    if step["reaction_s"] is None:
        return "none" if needs_plan(step) else "none needed"
    return f"{step['reaction_s']:.2f} s, {step['reaction_frames']} frames"


def _middle_most(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.1f}, {max(values):.1f}" if values else "-"
