"""The best plans of several streams together, by trying every combination; the load's rule is written out again."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from typing import Any

from tests.brute_force import every_plan
from tests.planning import Stream

Priced = tuple[float, dict[str, float], dict[str, Any]]


def best_together(streams: Sequence[Stream]) -> tuple[float, list[dict[str, Any]]]:
    """The fewest frames under way of all combinations of plans (latency objective, no constraints)."""
    found = None
    for plans in itertools.product(*(priced(stream) for stream in streams)):
        total = frames_in_flight(streams, plans)
        if found is None or total < found[0]:
            found = (total, [plan for _, _, plan in plans])
    assert found is not None
    return found


def frames_in_flight(streams: Sequence[Stream], plans: Sequence[Priced]) -> float:
    taken: dict[str, float] = {}
    for stream, (_, busy, _) in zip(streams, plans, strict=True):
        for where, seconds in busy.items():
            taken[where] = taken.get(where, 0.0) + stream.frames_per_second * seconds
    total = 0.0
    for stream, (fixed, busy, _) in zip(streams, plans, strict=True):
        rate, latency = stream.frames_per_second, fixed
        for where, seconds in busy.items():
            others = taken[where] - rate * seconds
            latency += seconds * (1 / (1 - others) if others <= 0.9 else 10 + 100 * (others - 0.9))
        total += rate * latency
    return total


def priced(stream: Stream) -> list[Priced]:
    """Every plan of a stream: seconds that never change, and seconds that it keeps each node and link busy."""
    links = {(link["from"], link["to"]): link for link in stream.problem["links"]}
    nodes = {node["id"]: node for node in stream.problem["nodes"]}
    sizes = stream.problem["model"]["variants"][0]["cut_bytes"]
    found = []
    for plan in every_plan(dict(stream.problem)):
        stops = [plan[tier] for tier in ("device", "edge", "cloud") if plan[tier]]
        ends = [plan["first_cut"], *([plan["second_cut"]] if plan["edge"] else []), len(sizes) - 1][: len(stops)]
        fixed, busy, start = 0.0, {}, 0
        for hop, (name, end) in enumerate(zip(stops, ends, strict=True)):
            if end > start:
                busy[name] = sum(nodes[name]["block_seconds"]["full"][start:end])
            if hop + 1 < len(stops):
                link = links[name, stops[hop + 1]]
                busy[f"{name} -> {stops[hop + 1]}"] = sizes[end] * 8 / (link["mbps"] * 1e6)
                fixed += link["latency_seconds"]
            start = end
        found.append((fixed, busy, plan))
    return found


def small_site(seed: int, streams: int) -> list[Stream]:
    """Streams with a device each, on two edges and one cloud node; three blocks."""
    draw = random.Random(seed)  # noqa: S311 - numbers for a test
    blocks = [draw.uniform(0.02, 0.2) for _ in range(3)]
    speed = {"e0": draw.uniform(0.1, 0.6), "e1": draw.uniform(0.1, 0.6), "c": draw.uniform(0.02, 0.1)}
    uplink = draw.choice((5, 20, 50))
    sizes = [draw.randint(50_000, 300_000) for _ in range(4)]
    return [
        Stream(
            name=f"s{index}",
            problem=site_problem(f"d{index}", blocks, speed, sizes, uplink),
            frames_per_second=draw.choice((1, 2, 4)),
        )
        for index in range(streams)
    ]


def site_problem(
    device: str, blocks: list[float], speed: dict[str, float], sizes: list[int], uplink_mbps: int
) -> dict[str, Any]:
    tiers = {device: "device", **{name: "cloud" if name == "c" else "edge" for name in speed}}
    hops = [
        (device, "e0", 20),
        (device, "e1", 20),
        ("e0", "c", uplink_mbps),
        ("e1", "c", uplink_mbps),
        (device, "c", 3),
    ]
    return {
        "format": "tiercut-plan-problem/1",
        "model": {"name": "small", "variants": [{"name": "full", "cut_bytes": sizes, "accuracy": 1.0}]},
        "nodes": [
            {"id": name, "tier": tier, "block_seconds": {"full": [speed.get(name, 1.0) * block for block in blocks]}}
            for name, tier in tiers.items()
        ],
        "links": [{"from": a, "to": b, "mbps": mbps, "latency_seconds": 0.005} for a, b, mbps in hops],
        "objective": "latency",
    }
