"""Simulated streams that follow several plans at once: frames are dealt to them, spaced, and share what there is."""

from __future__ import annotations

from collections import Counter

import pytest

from bench.many_streams import Site, frames_per_second
from tests.test_simulate import small
from tests.test_simulate_streams import cameras
from tiercut.coordinator.mix import Mix, essence
from tiercut.plan import Plan
from tiercut.simulate import Scenario, simulate
from tiercut.simulate.bound import bound_plan
from tiercut.simulate.flights import Flight
from tiercut.simulate.policies import Quiet
from tiercut.simulate.sim_ways import SimWays
from tiercut.simulate.world import World

FULL = Site(cameras=6, edges=2, uplink_mbps=0.5, settle_s=15.0, counted_s=10.0, seed=1)


class Dealt(Quiet):
    """The same plans forever."""

    def __init__(self, mix: Mix) -> None:
        self._mix = mix

    def choose(self, stream: str, now_s: float) -> Mix | None:  # noqa: ARG002 - always
        return self._mix


def device_only(end: int) -> Plan:
    return Plan(epoch=1, first_cut=end, second_cut=end, device="d")


def edge_only(end: int) -> Plan:
    return Plan(epoch=1, first_cut=0, second_cut=end, device="d", edge="e", codecs=("raw",))


def cloud_only() -> Plan:
    return Plan(epoch=1, first_cut=0, second_cut=0, device="d", cloud="c", codecs=("raw",))


def flights(mix: Mix, scenario: Scenario) -> list[Flight]:
    return World(scenario, Dealt(mix)).run()


def test_frames_are_dealt_to_plans_by_their_shares() -> None:
    scenario = small(noise=0, frames_per_second=1)
    end = scenario.site.goal.end
    alone, on_edge = device_only(end), edge_only(end)
    came = flights(Mix(((on_edge, 0.75), (alone, 0.25))), scenario)
    assert Counter(flight.plan == alone for flight in came) == {False: 15, True: 5}
    assert {flight.outcome for flight in came} == {"result"}


def test_frames_for_which_there_is_no_room_do_not_set_out() -> None:
    scenario = small(noise=0, frames_per_second=4)
    end = scenario.site.goal.end
    plan = edge_only(end)
    came = flights(Mix(((plan, 1.0),), frames_per_second=2.0), scenario)
    outcomes = Counter(flight.outcome for flight in came)
    assert outcomes.keys() == {"result", "beyond_rate"}
    assert abs(outcomes["result"] - len(came) / 2) <= 1


def test_full_site_planned_as_one_gives_more_than_planned_one_by_one_and_less_than_its_bound() -> None:
    bound, site, single, edge, cloud = (
        frames_per_second(FULL, each) or 0.0 for each in ("bound", "site", "one-by-one", "edge", "cloud")
    )
    assert single < site <= 1.02 * bound
    assert max(edge, cloud) < site


def test_bound_of_a_site_with_room_is_what_its_streams_ask_for() -> None:
    plan = bound_plan(cameras(2))
    assert plan.frames_per_second == pytest.approx(sum(stream.fps for stream in cameras(2).site.streams))


def test_edges_take_the_streams_in_turn_where_edges_alone_work() -> None:
    (replay,) = simulate(cameras(4), ["edge-only"])
    edges = {(flight.stream, flight.plan.edge) for flight in replay.flights if flight.plan}
    assert edges == {("cam0", "e"), ("cam1", "f"), ("cam2", "e"), ("cam3", "f")}


def test_plan_that_stays_keeps_its_lane_and_window_when_others_change() -> None:
    ways, kept = SimWays(limit=4, timeout_s=10.0), edge_only(6)
    ways.follow(Mix(((device_only(6), 0.5), (kept, 0.5))), 0.0)
    before = dict(ways.start(seq, 0.0) for seq in range(2))
    ways.follow(Mix(((kept, 0.5), (cloud_only(), 0.5))).numbered(2), 1.0)
    after = {essence(plan): lane for plan, lane in (ways.start(seq, 1.0) for seq in range(2, 4))}
    assert after[essence(kept)] == before[kept]
    assert len(set(after.values())) == 2
    assert all(ways.outcome(seq, 2.0, dropped=False) for seq in range(4))
    assert not ways.outcome(0, 2.0, dropped=False)
