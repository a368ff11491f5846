"""All streams of a site together: as good as trying every plan, fair, and within what nodes and lines can do."""

import math
import random
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict, replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.lite_site import Setting, problem_of, site_of
from tests.site_brute_force import Asked, Site, best_rates, busy_seconds, least_latency, random_site
from tiercut.errors import SettingsError
from tiercut.planner import (
    Choice,
    Problem,
    SharedLine,
    SitePlan,
    SiteProblem,
    SiteStream,
    plan_site,
    plan_site_with,
    solve,
)
from tiercut.planner.best import evaluate
from tiercut.planner.objectives import THROUGHPUT
from tiercut.planner.problem import RAW, Codec, Node
from tiercut.planner.site import filling


def exact(site: SiteProblem, known: dict[str, list[Choice]] | None = None) -> SitePlan:
    """With all ways, however few frames take them."""
    return plan_site(site, known=known, least_share=0.0)


def rates(plan: SitePlan) -> list[float]:
    return [share.frames_per_second for share in plan.shares.values()]


def followed(plan: SitePlan) -> dict[str, list[Choice]]:
    return {name: [way.choice for way in share.ways] for name, share in plan.shares.items()}


def only(site: SiteProblem, **changes: Any) -> SiteProblem:
    streams = tuple(replace(stream, problem=replace(stream.problem, **changes)) for stream in site.streams)
    return replace(site, streams=streams)


def two_edges(device: str, edges: tuple[str, ...] = ("e0", "e1"), **limits: Any) -> dict[str, Any]:
    """A device too slow for the model, before equal edges that each keep a frame for 0.1 s."""
    seconds = {device: 20.0, **dict.fromkeys(edges, 0.1)}
    return {
        "format": "tiercut-plan-problem/1",
        "model": {"name": "m", "variants": [{"name": "full", "cut_bytes": [12_500, 0]}]},
        "nodes": [
            {"id": name, "tier": "device" if name == device else "edge", "block_seconds": {"full": [value]}}
            for name, value in seconds.items()
        ],
        "links": [{"from": device, "to": edge, "mbps": 100, "latency_seconds": 0.001} for edge in edges],
        "objective": "latency",
        "constraints": {"deadline_seconds": 1.0, **limits},
    }


def stream(name: str, edges: tuple[str, ...] = ("e0", "e1"), **asked: Any) -> Asked:
    return Asked(name=name, problem=two_edges(f"d-{name}", edges), **asked)


@pytest.mark.parametrize("seed", range(40))
def test_rates_and_latency_are_those_of_trying_every_plan(seed: int) -> None:
    site = random_site(seed, streams=1 + seed % 4)
    fair, plan = best_rates(site), exact(site.read())
    assert rates(plan) == pytest.approx(fair.rates, rel=3e-5, abs=1e-6)
    assert plan.gap < 3e-6
    if fair.owner:
        taken = sum(way.frames_per_second * way.latency_seconds for share in plan.shares.values() for way in share.ways)
        assert taken <= 1.002 * least_latency(fair) + 1e-6


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(1000, 100_000), streams=st.integers(1, 6))
def test_no_resource_is_used_beyond_its_part_and_every_way_keeps_the_constraints(seed: int, streams: int) -> None:
    site = random_site(seed, streams=streams).read()
    plan, taken = plan_site(site), dict(site.taken)
    for where, part in plan.load.items():
        assert part <= max(site.filled, taken.get(where, 0.0)) + 1e-6
    closed = {ends for line in site.lines if line.mbps == 0 for ends in line.links}
    for one in site.streams:
        share = plan.shares[one.name]
        assert share.frames_per_second <= one.frames_per_second * (1 + 1e-6)
        assert len(share.ways) <= 8
        for way in share.ways:
            answer = evaluate(one.problem, way.choice)
            assert answer.feasible
            assert answer.latency_seconds == pytest.approx(way.latency_seconds)
            stops = [one.problem.device.id, *filter(None, (way.choice.edge, way.choice.cloud))]
            assert closed.isdisjoint(pairwise(stops))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(1000, 100_000))
def test_no_stream_can_have_more_without_one_that_has_no_more_having_less(seed: int) -> None:
    site = random_site(seed, streams=4)
    fair, plan = best_rates(site), exact(site.read())
    mine = rates(plan)
    for index, one in enumerate(site.streams):
        if index not in fair.owner or mine[index] >= one.frames_per_second * (1 - 1e-4):
            continue
        level = mine[index] / one.weight
        # Those that have less or as much, by weight, keep what they have; of the others anything may be taken.
        least = [
            min(rate, level * (1 + 1e-4) * other.weight) * (1 - 1e-8)
            for rate, other in zip(mine, site.streams, strict=True)
        ]
        assert fair.most(index, least) <= mine[index] * 1.01 + 1e-3


