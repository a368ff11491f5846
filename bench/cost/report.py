"""What was measured, as Markdown tables for ``docs/benchmarks.md``."""

from __future__ import annotations

import dataclasses
import functools
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bench.cost.broker_log import Messages
from bench.cost.claims import claims, hop_row
from bench.cost.counters import Spent
from bench.cost.figures import (
    NODES,
    Figures,
    Turns,
    beyond_s,
    complete,
    over_rounds,
    p50_s,
    stage_table,
    tail_ratio,
)
from bench.cost.measure import Traffic
from bench.cost.rivals.table import RIVALS
from bench.testbed.report import table

TITLES = {"whole": "whole model, one process", "bare": "bare", "tiercut": "tiercut"}
#: Smaller shares of a process's CPU time are added up.
LEAST_SHARE = 0.02


def report(figures: Figures) -> list[str]:
    """All tables."""
    lines = [f"{name}: {value}" for name, value in figures.about.items()] + [""]
    for turns in complete(figures):
        lines += process_lines(turns, figures.traffic if turns is figures.turns[0] else {})
        lines += latency_lines(turns)
        lines += stage_lines(turns)
    if figures.idle:
        lines += idle_lines(figures.idle)
    if figures.cpu_by_package:
        lines += package_lines(figures)
    if figures.hop is not None:
        lines += hop_lines(figures.hop)
    if figures.full_speed:
        lines += full_speed_lines(figures.full_speed)
    rows = [(c.what, c.came, c.to_reach, "met" if c.met else "**missed**") for c in claims(figures)]
    return lines + table(("what", "measured", "to reach", ""), rows)


def process_lines(turns: Turns, traffic: Mapping[str, Traffic]) -> list[str]:
    """A row for each process of each system, and the sum over a frame's nodes."""
    rows: list[tuple[object, ...]] = []
    for system, title in TITLES.items():
        rounds = turns.measured[system]
        for name in rounds[0].spent:
            spent = _median_spent([each.spent[name] for each in rounds])
            own = statistics.median(each.work_s[name] for each in rounds) if name in rounds[0].work_s else None
            beyond = None if own is None else over_rounds(rounds, functools.partial(beyond_s, names=[name]))
            row = (title, name, _ms(spent.cpu_s), _ms(own), _ms(beyond), f"{spent.switches:.1f}")
            rows.append((*row, *_traffic_of(traffic.get(system), name)))
        if system != "whole":
            total = over_rounds(rounds, lambda each: sum(each.spent[node].cpu_s for node in NODES))
            work = over_rounds(rounds, lambda each: sum(each.work_s.values()))
            beyond = over_rounds(rounds, beyond_s)
            rows.append((title, "**nodes**", _ms(total), _ms(work), f"**{_ms(beyond)}**", "", "", "", ""))
    head = ("per frame", "process", "CPU ms", "of it sensor, model, codecs", "beyond", "switches",
            "messages out, in", "acks out, in", "bytes out, in")  # fmt: skip
    beside = f"{turns.busy} other processes compute beside" if turns.busy else "quiet"
    return [f"Per frame, {beside} (median of {len(turns.measured['bare'])} rounds):", "", *table(head, rows)]


def latency_lines(turns: Turns) -> list[str]:
    """End to end, and what of it is neither segment nor codec."""
    rows = []
    for system, title in TITLES.items():
        rounds = turns.measured[system]
        end_to_end = over_rounds(rounds, lambda each: p50_s(each, lambda f: f.end_to_end_s))
        overhead = over_rounds(rounds, lambda each: p50_s(each, lambda f: f.overhead_s))
        rows.append((title, _ms(end_to_end), _ms(overhead), f"{over_rounds(rounds, tail_ratio):.2f}"))
    return table(("latency", "end to end p50 ms", "minus work p50 ms", "p99 / p50"), rows)


def stage_lines(turns: Turns) -> list[str]:
    """Where tiercut's time goes."""
    frames = [frame for each in turns.measured["tiercut"] for frame in each.frames]
    rows = [(row.where, row.kind, _ms(row.p50_s), _ms(row.mean_s)) for row in stage_table(frames)]
    return table(("tiercut's stages", "kind", "p50 ms", "mean ms"), rows)


def idle_lines(idle: Mapping[str, Spent]) -> list[str]:
    """Without frames."""
    rows = [(name, f"{each.cpu_s * 100:.2f}", f"{each.switches:.0f}") for name, each in idle.items()]
    return table(("idle", "% of a core", "switches per s"), rows)


def package_lines(figures: Figures) -> list[str]:
    """CPU milliseconds per frame by package: py-spy's shares of what the kernel has counted."""
    rounds = figures.turns[0].measured["tiercut"]
    per_package: dict[str, dict[str, float]] = {}
    for process, shares in figures.cpu_by_package.items():
        cpu_ms = _median_spent([each.spent[process] for each in rounds]).cpu_s * 1e3
        for package, share in shares.items():
            name = package if share >= LEAST_SHARE else "others"
            own = per_package.setdefault(name, {})
            own[process] = own.get(process, 0.0) + share * cpu_ms
    ordered = sorted(per_package.items(), key=lambda item: (item[0] == "others", -sum(item[1].values())))
    processes = list(figures.cpu_by_package)
    rows = [(f"`{name}`", *(f"{own[p]:.2f}" if p in own else "" for p in processes)) for name, own in ordered]
    return table(("CPU ms per frame, innermost frame in", *processes), rows)


def hop_lines(hop: Turns) -> list[str]:
    """One hop: tiercut and the rivals."""
    titles = {"tiercut": "**tiercut**"} | {name: entry.title for name, entry in RIVALS.items()}
    rows = []
    for name, title in titles.items():
        if name in hop.measured:
            beyond, latency, others = hop_row(hop, name)
            rows.append((title, f"{beyond:.2f}", f"{others:.2f}", f"{latency:.2f}"))
    head = ("one hop", "CPU ms beyond sensor, model and codecs, both ends", "CPU ms of all other processes",
            "latency minus work p50 ms")  # fmt: skip
    return table(head, rows)


def full_speed_lines(rounds: Sequence[tuple[float, float]]) -> list[str]:
    """Throughput with even parts."""
    rows = [(f"{ours:.1f}", f"{most:.1f}", f"{ours / most:.2f}") for ours, most in rounds]
    return table(("frames/s with even parts", "all cores without hops", "share"), rows)


def as_json(figures: Figures) -> dict[str, Any]:
    """The raw figures."""
    return dataclasses.asdict(figures)


def _median_spent(each: Iterable[Spent]) -> Spent:
    listed = list(each)
    return Spent(statistics.median(s.cpu_s for s in listed), statistics.median(s.switches for s in listed))


def _traffic_of(traffic: Traffic | None, name: str) -> tuple[str, str, str]:
    if traffic is None:
        return "", "", ""
    counted = traffic.messages.get(name, Messages())
    out, into = traffic.bytes.get(name, (0.0, 0.0))
    messages, acks = (
        f"{a / traffic.frames:.1f}, {b / traffic.frames:.1f}" if name in traffic.messages else ""
        for a, b in ((counted.out, counted.into), (counted.acks_out, counted.acks_in))
    )
    return messages, acks, f"{out:,.0f}, {into:,.0f}"


def _ms(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds * 1e3:.2f}"
