"""The picture of a scenario: what links and nodes did, each policy's latency, and where frames were cut."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tiercut.errors import SettingsError
from tiercut.simulate.run import Replay
from tiercut.simulate.scenario import Scenario
from tiercut.simulate.traces import Trace

#: One colour per policy in every picture; the others are thin and grey.
_COLOURS: Mapping[str, str] = {
    "device-only": "#c7c7c7",
    "edge-only": "#9c755f",
    "cloud-only": "#76b7b2",
    "static": "#edc948",
    "neurosurgeon": "#b07aa1",
    "edgent": "#ff9da7",
    "random": "#dddddd",
    "best-fixed": "#4e79a7",
    "myopic": "#8cd17d",
    "tiercut": "#d62728",
    "oracle": "#2ca02c",
}
#: Policies whose cuts are drawn; those of all would hide each other.
_CUTS = ("tiercut", "oracle")
#: A link that is down is drawn at the bottom of a logarithmic axis, Mbps.
_DOWN_MBPS = 0.1


def draw(replays: Sequence[Replay], scenario: Scenario, path: Path) -> None:
    """Write the picture; the name's ending says the format (``.png``, ``.svg``, ``.pdf``).

    Raises:
        SettingsError: matplotlib is not there, or the file cannot be written.
    """
    figure = _module("matplotlib.figure").Figure(figsize=(11, 9), layout="constrained")
    traces, latency, cuts = figure.subplots(3, 1, sharex=True, height_ratios=[1, 2.2, 1.6])
    figure.suptitle(f"{scenario.name}: {scenario.about}")
    _draw_traces(traces, scenario)
    _draw_latency(latency, replays)
    _draw_cuts(cuts, [replay for replay in replays if replay.policy in _CUTS] or replays[:1], scenario)
    cuts.set_xlabel("virtual time, s")
    cuts.set_xlim(0, scenario.duration_s)
    try:
        figure.savefig(path, dpi=110)
    except OSError as error:
        raise SettingsError(
            f"cannot write the picture '{path}'",
            expected="a folder that can be written",
            came=str(error.strerror).lower(),
            fix="choose another with --out",
        ) from error


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise SettingsError(
            "the picture cannot be drawn",
            expected="the package matplotlib",
            came="none",
            fix="run 'pip install matplotlib', or omit --out",
        ) from error


def _draw_traces(axes: Any, scenario: Scenario) -> None:
    """Only what changes; several links with one trace are one line."""
    axes.set_ylabel("Mbps / slowdown")
    axes.set_yscale("log")
    for label, trace in moving(scenario):
        shown = [max(value, _DOWN_MBPS) for value in trace.values]
        axes.step([*trace.times, scenario.duration_s], [*shown, shown[-1]], where="post", label=label)
    if axes.lines:
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize="small")


def moving(scenario: Scenario) -> Iterable[tuple[str, Trace]]:
    """The traces that change, each with a name for people."""
    found: dict[Trace, list[str]] = {}
    for (sender, receiver), traces in scenario.links.items():
        found.setdefault(traces.mbps, []).append(f"{sender} → {receiver}, Mbps")
    for node, trace in scenario.slowdowns.items():
        found.setdefault(trace, []).append(f"{node}, slowdown")
    for trace, names in found.items():
        if len(set(trace.values)) > 1:
            yield names[0] + (f" (and {len(names) - 1} more)" if len(names) > 1 else ""), trace


def _draw_latency(axes: Any, replays: Sequence[Replay]) -> None:
    axes.set_ylabel("latency, ms")
    axes.set_yscale("log")
    for replay in replays:
        done = [flight for flight in replay.flights if flight.latency_s is not None]
        bold = replay.policy in _CUTS
        axes.plot(
            [flight.captured_s for flight in done],
            [flight.latency_s * 1e3 for flight in done if flight.latency_s is not None],
            label=replay.policy,
            color=_COLOURS[replay.policy],
            linewidth=1.8 if bold else 1.0,
            linestyle="-" if bold else "--",
            zorder=3 if bold else 2,
        )
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize="small")


def _draw_cuts(axes: Any, replays: Sequence[Replay], scenario: Scenario) -> None:
    end = scenario.site.goal.end
    axes.set_ylabel(f"cuts, of {end}")
    axes.set_ylim(-0.5, end + 0.5)
    for replay in replays:
        sent = [flight for flight in replay.flights if flight.plan is not None]
        for which, style in (("first_cut", "-"), ("second_cut", ":")):
            axes.step(
                [flight.captured_s for flight in sent],
                [getattr(flight.plan, which) for flight in sent],
                where="post",
                color=_COLOURS[replay.policy],
                linestyle=style,
                linewidth=1.8,
                label=f"{replay.policy}, {which.replace('_', ' ')}",
            )
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize="small")
