"""Memory and the result's way back: the planner finds what trying every plan finds, and says what does not fit."""

import copy
from typing import Any

import numpy as np
import pytest

from tests.brute_force import best, every_plan, within_constraints
from tests.plan_problems import OBJECTIVES, with_loaded, with_memory
from tests.planning import alternatives, evaluate, solve, solve_top
from tests.test_planner import assert_same, line, long_line, rank
from tiercut.errors import SettingsError
from tiercut.planner import solve_within
from tiercut.planner.document import read_problem


def in_memory(*limits: float | None, **changes: Any) -> dict[str, Any]:
    """`line` in form 2: two blocks of 60 MB, 40 MB at most while they run; limits of device, edge and cloud."""
    problem = line(format="tiercut-plan-problem/2", **changes)
    problem["model"]["variants"][0] |= {"block_weights_mb": [60, 60], "block_peak_mb": [10, 40]}
    for node, limit in zip(problem["nodes"], limits, strict=True):
        node["memory_mb"] = limit
    return problem


@pytest.mark.parametrize("ties", [True, False])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_solve_finds_what_trying_every_plan_finds(objective: str, *, ties: bool) -> None:
    hops, none = set(), 0
    for seed in range(200):
        problem = {**with_memory(seed, ties=ties), "objective": objective}
        wanted, found = best(problem), solve(problem)
        assert found["feasible"] == (wanted is not None), seed
        none += wanted is None
        if wanted is not None:
            assert_same(found, wanted)
            hops.add(len(wanted["codecs"]))
    assert hops == {0, 1, 2}
    assert none > 20


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_solve_agrees_with_the_table_of_all_plans_on_long_models(objective: str) -> None:
    for seed in range(12):
        problem = {**with_memory(seed, ties=False, blocks=40), "objective": objective}
        for node in problem["nodes"]:
            if node.get("memory_mb") is not None:
                node["memory_mb"] *= 8
        assert_same(solve_top(problem, 1)[0], solve(problem))


def test_throughput_keeps_to_memory_on_long_models() -> None:
    codecs = [{"name": f"c{drop}", "ratio": 2.0**drop, "accuracy_drop": drop / 100, "cuts": [0, 99]} for drop in (1, 2)]
    bound = 0
    for seed in range(20):
        problem = long_line(seed, codecs) | {"format": "tiercut-plan-problem/2"}
        free = solve(problem)
        problem["model"]["variants"][0] |= {"block_weights_mb": [1.0] * 30, "block_peak_mb": [0.5] * 30}
        problem["nodes"][1]["memory_mb"] = 0.5 + max(1, free["second_cut"] - free["first_cut"] - 1 - seed % 3)
        for drop in (0.02, None):
            problem["constraints"] = {"max_accuracy_drop": drop, "deadline_seconds": 1.2 * free["latency_seconds"]}
            found = solve(problem)
            assert_same(solve_top(problem, 1)[0], found)
            bound += found["bottleneck_seconds"] > free["bottleneck_seconds"]
    assert bound > 10


@pytest.mark.parametrize("ties", [True, False])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_segments_that_are_loaded_need_nothing_more(objective: str, *, ties: bool) -> None:
    passed_on = 0
    for seed in range(150):
        problem = {**with_loaded(seed, ties=ties, blocks=6), "objective": objective}
        if seed % 2:
            problem["constraints"] = {}
        wanted, found = best(problem), solve(problem)
        assert found["feasible"] == (wanted is not None), seed
        if wanted is not None:
            assert_same(found, wanted)
            assert_same(solve_top(problem, 1)[0], wanted)
            passed_on += wanted["second_cut"] > wanted["first_cut"] and len(wanted["codecs"]) == 2
    assert passed_on > 0


