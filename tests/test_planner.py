"""One stream: the planner finds what trying every plan finds, ties included."""

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiercut
from tests.brute_force import best, every_plan, within_constraints
from tests.plan_problems import OBJECTIVES, random_problem
from tests.planning import alternatives, evaluate, solve, solve_top
from tiercut.errors import SettingsError
from tiercut.planner import solve_within, throughput
from tiercut.planner.document import read_problem

EXAMPLES = sorted((Path(__file__).parent / "data" / "plan").glob("*.json"))


def example(name: str) -> dict[str, Any]:
    document = json.loads((Path(__file__).parent / "data" / "plan" / f"{name}.json").read_text())
    problem: dict[str, Any] = document["problem"]
    return problem


def line(**changes: Any) -> dict[str, Any]:
    """Two blocks; a device, an edge and a cloud in a row, all equally fast; links at 8 Mbit/s, so 1 s per MB."""
    problem = {
        "format": "tiercut-plan-problem/1",
        "model": {"name": "m", "variants": [{"name": "full", "accuracy": 0.9, "cut_bytes": [100_000, 100_000, 8]}]},
        "nodes": [
            {"id": tier, "tier": tier, "block_seconds": {"full": [0.5, 0.5]}} for tier in ("device", "edge", "cloud")
        ],
        "links": [
            {"from": "device", "to": "edge", "latency_seconds": 0.0, "mbps": 8},
            {"from": "edge", "to": "cloud", "latency_seconds": 0.0, "mbps": 8},
        ],
        "codecs": [],
        "objective": "latency",
        "constraints": {},
    }
    return {**problem, **changes}


def assert_same(found: dict[str, Any], wanted: dict[str, Any]) -> None:
    for name, value in wanted.items():
        if isinstance(value, float):
            assert found[name] == pytest.approx(value, rel=1e-9, abs=1e-12), name
        else:
            assert found[name] == value, name


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_have_their_exact_answers(path: Path) -> None:
    document = json.loads(path.read_text())
    answer = tiercut.solve(document["problem"])
    assert answer["feasible"] == (document["answer"] is not None)
    if document["answer"] is not None:
        assert {name: answer[name] for name in document["answer"]} == document["answer"]


@pytest.mark.parametrize("ties", [True, False])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_solve_finds_what_trying_every_plan_finds(objective: str, *, ties: bool) -> None:
    hops = set()
    for seed in range(200):
        problem = {**random_problem(seed, ties=ties), "objective": objective}
        wanted, found = best(problem), solve(problem)
        assert found["feasible"] == (wanted is not None), seed
        if wanted is not None:
            assert_same(found, wanted)
            hops.add(len(wanted["codecs"]))
    assert hops == {0, 1, 2}


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_top_plans_are_the_best_of_all_plans_in_order(objective: str) -> None:
    for seed in range(40):
        problem = {**random_problem(seed, ties=False), "objective": objective, "constraints": {}}
        wanted = sorted(rank(objective, plan) for plan in every_plan(problem))[:6]
        found = solve_top(problem, 6)
        if not wanted:
            assert not found[0]["feasible"]
            continue
        assert np.array([rank(objective, plan) for plan in found]) == pytest.approx(np.array(wanted))
        assert len({json.dumps(plan) for plan in found}) == len(found)
        assert_same(found[0], solve(problem))


def rank(objective: str, plan: dict[str, Any]) -> tuple[float, float]:
    primary = {
        "latency": 0.0,
        "accuracy": -plan["accuracy"],
        "energy": plan["energy_joules"],
        "throughput": plan["bottleneck_seconds"],
    }[objective]
    return round(primary, 10), round(plan["latency_seconds"], 10)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_solve_agrees_with_the_table_of_all_plans_on_long_models(objective: str) -> None:
    for seed in range(6):
        problem = {**random_problem(seed, ties=False, blocks=40), "objective": objective}
        assert_same(solve_top(problem, 1)[0], solve(problem))


@pytest.mark.parametrize("narrow", [throughput.NARROW, 10.0])
def test_throughput_keeps_deadline_and_accuracy_on_long_models(narrow: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throughput, "NARROW", narrow)  # the greater, the more is left to the list of stages
    shared = {"ratio": 8.0, "cuts": [0, 99]}
    codecs = [{"name": f"c{drop}", "accuracy_drop": drop / 100, **shared, "ratio": 2.0**drop} for drop in (1, 2, 3)]
    two_hops = 0
    for seed in range(12):
        problem = long_line(seed, codecs)
        free, fast = solve(problem), solve({**problem, "objective": "latency"})
        middle = (free["latency_seconds"] + 2 * fast["latency_seconds"]) / 3
        problem["constraints"] = {"deadline_seconds": middle, "max_accuracy_drop": 0.03}
        found = solve(problem)
        assert_same(solve_top(problem, 1)[0], found)
        two_hops += len(found["codecs"]) == 2
    assert two_hops > 6


