"""Several streams: they share, they settle, and they come close to the best for all."""

import statistics
from dataclasses import replace
from typing import Any

import pytest

from tests.joint_brute_force import best_together, frames_in_flight, priced, small_site
from tests.planning import JointPlan, Stream, plan_together, solve
from tiercut.errors import SettingsError
from tiercut.planner.contention import stretch
from tiercut.planner.document import written
from tiercut.planner.joint import _Table


def two_edges(streams: int, frames_per_second: float = 4.0) -> list[Stream]:
    """Devices too slow for the model, before two equal edges that each keep a frame for 0.1 s."""
    return [
        Stream(name=f"s{index}", problem=with_two_edges(f"d{index}"), frames_per_second=frames_per_second)
        for index in range(streams)
    ]


def with_two_edges(device: str) -> dict[str, Any]:
    seconds = {device: 20.0, "e0": 0.1, "e1": 0.1}
    return {
        "format": "tiercut-plan-problem/1",
        "model": {"name": "m", "variants": [{"name": "full", "cut_bytes": [1000, 0]}]},
        "nodes": [
            {"id": name, "tier": "device" if name == device else "edge", "block_seconds": {"full": [value]}}
            for name, value in seconds.items()
        ],
        "links": [{"from": device, "to": edge, "mbps": 100, "latency_seconds": 0.001} for edge in ("e0", "e1")],
        "objective": "latency",
    }


def edges_of(joint: JointPlan) -> list[str]:
    return sorted(answer["edge"] for answer in joint.answers.values())


def test_streams_spread_over_equal_edges() -> None:
    streams = two_edges(4)
    alone = {solve(stream.problem)["edge"] for stream in streams}
    joint = plan_together(streams)
    assert alone == {"e0"}
    assert joint.settled
    assert edges_of(joint) == ["e0", "e0", "e1", "e1"]
    assert joint.load["e0"] == pytest.approx(0.8)


def test_stream_does_not_overload_an_edge_while_it_has_another_way() -> None:
    streams = two_edges(3, frames_per_second=4.5)
    for stream in streams:
        stream.problem["links"][1]["latency_seconds"] = 2.0  # farther than the crowd on e0 costs
    joint = plan_together(streams)
    assert edges_of(joint) == ["e0", "e0", "e1"]
    assert max(joint.load["e0"], joint.load["e1"]) < 1


def test_one_stream_gets_the_plan_it_would_get_alone() -> None:
    (stream,) = small_site(3, 1)
    joint = plan_together([stream])
    assert joint.answers["s0"] == solve(stream.problem)
    assert joint.rounds == 2


def test_latencies_and_loads_follow_from_the_plans() -> None:
    streams = small_site(5, 3)
    joint = plan_together(streams)
    names = ("edge", "cloud", "first_cut", "second_cut")
    plans = [
        next(plan for plan in priced(stream) if all(plan[2][name] == answer[name] for name in names))
        for stream, answer in zip(streams, joint.answers.values(), strict=True)
    ]
    assert joint.frames_in_flight == pytest.approx(frames_in_flight(streams, plans))


def test_no_stream_gains_more_than_one_percent_by_moving_alone() -> None:
    for seed in range(20):
        streams = small_site(seed, 8)
        joint = plan_together(streams)
        for stream, answer in zip(streams, joint.answers.values(), strict=True):
            device = answer["device"]
            others = {where: taken for where, taken in joint.load.items() if not where.startswith(device)}
            assert joint.settled
            assert answer["latency_seconds"] <= 1.0101 * best_beside(stream, answer, others)


def best_beside(stream: Stream, answer: dict[str, object], load: dict[str, float]) -> float:
    """Least latency of a stream when all others stay."""
    own = next(
        busy
        for _, busy, plan in priced(stream)
        if all(plan[name] == answer[name] for name in ("edge", "cloud", "first_cut", "second_cut"))
    )
    others = {where: taken - stream.frames_per_second * own.get(where, 0.0) for where, taken in load.items()}
    return min(
        fixed + sum(seconds * stretch(others.get(where, 0.0)) for where, seconds in busy.items())
        for fixed, busy, _ in priced(stream)
        if all(others.get(where, 0.0) + stream.frames_per_second * seconds < 1 for where, seconds in busy.items())
    )


def test_gap_to_the_best_for_all_is_small() -> None:
    gaps = []
    for seed in range(12):
        streams = small_site(seed, 3 if seed % 3 == 0 else 2)
        gaps.append(plan_together(streams).frames_in_flight / best_together(streams)[0] - 1)
    assert min(gaps) > -1e-9
    assert statistics.mean(gaps) < 0.03
    assert max(gaps) < 0.15


def test_stream_gives_way_to_one_that_has_no_other_edge() -> None:
    first, second = two_edges(2)
    first.problem["nodes"][2]["block_seconds"]["full"] = [0.12]  # e1 is the second choice
    del second.problem["links"][1]
    table = _Table([first.read(), second.read()])
    assert [table.round([0, 1]) for _ in range(3)] == [2, 1, 0]
    assert [written(table.answer(index, table.plans[index]))["edge"] for index in (0, 1)] == ["e1", "e0"]
    assert (table.total["e0"], table.total["e1"]) == pytest.approx((0.4, 0.48))


def test_streams_planned_together_keep_their_noise() -> None:
    slow = {"ratio": 1.5, "encode_seconds_per_mb": 50}  # nobody would take it for its size
    noisy = {"codecs": [{"name": "noisy", "cuts": [0, 0], "noise": 0.2, **slow}], "constraints": {"min_noise": 0.1}}
    joint = plan_together([replace(stream, problem={**stream.problem, **noisy}) for stream in two_edges(3)])
    assert all(answer["feasible"] for answer in joint.answers.values())
    assert {codec for answer in joint.answers.values() for codec in answer["codecs"]} == {"noisy"}


def test_stretch_has_no_step_and_grows_beyond_the_limit() -> None:
    assert stretch(0.0) == 1.0
    assert stretch(0.5) == 2.0
    assert stretch(0.9 + 1e-9) == pytest.approx(stretch(0.9))
    assert stretch(1.5) > stretch(1.0) > stretch(0.99)


def test_streams_need_names_of_their_own_and_a_rate() -> None:
    first, second = two_edges(2)
    twin = Stream(name=first.name, problem=second.problem, frames_per_second=1)
    still = Stream(name="still", problem=second.problem, frames_per_second=0)
    with pytest.raises(SettingsError, match="s0 twice"):
        plan_together([first, twin])
    with pytest.raises(SettingsError, match="greater than 0"):
        plan_together([first, still])
    assert plan_together([]).answers == {}