def test_throughput_finds_a_loaded_segment_of_a_long_model() -> None:
    codecs = [{"name": f"c{drop}", "ratio": 2.0**drop, "accuracy_drop": drop / 100, "cuts": [0, 99]} for drop in (1, 2)]
    loaded = 0
    for seed in range(20):
        problem = long_line(seed, codecs) | {"format": "tiercut-plan-problem/2"}
        free = solve(problem)
        first, last = free["first_cut"], free["second_cut"]
        problem["model"]["variants"][0] |= {"block_weights_mb": [1.0] * 30, "block_peak_mb": [0.5] * 30}
        problem["nodes"][1] |= {
            "memory_mb": 1,
            "loaded": [["full", first + 1, last], ["full", max(0, first - 1), last]],
        }
        for drop in (0.02, None):
            problem["constraints"] = {"max_accuracy_drop": drop, "deadline_seconds": 1.2 * free["latency_seconds"]}
            found = solve(problem)
            assert_same(solve_top(problem, 1)[0], found)
            loaded += bool(found["edge"]) and found["second_cut"] == last > found["first_cut"]
    assert loaded > 10


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_top_plans_all_fit_and_are_in_order(objective: str) -> None:
    for seed in range(40):
        problem = {**with_memory(seed, ties=False), "objective": objective, "constraints": {}}
        wanted = sorted(rank(objective, plan) for plan in every_plan(problem))[:6]
        found = solve_top(problem, 6)
        if not wanted:
            assert not found[0]["feasible"]
            continue
        assert np.array([rank(objective, plan) for plan in found]) == pytest.approx(np.array(wanted))


def test_every_plan_that_fits_is_evaluated_as_the_form_says() -> None:
    for seed in range(30):
        problem = with_memory(seed, ties=False)
        for plan in every_plan(problem):
            answer = evaluate(problem, plan)
            assert_same(answer, plan)
            assert answer["feasible"] == within_constraints(problem, plan)


@pytest.mark.parametrize("seed", range(16))
def test_quickest_plan_of_short_stages_is_that_of_all_plans(seed: int) -> None:
    problem = with_memory(seed, ties=seed % 2 == 0) | {"objective": "latency"}
    plans = [plan for plan in every_plan(problem) if within_constraints(problem, plan)]
    read = read_problem(problem)
    for stage_seconds in sorted({plan["bottleneck_seconds"] for plan in plans})[::5]:
        kept = [plan for plan in plans if plan["bottleneck_seconds"] <= stage_seconds * (1 + 1e-9) + 1e-12]
        answer = solve_within(read, stage_seconds)
        assert answer is not None
        assert answer.latency_seconds == pytest.approx(min(plan["latency_seconds"] for plan in kept), rel=1e-9)


def test_model_that_no_node_holds_alone_is_cut() -> None:
    problem = in_memory(80, 110, None)
    del problem["nodes"][2]
    del problem["links"][1]
    answer = solve(problem)
    assert (answer["edge"], answer["first_cut"], answer["feasible"]) == ("edge", 1, True)


def test_memory_that_is_taken_already_is_not_there() -> None:
    problem = in_memory(None, 170, None)
    problem["nodes"][0]["slowdown"] = problem["nodes"][2]["slowdown"] = 9
    assert solve(problem)["first_cut"] == 0
    problem["nodes"][1]["memory_taken_mb"] = 20
    assert (solve(problem)["first_cut"], solve(problem)["second_cut"]) == (1, 2)


def test_plan_that_does_not_fit_says_where_and_how_much() -> None:
    plan = {"variant": "full", "edge": "edge", "cloud": None, "first_cut": 1, "second_cut": 2, "codecs": ["raw"]}
    answer = evaluate(in_memory(80, 90, None), plan)
    assert answer["violates"] == [{"constraint": "memory_mb", "limit": 90.0, "value": 100.0, "node": "edge"}]


def test_no_plan_that_fits_is_no_plan_and_says_what_the_fastest_one_needs() -> None:
    answer = solve(in_memory(50, 50, 50, constraints={"deadline_seconds": 9.0}))
    assert (answer["feasible"], answer["variant"]) == (False, None)
    assert answer["violates"] == [{"constraint": "memory_mb", "limit": 50.0, "value": 160.0, "node": "device"}]
    assert solve_top(in_memory(50, 50, 50), 2) == [solve(in_memory(50, 50, 50))]


def test_memory_is_kept_when_all_else_is_given_up() -> None:
    constraints = {"deadline_seconds": 0.01, "min_first_cut": 2}
    answer = solve(in_memory(80, None, None, constraints=constraints))
    assert answer["first_cut"] == 1
    assert {each["constraint"] for each in answer["violates"]} == {"deadline_seconds", "min_first_cut"}


def test_alternatives_fit_too() -> None:
    others = alternatives(in_memory(80, 110, None))
    assert not others["device-only"]["feasible"]
    assert not others["edge-only"]["feasible"]
    assert others["cloud-only"]["feasible"]