def long_line(seed: int, codecs: list[dict[str, Any]]) -> dict[str, Any]:
    """30 blocks of drawn lengths on a line of three nodes, so that throughput asks for two cuts."""
    draw = np.random.default_rng(seed)
    problem = line(objective="throughput", codecs=codecs)
    problem["model"]["variants"][0]["cut_bytes"] = [int(size) for size in draw.integers(50_000, 400_000, 31)]
    for index, node in enumerate(problem["nodes"]):
        node["block_seconds"]["full"] = list(map(float, draw.random(30) / (10 + 5 * index)))
    return problem


def test_every_plan_is_evaluated_as_the_form_says() -> None:
    for seed in range(30):
        problem = random_problem(seed, ties=False)
        for plan in every_plan(problem):
            answer = evaluate(problem, plan)
            assert_same(answer, plan)
            assert answer["feasible"] == within_constraints(problem, plan)
            assert answer["latency_seconds"] == pytest.approx(sum(stage["seconds"] for stage in answer["stages"]))


def test_fewer_hops_win_between_equal_plans() -> None:
    problem = line(model={"name": "m", "variants": [{"name": "full", "accuracy": 1.0, "cut_bytes": [0, 0, 0]}]})
    assert solve(problem)["codecs"] == []
    problem["nodes"][0]["block_seconds"] = {}
    answer = solve(problem)
    assert (answer["edge"], answer["cloud"], answer["codecs"]) == ("edge", None, ["raw"])


def test_equal_plans_go_by_first_cut_then_by_cloud() -> None:
    nodes = {"device": ("device", [0.1, 9.0]), "near": ("cloud", [0.2, 0.1]), "far": ("cloud", [0.1, 0.1])}
    problem = line(
        nodes=[{"id": name, "tier": tier, "block_seconds": {"full": run}} for name, (tier, run) in nodes.items()],
        links=[{"from": "device", "to": name, "mbps": 8, "latency_seconds": 0} for name in ("near", "far")],
    )
    assert (solve(problem)["cloud"], solve(problem)["first_cut"]) == ("far", 0)
    top = [(plan["cloud"], plan["first_cut"]) for plan in solve_top(problem, 3)]
    assert top == [("far", 0), ("near", 1), ("far", 1)]


def test_equal_sums_in_another_order_are_a_tie() -> None:
    problem = line()
    problem["nodes"][0]["block_seconds"]["full"] = [0.1, 0.2]  # 0.30000000000000004
    problem["nodes"][1]["block_seconds"]["full"] = [0.2, 0.0]
    problem["model"]["variants"][0]["cut_bytes"] = [100_000, 10_000_000, 0]
    problem["constraints"] = {"deadline_seconds": 0.3}
    assert solve(problem)["codecs"] == []


def test_edge_relays_where_device_and_cloud_have_no_link() -> None:
    problem = line()
    problem["nodes"][1]["block_seconds"] = {}
    problem["nodes"][1]["queue_seconds"] = 99
    problem["nodes"][2]["block_seconds"] = {"full": [0.01, 0.01]}
    answer = solve(problem)
    assert (answer["edge"], answer["cloud"], answer["first_cut"], answer["second_cut"]) == ("edge", "cloud", 0, 0)
    assert [stage["where"] for stage in answer["stages"]] == ["device -> edge", "edge -> cloud", "cloud"]


def test_direct_link_beats_the_relay() -> None:
    problem = line()
    problem["nodes"][2]["block_seconds"] = {"full": [0.01, 0.01]}
    problem["links"].append({"from": "device", "to": "cloud", "latency_seconds": 0.05, "mbps": 8})
    assert solve(problem)["edge"] is None


def test_throughput_takes_the_shortest_longest_stage() -> None:
    problem = line(objective="throughput")
    problem["model"]["variants"][0]["cut_bytes"] = [500_001, 100_000, 0]
    answer = solve(problem)
    assert (answer["first_cut"], answer["second_cut"], answer["bottleneck_seconds"]) == (1, 2, 0.5)


def test_accuracy_counts_the_codecs_of_both_hops() -> None:
    codec = {"name": "lossy", "ratio": 100.0, "accuracy_drop": 0.04}
    problem = line(codecs=[codec], constraints={"max_accuracy_drop": 0.05, "min_first_cut": 1})
    problem["nodes"][0]["slowdown"], problem["nodes"][2]["slowdown"] = 4, 0.1
    problem["nodes"][1]["block_seconds"] = {}
    assert sorted(solve(problem)["codecs"]) == ["lossy", "raw"]
    problem["constraints"]["max_accuracy_drop"] = 0.08
    assert solve(problem)["codecs"] == ["lossy", "lossy"]


def test_codec_stays_within_its_cuts() -> None:
    codec = {"name": "jpeg", "ratio": 10.0, "cuts": [0, 0]}
    problem = line(codecs=[codec])
    problem["nodes"][0]["slowdown"] = 9
    assert solve(problem)["codecs"] == ["jpeg"]
    problem["constraints"] = {"min_first_cut": 1}
    assert solve(problem)["codecs"] == ["raw"]


