"""Random planning problems: in small whole numbers, so that many plans are equal, or in fractions."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

OBJECTIVES = ("latency", "accuracy", "energy", "throughput")


def random_problem(seed: int, *, ties: bool, blocks: int = 5) -> dict[str, Any]:
    """A problem of at most so many blocks, 3 variants, 2 edges, 2 clouds; links and profiles may miss.

    Codecs are two at most that may be used at many cuts, or some at each of some cuts, as they are measured.
    """
    draw = random.Random(seed)  # noqa: S311 - numbers for a test
    value: Callable[[], float] = (lambda: draw.choice((0, 1, 1, 2)) / 10) if ties else draw.random
    names = [f"exit{index}" for index in range(draw.randint(1, 3))]
    counts = {name: draw.randint(1, blocks) for name in names}
    nodes = [node(draw, value, "device", 0, counts)]
    for tier in ("edge", "cloud"):
        nodes += [node(draw, value, tier, index, counts) for index in range(draw.randint(0, 2))]
    variants = [
        {"name": name, "accuracy": draw.choice((0.7, 0.8, 0.9)), "cut_bytes": sizes(draw, count, ties=ties)}
        for name, count in counts.items()
    ]
    return {
        "format": "tiercut-plan-problem/1",
        "model": {"name": "random", "variants": variants},
        "nodes": nodes,
        "links": links(draw, value, nodes),
        "codecs": list(codecs(draw, value, max(counts.values()), ties=ties)),
        "objective": draw.choice(OBJECTIVES),
        "constraints": constraints(draw, ties=ties),
    }


def with_memory(seed: int, *, ties: bool, blocks: int = 5) -> dict[str, Any]:
    """A random problem of form 2: nodes whose memory not every segment fits, and someone who waits for the result."""
    problem = random_problem(seed, ties=ties, blocks=blocks)
    draw = random.Random(seed + 1)  # noqa: S311 - numbers for a test
    amount: Callable[[], float] = (lambda: draw.choice((0, 1, 1, 2))) if ties else (lambda: 2 * draw.random())
    for variant in problem["model"]["variants"]:
        count = len(variant["cut_bytes"]) - 1
        for name in ("block_weights_mb", "block_peak_mb"):
            if draw.random() < 0.8:
                variant[name] = [amount() for _ in range(count)]
    for entry in problem["nodes"]:
        if draw.random() < 0.7:
            entry["memory_mb"] = draw.choice((1, 3, 5, 8))
        if draw.random() < 0.3:
            entry["memory_taken_mb"] = draw.choice((0, 1))
    if draw.random() < 0.6:
        problem["destination"] = draw.choice(("device", "site", "cloud"))
    for link in list(problem["links"]):
        if draw.random() < 0.3:
            back = {"from": link["to"], "to": link["from"], "latency_seconds": draw.random(), "mbps": 8}
            problem["links"].append(back)
    return {**problem, "format": "tiercut-plan-problem/2"}


def with_loaded(seed: int, *, ties: bool, blocks: int = 5, segments: int = 6) -> dict[str, Any]:
    """The same where nodes have hardly any memory but for segments that they have loaded already."""
    problem = with_memory(seed, ties=ties, blocks=blocks)
    draw = random.Random(seed + 2)  # noqa: S311 - numbers for a test
    for entry in problem["nodes"]:
        entry["memory_mb"] = draw.choice((1, 1, 2))
        entry["loaded"] = []
        for _ in range(segments):
            variant = draw.choice(problem["model"]["variants"])
            entry["loaded"].append([variant["name"], *sorted(draw.sample(range(len(variant["cut_bytes"])), 2))])
    return problem


def node(
    draw: random.Random, value: Callable[[], float], tier: str, index: int, blocks: dict[str, int]
) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "id": f"{tier}{index}",
        "tier": tier,
        "block_seconds": {
            name: [value() for _ in range(count)] for name, count in blocks.items() if draw.random() < 0.9
        },
    }
    if tier == "device":
        entry["slowdown"] = draw.choice((0.5, 2, 8))
    elif draw.random() < 0.5:
        entry |= {"slowdown": 1.0 + value(), "queue_seconds": value()}
    if draw.random() < 0.5:
        entry |= {"power_watts": 2 * value()}
    return entry


def links(draw: random.Random, value: Callable[[], float], nodes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    onward = {("device", "edge"): 0.9, ("edge", "cloud"): 0.9, ("device", "cloud"): 0.4}
    return [
        {
            "from": start["id"],
            "to": end["id"],
            "latency_seconds": value() / 2,
            "mbps": draw.choice((8, 16, 16, 80)),
            "watts": value(),
        }
        for start in nodes
        for end in nodes
        if draw.random() < onward.get((start["tier"], end["tier"]), 0)
    ]


def sizes(draw: random.Random, blocks: int, *, ties: bool) -> list[int]:
    return [draw.choice((0, 100_000, 200_000)) if ties else draw.randint(0, 900_000) for _ in range(blocks + 1)]


def codecs(draw: random.Random, value: Callable[[], float], blocks: int, *, ties: bool) -> Iterator[dict[str, Any]]:
    if draw.random() < 0.5:
        for index in range(draw.randint(0, 2)):
            yield codec(draw, value, index, ties=ties)
        return
    kinds = draw.randint(1, 3)
    for cut in sorted(draw.sample(range(blocks + 1), min(blocks, 4))):
        for kind in range(kinds):
            entry = codec(draw, value, kind, ties=ties)
            drop = draw.choice((0.0, 0.05, 0.1)) if ties else draw.random() / 8
            yield entry | {"name": f"codec{kind}@{cut}", "cuts": [cut, cut], "accuracy_drop": drop}


def codec(draw: random.Random, value: Callable[[], float], index: int, *, ties: bool) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": f"codec{index}", "ratio": draw.choice((1, 2, 4))}
    if draw.random() < 0.7:
        entry |= {"accuracy_drop": draw.choice((0.0, 0.05, 0.1)), "encode_seconds_per_mb": value()}
    if draw.random() < 0.3:
        entry |= {"cuts": draw.choice(([0, 0], [0, 3], [2, 9])), "decode_seconds_per_mb": 0 if ties else value()}
    if draw.random() < 0.5:
        entry["noise"] = draw.choice((0.1, 0.2))
    return entry


def constraints(draw: random.Random, *, ties: bool) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if draw.random() < 0.3:
        found["min_first_cut"] = draw.randint(0, 2)
    if draw.random() < 0.5:
        found["deadline_seconds"] = draw.randint(1, 12) / 10 if ties else draw.random() * 3
    if draw.random() < 0.4:
        found["max_accuracy_drop"] = draw.choice((0.0, 0.05, 0.1, 0.2))
    if draw.random() < 0.2:
        found["min_noise"] = draw.choice((0, 0.1, 0.2))
    return found
