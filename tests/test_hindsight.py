"""Yardsticks that know the future: no fixed plan and no policy beats them, and what they walk is what a world gives."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tiercut.simulate import Scenario, simulate
from tiercut.simulate.curves import Curve
from tiercut.simulate.policies import Fixed
from tiercut.simulate.scenario import scenario_of
from tiercut.simulate.traces import Trace
from tiercut.simulate.truth import Truth, mean_seconds
from tiercut.simulate.walk import Walker, ways
from tiercut.simulate.world import World

JUMPY = {"kind": "markov", "values": [20, 0.5, 0], "stay": [3, 2, 1]}


def site(seed: int = 1, **changes: Any) -> Scenario:
    """One device, two edges, one cloud; links that jump and break, a node that gets busy."""
    draw = random.Random(seed)  # noqa: S311 - repeatable
    document = {
        "format": "tiercut-scenario/1",
        "name": "drawn",
        "duration_seconds": 15,
        "frames_per_second": draw.choice([0.5, 1, 2, 4]),
        "seed": seed,
        "profile": {"synthetic": {"seed": seed, "blocks": 5, "device_seconds": draw.uniform(0.2, 1.5)}},
        "nodes": [
            {"id": "d", "tier": "device"},
            {"id": "e", "tier": "edge", "times": 0.4},
            {"id": "f", "tier": "edge", "times": 0.3, "slowdown": {"kind": "markov", "values": [1, 6], "stay": [4, 4]}},
            {"id": "c", "tier": "cloud", "times": 0.05},
        ],
        "links": [
            {"from": "device", "to": "edge", "mbps": draw.uniform(3, 40), "latency_seconds": 0.003},
            {"from": "edge", "to": "cloud", "mbps": JUMPY, "latency_seconds": 0.02},
        ],
    }
    return scenario_of(document | changes, folder=Path())


def costs(scenario: Scenario, *policies: str) -> dict[str, float]:
    return {replay.policy: replay.cost_s(scenario.timeout_s) for replay in simulate(scenario, policies)}


class Empty:
    """Nothing waits anywhere."""

    def start(self, resource: object, came_s: Any) -> Any:
        del resource
        return came_s


# ---------------------------------------------------------------------- the order


@pytest.mark.parametrize("seed", range(1, 7))
def test_oracle_is_beaten_by_no_fixed_plan_and_by_no_policy(seed: int) -> None:
    found = costs(site(seed), "oracle", "best-fixed", "myopic", "static", "edge-only", "neurosurgeon", "tiercut")
    assert found["oracle"] <= min(found["best-fixed"], found["myopic"]) + 1e-9
    assert found["best-fixed"] <= min(found["static"], found["edge-only"]) + 1e-9
    assert found["oracle"] <= 1.02 * min(found.values())


@pytest.mark.parametrize("seed", [11, 38])
def test_oracle_is_not_beaten_by_a_fixed_plan_where_each_frame_for_itself_is(seed: int) -> None:
    """A link that is there every few seconds: frames that all take their own best way keep each other waiting."""
    gaps = {"kind": "markov", "values": [6, 0], "stay": [4, 4]}
    links = [
        {"from": "device", "to": "edge", "mbps": gaps, "latency_seconds": 0.003},
        {"from": "edge", "to": "cloud", "mbps": 20},
    ]
    found = costs(site(seed, links=links, frames_per_second=2), "oracle", "best-fixed")
    assert found["oracle"] <= found["best-fixed"] + 1e-9


def test_best_fixed_plan_is_the_cheapest_of_all() -> None:
    scenario = site(3, profile={"synthetic": {"seed": 3, "blocks": 3, "device_seconds": 0.8}})
    everyone = [plan for way in ways(Truth(scenario).free) for plan in way.plans]
    cheapest = min(_cost(scenario, Fixed(plan)) for plan in everyone)
    assert len(everyone) > 20
    assert costs(scenario, "best-fixed")["best-fixed"] == pytest.approx(cheapest, rel=0.01)


def _cost(scenario: Scenario, policy: Fixed) -> float:
    flights = World(scenario, policy).run()
    return sum(scenario.timeout_s if each.latency_s is None else each.latency_s for each in flights) / len(flights)


def test_oracle_leaves_a_link_before_it_breaks() -> None:
    """A large frame that sets out just before an outage would be stuck in it: who sees the future takes another way."""
    breaks = {"kind": "outage", "of": 2, "during": [[5, 14]]}
    links = [
        {"from": "device", "to": "edge", "mbps": 40, "latency_seconds": 0.003},
        {"from": "edge", "to": "cloud", "mbps": breaks, "latency_seconds": 0.02},
    ]
    scenario = site(1, links=links, frames_per_second=2, noise=0)
    worst = {replay.policy: max(replay.latencies_s) for replay in simulate(scenario, ["myopic", "oracle"])}
    assert worst["oracle"] < 2.0
    assert costs(scenario, "oracle")["oracle"] <= costs(scenario, "myopic")["myopic"]


# ---------------------------------------------------------------------- the walk


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("stays_down_s", [1, 8])
def test_walk_is_what_a_world_gives_where_frames_are_alone(seed: int, stays_down_s: float) -> None:
    """Outages of 8 s are noticed: nodes go on alone."""
    jumpy = JUMPY | {"stay": [3, 2, stays_down_s]}
    links = [
        {"from": "device", "to": "edge", "mbps": 12, "latency_seconds": 0.003},
        {"from": "edge", "to": "cloud", "mbps": jumpy, "latency_seconds": 0.02},
    ]
    scenario = site(seed, links=links, frames_per_second=0.25, duration_seconds=40, timeout_seconds=100)
    walker = Walker(scenario)
    for way in ways(Truth(scenario).free):
        for place in {0, len(way.plans) // 2, len(way.plans) - 1}:
            flights = World(scenario, Fixed(way.plans[place])).run()
            for before, flight in zip([None, *flights], flights, strict=False):
                if before is not None and (before.outcome != "result" or before.done_s > flight.captured_s):
                    continue  # it is not alone
                walked = walker.walk(way, flight.seq, flight.captured_s, Empty())
                if flight.outcome == "result":
                    assert walked.done_s[place] == pytest.approx(flight.done_s, abs=1e-4)


def test_ways_hold_every_plan_that_no_other_beats_everywhere() -> None:
    known = ways(Truth(site()).free)
    assert {way.nodes for way in known} == {("d",), ("d", "e"), ("d", "f"), ("d", "e", "c"), ("d", "f", "c")}
    assert all(plan.first_cut <= plan.second_cut for way in known for plan in way.plans)


def test_ways_keep_to_the_constraints() -> None:
    scenario = site(min_first_cut=2, codecs=[{"name": "int8+zstd", "accuracy_drop": 0.02}], max_accuracy_drop=0.01)
    plans = [plan for way in ways(Truth(scenario).free) for plan in way.plans]
    assert min(plan.first_cut for plan in plans) == 2
    assert {codec for plan in plans for codec in plan.codecs} == {"raw"}


def test_curve_is_the_trace_for_many_times() -> None:
    trace = Trace((0.0, 1.0, 2.0, 5.0), (8.0, 0.0, 2.0, 0.0))
    curve, times = Curve.of(trace), np.array([0.0, 0.5, 1.0, 1.9, 2.0, 4.9, 6.0])
    assert curve.at(times).tolist() == [trace.at(time) for time in times]
    for amount in (1.0, 4.0, 8.0, 100.0):
        assert curve.until_sum(times, amount).tolist() == pytest.approx([trace.until_sum(t, amount) for t in times])
    assert curve.sum_until(np.array([3.0, 7.0])).tolist() == [10.0, 14.0]
    assert curve.until_sum(np.array([np.inf]), 1.0).tolist() == [np.inf]


# ---------------------------------------------------------------------- means


def test_mean_rate_is_the_harmonic_one() -> None:
    """Half of the time 10 Mbps and half of it 1: a megabit takes 0.55 s on average, not 1 / 5.5."""
    trace = Trace((0.0, 500.0), (10.0, 1.0))
    assert mean_seconds(trace, 1.0, 1000.0, 100.0) == pytest.approx(0.55, rel=0.01)


def test_what_messages_wait_in_outages_is_delay() -> None:
    down = {"kind": "outage", "of": 8, "during": [[0, 5]]}
    links = [
        {"from": "device", "to": "edge", "mbps": 40},
        {"from": "edge", "to": "cloud", "mbps": down, "latency_seconds": 0.02},
    ]
    link = Truth(site(links=links, duration_seconds=50)).mean().links["e", "c"]
    assert link.mbps == pytest.approx(8, rel=0.1)
    assert link.latency_seconds == pytest.approx(0.02 + 5 * 2.5 / 50, rel=0.05)