def test_missed_deadline_gives_the_fastest_plan_and_what_it_misses() -> None:
    answer = solve(line(constraints={"deadline_seconds": 0.1}))
    assert answer["feasible"] is False
    assert answer["latency_seconds"] == 1.0
    assert answer["violates"] == [{"constraint": "deadline_seconds", "limit": 0.1, "value": 1.0}]


def test_privacy_is_given_up_last() -> None:
    problem = line(constraints={"min_first_cut": 3, "deadline_seconds": 0.1, "max_accuracy_drop": 0.0})
    answer = solve(problem)
    assert answer["first_cut"] == 2
    assert [item["constraint"] for item in answer["violates"]] == ["min_first_cut", "deadline_seconds"]


def test_nearest_plan_is_the_best_after_what_is_given_up() -> None:
    steps: list[dict[str, Any]] = [
        {"objective": "latency", "deadline_seconds": None},
        {"objective": "accuracy", "deadline_seconds": None, "max_accuracy_drop": None},
        {"objective": "accuracy", "deadline_seconds": None, "max_accuracy_drop": None, "min_noise": 0},
    ]
    reached = set()
    for seed in range(300):
        problem = random_problem(seed, ties=True)
        if best(problem) is not None:
            continue
        for number, step in enumerate(steps):
            limits = problem["constraints"] | {name: value for name, value in step.items() if name != "objective"}
            wanted = best({**problem, "objective": step["objective"], "constraints": limits})
            if wanted is not None:
                assert_same(solve(problem), wanted)
                reached.add(number)
                break
    assert reached == {0, 1, 2}


def test_no_node_for_the_model_is_an_answer_without_a_plan() -> None:
    problem = line(links=[])
    problem["nodes"][0]["block_seconds"] = {}
    answer = solve(problem)
    assert (answer["feasible"], answer["variant"], answer["first_cut"]) == (False, None, None)
    assert solve_top(problem, 3) == [answer]


def test_alternatives_are_the_best_of_their_kind() -> None:
    problem = example("two-cuts-win")
    others = alternatives(problem)
    ends = {kind: (answer["edge"], answer["cloud"], answer["second_cut"]) for kind, answer in others.items()}
    assert ends == {
        "device-only": (None, None, 25),
        "edge-only": ("vm2Core", None, 25),
        "cloud-only": ("2500", "6700k(GPU)", 1),
        "best-single-cut": ("vm2Core", None, 25),
    }
    assert all(answer["latency_seconds"] > solve(problem)["latency_seconds"] for answer in others.values())


def test_best_single_cut_is_the_best_plan_with_one_cut() -> None:
    for seed in range(60):
        problem = random_problem(seed, ties=False)
        found = alternatives(problem)["best-single-cut"]
        one_cut = [
            plan
            for plan in every_plan(problem)
            if within_constraints(problem, plan) and (plan["first_cut"] == plan["second_cut"] or plan["cloud"] is None)
        ]
        assert found["feasible"] == bool(one_cut)
        if one_cut:
            wanted = min(rank(problem["objective"], plan) for plan in one_cut)
            assert rank(problem["objective"], found) == pytest.approx(wanted)


def test_solving_does_not_change_the_problem() -> None:
    problem = example("least-energy")
    before = copy.deepcopy(problem)
    solve(problem)
    alternatives(problem)
    assert problem == before


def test_evaluate_refuses_a_plan_over_a_missing_link() -> None:
    plan = {"variant": "full", "edge": None, "cloud": "cloud", "first_cut": 1, "second_cut": 1, "codecs": ["raw"]}
    with pytest.raises(SettingsError, match="none from device to cloud"):
        evaluate(line(), plan)
    with pytest.raises(SettingsError, match="first_cut equal to second_cut"):
        evaluate(line(), {**plan, "second_cut": 2})


@pytest.mark.parametrize("seed", range(16))
def test_quickest_plan_of_short_stages_is_that_of_all_plans(seed: int) -> None:
    problem = random_problem(seed, ties=seed % 2 == 0) | {"objective": "latency"}
    plans = [plan for plan in every_plan(problem) if within_constraints(problem, plan)]
    read = read_problem(problem)
    for stage_seconds in sorted({plan["bottleneck_seconds"] for plan in plans})[::7]:
        kept = [plan for plan in plans if plan["bottleneck_seconds"] <= stage_seconds * (1 + 1e-9) + 1e-12]
        answer = solve_within(read, stage_seconds)
        assert answer is not None
        assert answer.longest_stage_seconds <= stage_seconds * (1 + 1e-9) + 1e-12
        assert answer.latency_seconds == pytest.approx(min(plan["latency_seconds"] for plan in kept), rel=1e-9)
    shortest = min((plan["bottleneck_seconds"] for plan in plans), default=0.0)
    assert solve_within(read, 0.9 * shortest - 1e-6) is None