def test_equal_streams_share_equally_and_a_weight_of_two_gets_twice_as_much() -> None:
    plan = exact(Site(streams=[stream("a"), stream("b"), stream("heavy", weight=2.0)]).read())
    assert plan.frames_per_second == pytest.approx(17.0)
    assert rates(plan) == pytest.approx([4.25, 4.25, 8.5], rel=1e-5)
    assert plan.least == pytest.approx(4.25, rel=1e-5)


def test_stream_blocked_by_its_own_bottleneck_does_not_hold_the_others_down() -> None:
    slow = stream("slow", ("e0",))
    slow.problem["links"][0]["mbps"] = 0.2  # two frames a second
    plan = exact(Site(streams=[slow, stream("a"), stream("b")]).read())
    assert rates(plan) == pytest.approx([1.7, 7.65, 7.65], rel=1e-5)
    assert plan.shares["slow"].short == ("d-slow -> e0",)
    assert set(plan.shares["a"].short) == {"e0", "e1"}


def test_stream_is_short_of_its_own_edge_alone() -> None:
    plan = exact(Site(streams=[stream("a", ("e0",)), stream("b", ("e1",))]).read())
    assert plan.shares["a"].short == ("e0",)
    assert plan.shares["b"].short == ("e1",)


def test_streams_that_have_all_they_ask_for_are_short_of_nothing() -> None:
    plan = plan_site(Site(streams=[stream("a", frames_per_second=2.0), stream("b", frames_per_second=3.0)]).read())
    assert rates(plan) == pytest.approx([2.0, 3.0])
    assert plan.least == math.inf
    assert [share.short for share in plan.shares.values()] == [(), ()]


def test_stream_without_a_plan_gets_no_way_and_does_not_disturb_others() -> None:
    never = Asked(name="never", problem=two_edges("d-never", deadline_seconds=0.05), frames_per_second=5.0)
    plan = plan_site(Site(streams=[never, stream("a")]).read())
    assert plan.shares["never"].ways == ()
    assert plan.shares["never"].frames_per_second == 0
    assert plan.shares["a"].frames_per_second == pytest.approx(17.0)
    assert plan.least == pytest.approx(17.0)


def test_site_that_is_not_full_gives_each_stream_its_quickest_plan() -> None:
    site = site_of(Setting(), 4, frames_per_second=2.0)
    plan = plan_site(site)
    for one in site.streams:
        (way,) = plan.shares[one.name].ways
        assert way.choice == solve(one.problem).choice


def test_shared_line_counts_where_both_links_are_wide_enough() -> None:
    site = Site(streams=[stream("a"), stream("b")])
    links = frozenset((f"d-{name}", edge) for name in "ab" for edge in ("e0", "e1"))
    narrow = SharedLine(name="radio", links=links, mbps=0.8)  # eight frames of 12,500 bytes a second
    plan = exact(replace(site, lines=[narrow]).read())
    assert rates(plan) == pytest.approx([3.4, 3.4], rel=1e-5)
    assert plan.load["radio"] == pytest.approx(0.85)
    assert plan.shares["a"].short == ("radio",)


@pytest.mark.parametrize("seed", range(30))
def test_batches_are_planned_as_by_all_plans(seed: int) -> None:
    site = random_site(seed, streams=3)
    draw = random.Random(seed)  # noqa: S311 - numbers for a test
    batched: dict[str, tuple[int, float]] = {}
    for one in site.streams:
        for node in one.problem["nodes"]:
            frames, factor = batched.setdefault(node["id"], (draw.choice((1, 2, 8)), draw.uniform(1.0, 3.0)))
            seconds = {name: [factor * each for each in blocks] for name, blocks in node["block_seconds"].items()}
            if frames > 1 and seconds:
                node |= {"batch": frames, "batch_block_seconds": seconds}
        one.problem["format"] = "tiercut-plan-problem/2"
    plan, fair = exact(site.read()), best_rates(site)
    assert rates(plan) == pytest.approx(fair.rates, rel=1e-4, abs=1e-6)
    taken = sum(way.frames_per_second * way.latency_seconds for one in plan.shares.values() for way in one.ways)
    assert taken <= least_latency(fair) * (1 + 2e-3) + 1e-6


