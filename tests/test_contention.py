"""How much slower nodes and links are beside other streams."""

import pytest

from tests.plan_problems import random_problem
from tiercut.planner import beside
from tiercut.planner.contention import stretch
from tiercut.planner.document import read_problem


def test_stretch_has_no_step_and_grows_beyond_the_limit() -> None:
    assert stretch(0.0) == 1.0
    assert stretch(0.5) == 2.0
    assert stretch(0.9 + 1e-9) == pytest.approx(stretch(0.9))
    assert stretch(1.5) > stretch(1.0) > stretch(0.99)


def test_only_what_others_take_is_slower_and_its_measured_queue_counts_once() -> None:
    problem = next(
        read for seed in range(50) if (read := read_problem(random_problem(seed, ties=False))).edges and read.links
    )
    edge, ends = problem.edges[0], next(iter(problem.links))
    seen = beside(problem, {edge.id: 0.5, f"{ends[0]} -> {ends[1]}": 0.75})
    assert seen.edges[0].slowdown == pytest.approx(2 * edge.slowdown)
    assert seen.edges[0].queue_seconds == 0.0
    assert seen.links[ends].mbps == pytest.approx(problem.links[ends].mbps / 4)
    assert seen.device is problem.device
    assert seen.edges[1:] == problem.edges[1:]
