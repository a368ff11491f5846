"""The results of a scenario, for people and for programs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from tiercut.simulate.bound import bound_plan
from tiercut.simulate.flights import RESULT, Flight, cost_s
from tiercut.simulate.run import Replay
from tiercut.simulate.scenario import Scenario
from tiercut.simulate.wishes import accuracy_of

FORMAT = "tiercut-simulation/1"
ORACLE = "oracle"


def summary(replay: Replay, scenario: Scenario, *, oracle_cost_s: float | None) -> dict[str, Any]:
    """Figures of one policy.

    Args:
        replay: What it made of the scenario.
        scenario: The scenario.
        oracle_cost_s: Cost of the oracle, ``None`` where it was not run.
    """
    ordered = sorted(replay.latencies_s)
    cost_s = replay.cost_s(scenario.timeout_s)
    return {
        "policy": replay.policy,
        "frames": len(replay.flights),
        "outcomes": replay.outcomes(),
        "mean_ms": round(sum(ordered) / len(ordered) * 1e3, 3) if ordered else None,
        "median_ms": _percentile(ordered, 0.5),
        "p95_ms": _percentile(ordered, 0.95),
        "cost_ms": round(cost_s * 1e3, 3),
        "times_oracle": round(cost_s / oracle_cost_s, 3) if oracle_cost_s else None,
        "changes": replay.changes(),
        "accuracy": _accuracy(replay, scenario),
        **({} if len(scenario.site.streams) == 1 else {"streams": by_stream(replay, scenario)}),
    }


def by_stream(replay: Replay, scenario: Scenario) -> dict[str, dict[str, float]]:
    """Of each stream: frames, how many of them have a result, results per second, and cost."""
    found: dict[str, dict[str, float]] = {}
    for stream in scenario.site.streams:
        flights = [flight for flight in replay.flights if flight.stream == stream.goal.name]
        results = sum(flight.outcome == RESULT for flight in flights)
        found[stream.goal.name] = {
            "frames": len(flights),
            "results": results,
            "results_per_second": round(results / scenario.duration_s, 3),
            "cost_ms": round(cost_s(flights, scenario.timeout_s) * 1e3, 3),
        }
    return found


def report(replays: Sequence[Replay], scenario: Scenario) -> dict[str, Any]:
    """All of it as JSON: the figures of each policy, and each of its frames."""
    return {
        "format": FORMAT,
        "scenario": {
            "name": scenario.name,
            "about": scenario.about,
            "seed": scenario.seed,
            "duration_seconds": scenario.duration_s,
            "frames_per_second": sum(stream.fps for stream in scenario.site.streams),
            "timeout_seconds": scenario.timeout_s,
        },
        "policies": [
            {**figures, "flights": [_flight(flight) for flight in replay.flights]}
            for figures, replay in zip(summaries(replays, scenario), replays, strict=True)
        ],
    }


def summaries(replays: Sequence[Replay], scenario: Scenario) -> list[dict[str, Any]]:
    """The figures of all policies, each against the oracle if that is among them."""
    oracle = next((each for each in replays if each.policy == ORACLE), None)
    cost_s = None if oracle is None else oracle.cost_s(scenario.timeout_s)
    return [summary(replay, scenario, oracle_cost_s=cost_s) for replay in replays]


def table(replays: Sequence[Replay], scenario: Scenario) -> Iterable[str]:
    """The figures as lines for a terminal of 80 columns."""
    yield f"{scenario.name}: {scenario.about}"
    fps = sum(stream.fps for stream in scenario.site.streams)
    several = len(scenario.site.streams) > 1
    of = f" of {len(scenario.site.streams)} streams" if several else ""
    yield f"{scenario.duration_s:g} s, {fps:g} frames/s{of}, seed {scenario.seed}; virtual time"
    yield ""
    figures = summaries(replays, scenario)
    known = any(row["accuracy"] is not None for row in figures)
    beside = "results/s" if several else "x oracle"
    head = f"{'policy':<13}{'mean ms':>9}{'p95 ms':>9}{'results':>9}{'cost ms':>9}{beside:>10}{'changes':>9}"
    yield head + (f"{'accuracy':>10}" if known else "")
    for row in figures:
        results = row["outcomes"].get(RESULT, 0)
        share = 100 * results / max(1, row["frames"])
        figure = _shown(results / scenario.duration_s, 1) if several else _shown(row["times_oracle"], 2)
        yield (
            f"{row['policy']:<13}{_shown(row['mean_ms']):>9}{_shown(row['p95_ms']):>9}{share:>8.1f}%"
            f"{_shown(row['cost_ms']):>9}{figure:>10}{row['changes']:>9}"
            + (f"{_shown(row['accuracy'], 3):>10}" if known else "")
        )
    yield ""
    if several:
        bound = bound_plan(scenario).frames_per_second
        yield f"bound: no plans for the traces' means give more than {bound:.1f} results/s of all streams"
    yield f"cost: mean over all frames; one without a result counts as the timeout, {scenario.timeout_s:g} s"


def _accuracy(replay: Replay, scenario: Scenario) -> float | None:
    """Mean accuracy of the results; ``None`` where nothing is given away, or nothing came."""
    goal = scenario.site.goal
    plans = [flight.plan for flight in replay.flights if flight.outcome == RESULT and flight.plan is not None]
    if not plans or (goal.table is None and not goal.variants):
        return None
    return round(sum(accuracy_of(goal, plan) for plan in plans) / len(plans), 4)


def _shown(value: float | None, digits: int = 0) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _percentile(ordered: Sequence[float], share: float) -> float | None:
    """The smallest value that this share of them does not exceed, in ms."""
    if not ordered:
        return None
    return round(ordered[min(len(ordered) - 1, max(0, -int(-share * len(ordered) // 1) - 1))] * 1e3, 3)


def _flight(flight: Flight) -> dict[str, Any]:
    plan = flight.plan
    return {
        "stream": flight.stream,
        "seq": flight.seq,
        "captured_s": round(flight.captured_s, 6),
        "outcome": flight.outcome,
        "latency_ms": None if flight.latency_s is None else round(flight.latency_s * 1e3, 3),
        "fallback": flight.fallback,
        "epoch": None if plan is None else plan.epoch,
        "exit": None if plan is None else plan.exit,
        "first_cut": None if plan is None else plan.first_cut,
        "second_cut": None if plan is None else plan.second_cut,
        "edge": None if plan is None else plan.edge,
        "cloud": None if plan is None else plan.cloud,
    }