@pytest.mark.parametrize("seed", range(30))
def test_load_is_what_the_ways_take(seed: int) -> None:
    site = random_site(seed, streams=3)
    plan = plan_site(site.read())
    load: defaultdict[str, float] = defaultdict(float, site.taken)
    for one in site.streams:
        device = next(node["id"] for node in one.problem["nodes"] if node["tier"] == "device")
        for way in plan.shares[one.name].ways:
            followed_plan = {**asdict(way.choice), "device": device}
            for where, seconds in busy_seconds(one.problem, followed_plan, site.lines).items():
                load[where] += way.frames_per_second * seconds
    assert dict(plan.load) == pytest.approx({where: part for where, part in load.items() if part > 0})


def test_two_codecs_that_lose_too_much_together_are_not_combined() -> None:
    problem = _short(problem_of(Setting(device=1e6, edge=1e6, lan_mbps=1.0, uplink_mbps=1.0)))
    links = {ends: link for ends, link in problem.links.items() if ends != ("device-0", "cloud")}
    small = Codec("small", 1000.0, accuracy_drop=0.01, cuts=(0, 10))
    relayed = replace(problem, codecs=(RAW, small), links=links)
    site = SiteProblem(streams=(SiteStream(name="a", problem=relayed),), filled=1.0)
    free = plan_site(site)
    limited = plan_site(only(site, max_accuracy_drop=0.015))
    assert max(way.choice.codecs.count("small") for way in free.shares["a"].ways) == 2
    assert max(way.choice.codecs.count("small") for way in limited.shares["a"].ways) == 1
    assert limited.frames_per_second < free.frames_per_second


def test_line_that_carries_nothing_is_not_crossed() -> None:
    line = SharedLine(name="cable", links=frozenset({("d-a", "e0")}), mbps=0.0)
    plan = plan_site(Site(streams=[stream("a")], lines=[line]).read())
    assert [way.choice.edge for way in plan.shares["a"].ways] == ["e1"]
    assert plan.frames_per_second == pytest.approx(8.5)


def test_what_is_taken_is_not_there() -> None:
    plan = exact(Site(streams=[stream("a")], taken={"e0": 0.6, "e1": 2.0, "elsewhere": 0.5}).read())
    assert plan.frames_per_second == pytest.approx(2.5)
    assert plan.load["e0"] == pytest.approx(0.85)
    assert plan.load["e1"] == 2.0


def test_fast_camera_gets_what_device_edge_and_cloud_give_together() -> None:
    plan = plan_site(site_of(Setting(), 1))
    best = 1 / solve(replace(problem_of(Setting()), objective=THROUGHPUT)).longest_stage_seconds
    assert plan.frames_per_second > 1.5 * best
    assert 1 < len(plan.shares["device-0"].ways) <= 3


def test_full_site_gets_from_three_tiers_what_each_alone_has() -> None:
    site = site_of(Setting(), 8)
    alone = [
        plan_site(only(site, clouds=(), max_first_cut=0)).frames_per_second,
        plan_site(only(site, edges=(), max_first_cut=0)).frames_per_second,
        plan_site(only(site, edges=(), clouds=())).frames_per_second,
    ]
    assert alone == pytest.approx([53.2, 39.1, 106.4], abs=0.1)
    plan = plan_site(site)
    assert plan.frames_per_second == pytest.approx(198.5, abs=1)
    assert set(plan.shares["device-3"].short) <= {"edge", "uplink", "device-3"}
    assert {"edge", "uplink"} <= set(plan.shares["device-3"].short)
    assert plan_site(site_of(Setting(ratio=16), 8)).frames_per_second == pytest.approx(265.5, abs=1.5)


@pytest.mark.parametrize("deadline", [None, 0.06, 0.04])
def test_generated_plans_are_as_good_as_all_plans(deadline: float | None) -> None:
    problems = [problem_of(Setting(device=2.0 + index), f"device-{index}") for index in range(3)]
    streams = tuple(
        replace(one, problem=replace(_short(problem), deadline_seconds=deadline))
        for one, problem in zip(site_of(Setting(), 3).streams, problems, strict=True)
    )
    site = replace(site_of(Setting(), 3), streams=streams)
    every = {one.name: list(_every_choice(one.problem)) for one in streams}
    best, found = plan_site_with(site, every, least_share=0.0), exact(site)
    assert rates(found) == pytest.approx(rates(best), rel=1e-5)
    assert found.gap < 1e-6


