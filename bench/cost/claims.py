"""What is to be reached, and whether the figures reach it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median

from bench.cost.figures import (
    Figures,
    Turns,
    beyond_s,
    complete,
    cpu_ratio,
    over_rounds,
    overhead_ratio,
    p50_s,
    paired,
    tail_ratio,
)
from bench.cost.rivals.table import RIVALS

CPU, OVERHEAD_QUIET, OVERHEAD_BUSY, TAIL = 1.3, 1.2, 1.5, 2.0
HUB_MS, IDLE_PERCENT, FULL_SPEED, DEVICE_MB, COLD_S = 0.3, 0.5, 0.95, 90.0, 1.5
#: The bare version has no back-pressure: frames that take this long have waited for each other.
BACKLOG_S = 0.3


@dataclass(frozen=True, slots=True)
class Claim:
    """One of them: what, as measured, what to reach, and whether that is met."""

    what: str
    came: str
    to_reach: str
    met: bool


def claims(figures: Figures) -> list[Claim]:
    """All that the figures say something of."""
    made = [claim for turns in complete(figures) for claim in _of_turns(turns)]
    return [*made, *_of_idle(figures), *_of_full_speed(figures), *_of_hop(figures), *_of_nodes(figures)]


def _of_turns(turns: Turns) -> Iterable[Claim]:
    ours, bare = turns.measured["tiercut"], turns.measured["bare"]
    beside = f"{turns.busy} busy beside" if turns.busy else "quiet"
    cpu = paired(ours, bare, cpu_ratio)
    yield Claim(
        f"CPU per frame beyond model and codecs, against bare ({beside})", f"{cpu:.2f} x", "≤ 1.3 x", cpu <= CPU
    )
    overhead, limit = paired(ours, bare, overhead_ratio), OVERHEAD_BUSY if turns.busy else OVERHEAD_QUIET
    what = f"overhead of three hops, p50, against bare ({beside})"
    behind_s = over_rounds(bare, lambda each: p50_s(each, lambda f: f.end_to_end_s))
    if behind_s > BACKLOG_S:
        came = f"no figure: bare's frames took {behind_s * 1e3:.0f} ms, as they came faster than they went; lower --fps"
        yield Claim(what, came, f"≤ {limit:g} x", met=False)
    else:
        yield Claim(what, f"{overhead:.2f} x", f"≤ {limit:g} x", overhead <= limit)
    if not turns.busy:
        tail = over_rounds(ours, tail_ratio)
        yield Claim("p99 of end to end, quiet", f"{tail:.2f} x p50", "≤ 2 x p50", tail <= TAIL)
    hub_ms = over_rounds(ours, lambda each: each.spent["hub"].cpu_s) * 1e3
    yield Claim(f"hub's CPU per frame ({beside})", f"{hub_ms:.2f} ms", "≤ 0.3 ms", hub_ms <= HUB_MS)


def _of_idle(figures: Figures) -> Iterable[Claim]:
    percent = {name: each.cpu_s * 100 for name, each in figures.idle.items() if name != "mosquitto"}
    if percent:
        came = ", ".join(f"{name} {value:.2f}" for name, value in percent.items())
        met = all(value <= IDLE_PERCENT for value in percent.values())
        yield Claim("idle CPU of each program, % of a core", came, "≤ 0.5 each", met)


def _of_full_speed(figures: Figures) -> Iterable[Claim]:
    if figures.full_speed:
        share = median(ours / most for ours, most in figures.full_speed)
        yield Claim(
            "throughput with even parts, against what the cores can do", f"{share:.2f}", "≥ 0.95", share >= FULL_SPEED
        )


def _of_hop(figures: Figures) -> Iterable[Claim]:
    if figures.hop is None or "tiercut" not in figures.hop.measured:
        return
    rows = {name: hop_row(figures.hop, name) for name in figures.hop.measured}
    rivals = {name: row for name, row in rows.items() if name in RIVALS}
    ours = rows["tiercut"]
    for index, what in enumerate(("CPU per frame beyond model and codecs, both ends", "latency minus work, p50")):
        values = {name: row[index] for name, row in rivals.items()}
        came = f"{ours[index]:.2f} ms; " + ", ".join(f"{name} {value:.2f}" for name, value in values.items())
        met = bool(values) and all(ours[index] < value for value in values.values())
        yield Claim(f"one hop: {what}", came, f"below all {len(RIVALS)}", met and len(values) == len(RIVALS))


def hop_row(hop: Turns, name: str) -> tuple[float, float, float]:
    """Milliseconds per frame: CPU of both ends beyond model and codecs, latency minus work, CPU of all others."""
    rounds = hop.measured[name]
    ends = ("client", "server") if name in RIVALS else ("device", "cloud")
    beyond = over_rounds(rounds, lambda each: beyond_s(each, ends))
    others = over_rounds(rounds, lambda each: sum(s.cpu_s for who, s in each.spent.items() if who not in ends))
    return beyond * 1e3, over_rounds(rounds, lambda each: p50_s(each, lambda f: f.overhead_s)) * 1e3, others * 1e3


def _of_nodes(figures: Figures) -> Iterable[Claim]:
    turns = complete(figures)
    if turns:
        quiet = turns[0].measured["tiercut"]
        device_mb = quiet[-1].resident_mb["device"]
        yield Claim("device node's memory", f"{device_mb:.0f} MB", "≤ 90 MB", device_mb <= DEVICE_MB)
    if figures.cold_s:
        came = ", ".join(f"{node} {seconds:.2f} s" for node, seconds in figures.cold_s.items())
        met = all(seconds <= COLD_S for seconds in figures.cold_s.values())
        yield Claim("cold start: a node's process to its first frame's result", came, "≤ 1.5 s each", met)
