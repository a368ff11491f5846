"""The table of objectives: a row is all that a new one needs; each row's search finds what trying all plans finds."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest

import tiercut
from tests.brute_force import every_plan, within_constraints
from tests.coordinating import Told, goal
from tests.plan_problems import random_problem
from tiercut.cli import main
from tiercut.coordinator.events import StreamWanted
from tiercut.planner import solve
from tiercut.planner.document import read_problem
from tiercut.planner.objectives import OBJECTIVES, Objective, ObjectiveName, Search
from tiercut.simulate.policies import Myopic
from tiercut.simulate.scenario import scenario_of
from tiercut.simulate.truth import Truth
from tiercut.simulate.world import World

EXAMPLE = Path(__file__).parent / "data" / "plan" / "cloud-wins.json"

#: Bytes that a frame sends over the uplink: what nobody plans for yet.
UPLINK = Objective(
    name="uplink",
    aim="least bytes on the uplink",
    unit="kB",
    shown=lambda size: f"{size / 1e3:.1f}",
    least_gain=500.0,
    score=lambda plan: plan.sent_bytes("cloud"),
)


@pytest.fixture
def uplink() -> Iterator[Objective]:
    """The table with one more row."""
    OBJECTIVES[UPLINK.name] = UPLINK
    yield UPLINK
    del OBJECTIVES[UPLINK.name]


def uplink_bytes(problem: dict[str, Any], plan: dict[str, Any]) -> float:
    """Straight from the form's text."""
    if plan["cloud"] is None:
        return 0.0
    ratios = {"raw": 1.0, **{codec["name"]: codec["ratio"] for codec in problem["codecs"]}}
    (sizes,) = (each["cut_bytes"] for each in problem["model"]["variants"] if each["name"] == plan["variant"])
    return float(sizes[plan["second_cut"]] / ratios[plan["codecs"][-1]])


@pytest.mark.usefixtures("uplink")
def test_made_up_objective_is_planned_for_as_by_trying_every_plan() -> None:
    clouds = 0
    for seed in range(120):
        problem = random_problem(seed, ties=False) | {"objective": "uplink"}
        for node in problem["nodes"]:
            if node["tier"] != "cloud" and seed % 2:
                node["block_seconds"] = {}  # so that only a cloud node can run it
        answer = tiercut.solve(problem)
        plans = [
            (uplink_bytes(problem, plan), plan["latency_seconds"], plan)
            for plan in every_plan(problem)
            if within_constraints(problem, plan)
        ]
        assert answer["feasible"] == bool(plans), seed
        if plans:
            least, quickest, _ = min(plans, key=lambda each: (round(each[0], 3), each[1]))
            assert uplink_bytes(problem, answer) == pytest.approx(least)
            assert answer["latency_seconds"] == pytest.approx(quickest)
            clouds += answer["cloud"] is not None
    assert clouds > 10


@pytest.mark.usefixtures("uplink")
def test_coordinator_plans_by_a_made_up_objective_and_says_what_a_change_gains() -> None:
    told = Told().site(goal(objective="uplink"))
    assert told.plans["cam"].cloud is None  # nothing crosses the uplink where no cloud node takes part
    assert told.explained["cam"]["objective"] == "uplink"
    slow = Told().site(goal())
    assert slow.plans["cam"].cloud is not None
    slow.coordinator.handle(StreamWanted(goal(objective="uplink")))
    slow.frames(5)
    slow.passes(6)
    assert slow.plans["cam"].cloud is None
    assert "uplink " in slow.reasons[-1]
    assert "→ 0.0 kB" in slow.reasons[-1]


@pytest.mark.usefixtures("uplink")
def test_simulator_and_command_take_a_made_up_objective(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = json.loads(EXAMPLE.read_text(encoding="utf-8"))["problem"]
    file = tmp_path / "problem.json"
    file.write_text(json.dumps(document | {"objective": "uplink"}), encoding="utf-8")
    assert main(["plan", str(file)]) == 0
    assert "objective uplink" in capsys.readouterr().out
    scenario = scenario_of(
        {
            "format": "tiercut-scenario/1",
            "name": "small",
            "duration_seconds": 5,
            "frames_per_second": 2,
            "objective": "uplink",
            "profile": {"problem": str(EXAMPLE), "variant": document["model"]["variants"][0]["name"]},
        },
        folder=tmp_path,
    )
    oracle = Myopic(Truth(scenario))
    world = World(scenario, oracle)
    oracle.see(world)
    assert {flight.plan.cloud for flight in world.run() if flight.plan is not None} == {None}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_search_of_an_objective_finds_what_pricing_every_plan_finds(name: str) -> None:
    without = replace(OBJECTIVES[name], search=Search.EVERY_PLAN)
    for seed in range(60):
        problem = read_problem(random_problem(seed, ties=False) | {"objective": name})
        found, priced = solve(problem), solve(replace(problem, objective=without))
        assert found.choice == priced.choice, seed
        assert found.violates == priced.violates


def test_settings_offer_the_rows_of_the_table() -> None:
    assert get_args(ObjectiveName) == tuple(OBJECTIVES)