def _short(problem: Problem) -> Problem:
    """The same model in eleven blocks."""
    starts = np.arange(0, 98, 9)
    variant = problem.variants[0]

    def merged(node: Node) -> Node:
        return replace(node, block_seconds={"full": np.add.reduceat(node.block_seconds["full"], starts)})

    shorter = replace(variant, cut_bytes=variant.cut_bytes[[*starts, 98]])
    return replace(problem.with_nodes(merged), variants=(shorter,))


def _every_choice(problem: Problem) -> Iterator[Choice]:
    end = problem.variants[0].blocks

    def codecs(cut: int) -> list[str]:
        return ["raw", "jpeg"] if cut == 0 else ["raw", "int8+zstd"]

    yield Choice(variant="full", first_cut=end, second_cut=end)
    for a in range(end):
        for first in codecs(a):
            yield Choice(variant="full", edge="edge", first_cut=a, second_cut=end, codecs=(first,))
            yield Choice(variant="full", cloud="cloud", first_cut=a, second_cut=a, codecs=(first,))
            for b in range(a, end):
                for second in codecs(b):
                    yield Choice(
                        variant="full", edge="edge", cloud="cloud", first_cut=a, second_cut=b, codecs=(first, second)
                    )


def test_known_plans_alone_give_what_they_gave_and_lead_to_the_same_plan() -> None:
    site = site_of(Setting(), 8)
    plan = plan_site(site)
    assert plan_site_with(site, followed(plan)).frames_per_second == pytest.approx(plan.frames_per_second, rel=0.01)
    again = plan_site(site, known=followed(plan))
    assert again.frames_per_second == pytest.approx(plan.frames_per_second, rel=0.01)
    slower = site_of(Setting(edge=8.0), 8)
    assert plan_site_with(slower, followed(plan)).least < 0.9 * plan_site(slower).least


def test_known_plans_that_are_no_more_possible_are_ignored() -> None:
    site = Site(streams=[stream("a", frames_per_second=1.0)]).read()
    gone = Choice(variant="full", edge="e9", first_cut=0, second_cut=1, codecs=("raw",))
    late = Choice(variant="full", first_cut=1, second_cut=1)
    assert plan_site(site, known={"a": [gone, late], "b": [gone]}).frames_per_second == pytest.approx(1.0)
    assert plan_site_with(site, {"a": [gone, late]}).shares["a"].ways == ()


def test_known_plans_make_the_search_shorter(monkeypatch: pytest.MonkeyPatch) -> None:
    searches: list[int] = []
    search = filling.Filling._search

    def counted(self: filling.Filling, *args: Any, **rest: Any) -> Any:
        added, least = search(self, *args, **rest)
        searches.append(added)
        return added, least

    monkeypatch.setattr(filling.Filling, "_search", counted)
    site = site_of(Setting(), 8)
    plan = exact(site)
    cold = len(searches)
    exact(site, known=followed(plan))
    assert len(searches) - cold < cold


def test_ways_of_next_to_no_frames_are_dropped_where_that_costs_nearly_nothing() -> None:
    for seed in range(60):
        site = random_site(seed, streams=4).read()
        few, every = plan_site(site), exact(site)
        assert few.frames_per_second >= 0.99 * every.frames_per_second - 1e-9
        for name, share in few.shares.items():
            assert share.frames_per_second >= 0.979 * every.shares[name].frames_per_second


def test_site_without_streams_has_an_empty_plan() -> None:
    plan = plan_site(SiteProblem(streams=()))
    assert (dict(plan.shares), dict(plan.load), plan.frames_per_second, plan.gap) == ({}, {}, 0.0, 0.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"streams": [stream("a"), stream("a")]}, "a more than once"),
        ({"streams": [stream("a", frames_per_second=math.nan)]}, "frames_per_second of 0 or more, got nan"),
        ({"streams": [stream("a", frames_per_second=-1.0)]}, "frames_per_second of 0 or more"),
        ({"streams": [stream("a", weight=0.0)]}, "a weight above 0"),
        ({"lines": [SharedLine(name="l", links=frozenset(), mbps=-1.0)]}, "mbps of 0 or more"),
        ({"lines": [SharedLine(name="e0", links=frozenset(), mbps=1.0)]}, "a name of its own"),
        ({"lines": [SharedLine(name="l", links=frozenset(), mbps=1.0)] * 2}, "l more than once"),
        ({"taken": {"e0": math.nan}}, "a part of its time"),
        ({"filled": 0.0}, "above 0 and at most 1"),
    ],
)
def test_wrong_figures_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        plan_site(Site(**{"streams": [stream("a")], **changes}).read())
