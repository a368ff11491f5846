"""Memory of a site's nodes: the segments of all streams fit together, and the choice of them is nearly the best."""

import copy
import itertools
import random
from collections import defaultdict
from typing import Any

import pytest

from tests.plan_problems import with_memory
from tests.site_brute_force import Asked, Site, best_rates, random_site
from tiercut.planner.site import SitePlan
from tiercut.planner.site.solve import plan_site


@pytest.mark.parametrize("seed", range(40))
def test_site_is_planned_within_memory_as_by_all_plans(seed: int) -> None:
    site = in_memories(seed, (1, 3, 5, None), streams=1)
    wanted = best_rates(site).rates
    found = plan_site(site.read(), least_share=0.0)
    assert fits_together(site, found)
    if found.gap < 1e-6:  # the ways of one stream need no more together than each by itself
        rates = [share.frames_per_second for share in found.shares.values()]
        assert rates == pytest.approx(wanted, rel=1e-4, abs=1e-6)


def in_memories(seed: int, limits: tuple[float | None, ...], *, streams: int = 3) -> Site:
    """A random site whose nodes have some memory each, the same for all streams."""
    site = random_site(seed, streams=streams)
    draw = random.Random(seed)  # noqa: S311 - numbers for a test
    memory: defaultdict[str, float | None] = defaultdict(lambda: draw.choice(limits))
    for index, stream in enumerate(site.streams):
        limited = with_memory(seed * 100 + index, ties=False, blocks=4)
        kept = {name: stream.problem[name] for name in ("nodes", "links")}
        stream.problem.update(limited | kept)
        stream.problem["model"]["name"] = f"model{index % 2}-{seed}-{index}"
        for node in stream.problem["nodes"]:
            node["memory_mb"] = memory[node["id"]]
    return site


@pytest.mark.parametrize("seed", range(30))
def test_site_of_loaded_segments_is_planned_as_by_all_plans(seed: int) -> None:
    site = random_site(seed, streams=2)
    draw = random.Random(seed)  # noqa: S311 - numbers for a test
    for stream in site.streams:
        stream.problem["format"] = "tiercut-plan-problem/2"
        variants = stream.problem["model"]["variants"]
        for variant in variants:
            variant["block_weights_mb"] = [1.0] * (len(variant["cut_bytes"]) - 1)
        for node in stream.problem["nodes"]:
            chosen = [draw.choice(variants) for _ in range(8)]
            pieces = [(each["name"], sorted(draw.sample(range(len(each["cut_bytes"])), 2))) for each in chosen]
            node |= {"memory_mb": 0, "loaded": [[name, *cuts] for name, cuts in pieces]}
    rates = [share.frames_per_second for share in plan_site(site.read(), least_share=0.0).shares.values()]
    assert rates == pytest.approx(best_rates(site).rates, rel=1e-4, abs=1e-6)


def fits_together(site: Site, plan: SitePlan) -> bool:
    """Whether each node has memory for all segments that it is to run, one of each model and variant."""
    held: dict[str, dict[tuple[str, str, int, int], float]] = {}
    limits: dict[str, float] = {}
    for stream in site.streams:
        nodes = {node["id"]: node for node in stream.problem["nodes"]}
        device = next(node["id"] for node in nodes.values() if node["tier"] == "device")
        for way in plan.shares[stream.name].ways:
            choice = way.choice
            variant = next(each for each in stream.problem["model"]["variants"] if each["name"] == choice.variant)
            end = len(variant["cut_bytes"]) - 1
            stops = ((device, 0, choice.first_cut), (choice.edge, choice.first_cut, choice.second_cut))
            for name, a, b in (*stops, (choice.cloud, choice.second_cut, end)):
                if name is None or a == b or nodes[name].get("memory_mb") is None:
                    continue
                limits[name] = nodes[name]["memory_mb"]
                weights, peak = (variant.get(key, [0] * end)[a:b] for key in ("block_weights_mb", "block_peak_mb"))
                key = (stream.problem["model"]["name"], choice.variant, a, b)
                held.setdefault(name, {})[key] = sum(weights) + max(peak)
    return all(sum(each.values()) <= limits[name] * (1 + 1e-9) for name, each in held.items())


def test_segments_of_all_streams_fit_together() -> None:
    short = 0
    for seed in range(60):
        site = in_memories(seed, (2, 4, 6, 9))
        plan = plan_site(site.read())
        assert fits_together(site, plan), seed
        short += plan.gap > 1e-3
    assert short > 5


def behind_one_edge(seed: int) -> Site:
    """Three cameras of one model with an edge that has memory for a part of what would be best."""
    draw = random.Random(seed)  # noqa: S311 - numbers for a test
    count = 4
    variant: dict[str, Any] = {
        "name": "full",
        "accuracy": 1.0,
        "cut_bytes": [draw.randint(1, 9) * 10_000 for _ in range(count + 1)],
        "block_weights_mb": [draw.randint(1, 9) for _ in range(count)],
        "block_peak_mb": [1] * count,
    }
    whole_mb = sum(variant["block_weights_mb"]) + 1
    edge_s = [draw.uniform(0.01, 0.05) for _ in range(count)]
    streams: list[Asked] = []
    for index in range(3):
        device: dict[str, Any] = {"id": f"d{index}", "tier": "device"}
        device["block_seconds"] = {"full": [draw.uniform(1, 12) * each for each in edge_s]}
        edge = {"id": "edge", "tier": "edge", "block_seconds": {"full": edge_s}}
        edge["memory_mb"] = whole_mb * draw.choice((0.6, 1.0, 1.3))
        if index:
            edge["memory_mb"] = streams[0].problem["nodes"][1]["memory_mb"]
        link = {"from": f"d{index}", "to": "edge", "latency_seconds": 0.001, "mbps": draw.choice((2, 8, 30))}
        problem = {
            "format": "tiercut-plan-problem/2",
            "model": {"name": "m", "variants": [variant]},
            "nodes": [device, edge],
            "links": [link],
            "objective": "latency",
        }
        streams.append(Asked(name=f"s{index}", problem=problem))
    return Site(streams=streams)


def best_together(site: Site) -> list[float]:
    """The fairest rates of all sets of segments that the edge has memory for, each set tried by itself."""
    variant, limit = site.streams[0].problem["model"]["variants"][0], site.streams[0].problem["nodes"][1]["memory_mb"]
    count = len(variant["block_weights_mb"])
    need = {start: sum(variant["block_weights_mb"][start:]) + 1 for start in range(count)}
    found: list[list[float]] = []
    for size in range(count + 1):
        for starts in itertools.combinations(range(count), size):
            if sum(need[start] for start in starts) > limit:
                continue
            tried = copy.deepcopy(site)
            for stream in tried.streams:
                stream.problem["nodes"][1] |= {
                    "memory_mb": 0,
                    "loaded": [["full", start, count] for start in starts],
                }
            found.append(best_rates(tried).rates)
    return max(found, key=lambda rates: (sorted(rates), sum(rates)))


def test_segments_that_are_kept_are_nearly_as_good_as_the_best_ones() -> None:
    exact, least, bound = 0, [], 0
    for seed in range(24):
        site = behind_one_edge(seed)
        plan, wanted = plan_site(site.read(), least_share=0.0), best_together(site)
        rates = [share.frames_per_second for share in plan.shares.values()]
        assert fits_together(site, plan)
        least.append(min(rates) / min(wanted))
        exact += rates == pytest.approx(wanted, rel=1e-3)
        bound += plan.gap > 1e-3
    assert bound > 10
    assert exact >= 22
    assert min(least) > 0.9
