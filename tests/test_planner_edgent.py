"""Edgent's rule: one cut, raw tensors, exits from the most accurate down."""

from typing import Any

import pytest

from tests.brute_force import every_plan, slack
from tests.plan_problems import random_problem
from tests.planning import edgent, solve
from tests.test_planner import assert_same


def by_the_rule(problem: dict[str, Any]) -> dict[str, Any] | None:
    """The same by trying every cut of every exit."""
    limits = problem.get("constraints", {})
    deadline, min_cut = limits.get("deadline_seconds", 1e9), limits.get("min_first_cut", 0)
    plans = [
        plan
        for plan in every_plan({**problem, "codecs": []})
        if (plan["first_cut"] == plan["second_cut"] or plan["cloud"] is None) and plan["first_cut"] >= min_cut
    ]
    for variant in sorted(problem["model"]["variants"], key=lambda variant: -variant["accuracy"]):
        mine = [plan for plan in plans if plan["variant"] == variant["name"]]
        best = min(mine, key=lambda plan: plan["latency_seconds"], default=None)
        if best is not None and best["latency_seconds"] <= deadline + slack(deadline):
            return best
    return None


def test_rule_is_followed_as_by_trying_every_cut() -> None:
    feasible, exits = 0, set()
    for seed in range(250):
        problem = random_problem(seed, ties=False)
        for name in ("max_accuracy_drop", "min_noise"):
            problem["constraints"].pop(name, None)
        wanted, found = by_the_rule(problem), edgent(problem)
        assert found["feasible"] == (wanted is not None), seed
        if wanted is not None:
            assert_same(found, wanted)
            feasible += 1
            exits.add(found["variant"])
    assert feasible > 100
    assert len(exits) == 3


def test_no_exit_in_time_gives_the_fastest_and_says_so() -> None:
    problem = two_exits(deadline_seconds=0.05)
    answer = edgent(problem)
    assert (answer["feasible"], answer["variant"], answer["latency_seconds"]) == (False, "exit", 0.1)
    assert [item["constraint"] for item in answer["violates"]] == ["deadline_seconds"]


@pytest.mark.parametrize(("deadline", "variant"), [(0.1, "exit"), (0.39, "exit"), (0.4, "full"), (None, "full")])
def test_less_accurate_exit_is_taken_only_where_the_better_is_late(deadline: float | None, variant: str) -> None:
    assert edgent(two_exits(deadline_seconds=deadline))["variant"] == variant


def test_exits_below_the_limit_on_accuracy_are_not_tried() -> None:
    answer = edgent(two_exits(deadline_seconds=0.2, max_accuracy_drop=0.05))
    assert (answer["feasible"], answer["variant"]) == (False, "full")


def test_codecs_are_not_for_edgent() -> None:
    problem = two_exits(deadline_seconds=0.35)
    assert (solve(problem)["variant"], solve(problem)["codecs"]) == ("full", ["packed"])
    assert edgent(problem)["variant"] == "exit"


def test_planner_is_never_less_accurate_than_the_rule() -> None:
    for seed in range(150):
        problem = {**random_problem(seed, ties=True), "objective": "accuracy"}
        theirs, ours = edgent(problem), solve(problem)
        assert ours["feasible"] >= theirs["feasible"]
        if theirs["feasible"]:
            assert ours["accuracy"] >= theirs["accuracy"] - 1e-12


def two_exits(**constraints: Any) -> dict[str, Any]:
    """A device that takes 0.1 s to its exit and 1 s to the end; 0.3 s of sending and 0.1 s on the edge instead."""
    full = {"name": "full", "accuracy": 0.9, "cut_bytes": [300_000, 300_000, 40]}
    blocks = {"device": {"full": [0.1, 0.9], "exit": [0.1]}, "edge": {"full": [0.05, 0.05], "exit": [0.05]}}
    return {
        "format": "tiercut-plan-problem/1",
        "model": {"name": "m", "variants": [{"name": "exit", "accuracy": 0.8, "cut_bytes": [300_000, 40]}, full]},
        "nodes": [{"id": tier, "tier": tier, "block_seconds": seconds} for tier, seconds in blocks.items()],
        "links": [{"from": "device", "to": "edge", "latency_seconds": 0, "mbps": 8}],
        "codecs": [{"name": "packed", "ratio": 4, "cuts": [0, 1]}],
        "objective": "accuracy",
        "constraints": constraints,
    }
