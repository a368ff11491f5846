"""What the coordinator does not do again: solve, explain and probe where hardly anything has moved."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from tests.coordinating import Told
from tiercut.coordinator.actions import Explain
from tiercut.coordinator.problem import build
from tiercut.coordinator.standing import alike
from tiercut.planner.problem import Problem


def explained(told: Told, since: int) -> int:
    """How many explanations were said since so many events."""
    return sum(isinstance(action, Explain) for said in told.coordinator.said[since:] for action in said)


def problem(told: Told) -> Problem:
    """The problem of the site's stream now."""
    found = build(told.coordinator.goal("cam"), told.coordinator.view, told.now_s)
    assert found is not None
    return found


def test_stream_whose_figures_stay_is_explained_rarely_and_at_once_where_they_do_not() -> None:
    told = Told().site()
    told.frames(200)
    since = len(told.coordinator.said)
    told.frames(100)
    assert explained(told, since) <= 3
    since = len(told.coordinator.said)
    told.frames(30, slow={"e": 4.0, "c": 4.0, "d": 4.0, "f": 4.0})
    assert explained(told, since) >= 3


def test_plan_without_a_frame_leaves_the_coordinator_calm() -> None:
    told = Told().site()
    told.passes(10)
    assert told.coordinator.calm(told.now_s)


def test_sensor_that_goes_on_as_before_leaves_the_coordinator_calm_and_another_rate_does_not() -> None:
    told = Told().site()
    told.source(asked_fps=10.0, done_fps=10.0, seconds=12.0)
    assert told.coordinator.calm(told.now_s)
    told.source(asked_fps=20.0, done_fps=10.0, seconds=2.0)
    assert not told.coordinator.calm(told.now_s)


def test_links_are_probed_more_rarely_while_no_stream_has_frames() -> None:
    told = Told().site()
    told.passes(300)
    before = len(told.probes)
    told.passes(60)
    idle = len(told.probes) - before
    told.frames(200)
    before, since_s = len(told.probes), told.now_s
    told.frames(600)
    per_minute = (len(told.probes) - before) / (told.now_s - since_s) * 60
    assert 0 < idle < per_minute / 2


def test_slow_drift_adds_up_until_it_is_another_problem() -> None:
    told = Told().site()
    then = problem(told)
    links = [
        {ends: replace(link, mbps=link.mbps * factor) for ends, link in then.links.items()} for factor in (1.03, 1.06)
    ]
    assert alike(then, replace(then, links=links[0]))
    assert not alike(then, replace(then, links=links[1]))
    assert alike(then, replace(then, links=links[1]), math.inf)


@pytest.mark.parametrize("change", [{"deadline_seconds": 0.1}, {"clouds": ()}, {"min_first_cut": 1}])
def test_other_nodes_or_terms_are_another_problem(change: dict[str, object]) -> None:
    then = problem(Told().site())
    assert not alike(then, replace(then, **change), math.inf)  # type: ignore[arg-type]


def test_block_that_has_become_slower_is_another_problem() -> None:
    then = problem(Told().site())
    slower = {name: seconds * 1.2 for name, seconds in then.device.block_seconds.items()}
    assert not alike(then, replace(then, device=replace(then.device, block_seconds=slower)))