def test_result_comes_back_to_who_waits_for_it() -> None:
    problem = in_memory(None, None, None)
    problem["nodes"][0]["slowdown"], problem["nodes"][1]["slowdown"] = 4, 2
    for link, latency in zip(problem["links"], (0.1, 0.2), strict=True):
        link["latency_seconds"] = latency
    plan = {"variant": "full", "edge": "edge", "cloud": "cloud", "first_cut": 0, "second_cut": 0, "codecs": ["raw"] * 2}
    plain = evaluate(problem, plan)["latency_seconds"]
    added = {}
    for destination in ("device", "site", "cloud"):
        problem["destination"] = destination
        added[destination] = evaluate(problem, plan)["latency_seconds"] - plain
    assert added == pytest.approx({"device": 0.3, "site": 0.2, "cloud": 0.0})
    problem["destination"] = "device"
    problem["links"].append({"from": "cloud", "to": "edge", "latency_seconds": 0.05, "mbps": 8})
    answer = evaluate(problem, plan)
    assert answer["stages"][-1] == {"kind": "return", "where": "cloud -> device", "seconds": pytest.approx(0.15)}
    assert answer["bottleneck_seconds"] == pytest.approx(1.0)


def test_way_back_changes_the_plan() -> None:
    problem = in_memory(None, None, None)
    problem["nodes"][2]["slowdown"], problem["links"][1]["latency_seconds"] = 0.01, 0.5
    assert solve(problem)["cloud"] == "cloud"
    assert solve({**problem, "destination": "device"})["cloud"] is None
    assert solve({**problem, "destination": "cloud"})["cloud"] == "cloud"


def test_nobody_at_the_destination_is_no_plan() -> None:
    problem = in_memory(None, None, None, destination="cloud")
    del problem["nodes"][2], problem["links"][1]
    assert not solve(problem)["feasible"]
    plan: dict[str, Any] = {"variant": "full", "edge": None, "cloud": None, "first_cut": 2, "second_cut": 2}
    plan["codecs"] = []
    with pytest.raises(SettingsError, match="a way for the result, to the cloud"):
        evaluate(problem, plan)


def test_form_1_takes_the_new_fields_for_notes() -> None:
    problem = copy.deepcopy(in_memory(1, 1, 1, destination="cloud"))
    assert solve({**problem, "format": "tiercut-plan-problem/1"}) == solve(line())


WRONG: list[tuple[tuple[str | int, ...], Any, str]] = [
    (("nodes", 0, "memory_mb"), -1, "'nodes.0..memory_mb'.*at least 0"),
    (("nodes", 0, "memory_mb"), "much", "'nodes.0..memory_mb'.*a number"),
    (("nodes", 0, "memory_taken_mb"), -1, "'nodes.0..memory_taken_mb'.*at least 0"),
    (("nodes", 0, "loaded"), [["half", 0, 1]], "'nodes.0..loaded.0.'.*one of full.*half"),
    (("nodes", 0, "loaded"), [["full", 1, 3]], "'nodes.0..loaded.0.'.*first < last <= 2.*1, 3"),
    (("nodes", 0, "loaded"), [["full", 1]], "nodes.0..loaded.0.*"),
    (("nodes", 0, "memory"), 64, "'nodes.0..memory'.*'memory_mb'"),
    (("model", "variants", 0, "block_weights_mb"), [1], "block_weights_mb'.*2 numbers.*1 numbers"),
    (("model", "variants", 0, "block_peak_mb"), [1, -1], "block_peak_mb.1.'.*at least 0"),
    (("model", "variants", 0, "block_peaks_mb"), [1, 1], "'block_peak_mb'"),
    (("destination",), "home", "'destination'.*one of device, site, cloud.*home"),
    (("destinations",), "site", "'destinations'.*'destination'"),
]


@pytest.mark.parametrize(("where", "value", "message"), WRONG)
def test_wrong_field_is_named_with_what_was_expected(where: tuple[str | int, ...], value: object, message: str) -> None:
    problem: Any = in_memory(None, None, None)
    at = problem
    for key in where[:-1]:
        at = at[key]
    at[where[-1]] = value
    with pytest.raises(SettingsError, match=message):
        solve(problem)
