"""Every plan of a planning problem, one by one, straight from the form's text. Shares nothing with the planner."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

RAW = {"name": "raw", "ratio": 1.0}
Plan = dict[str, Any]


def slack(value: float) -> float:
    return 1e-12 + 1e-9 * abs(value)


def best(problem: dict[str, Any]) -> Plan | None:
    """The best plan within the constraints, by filtering: objective, latency, hops, accuracy, place."""
    plans = [plan for plan in every_plan(problem) if within_constraints(problem, plan)]
    if not plans:
        return None
    keys: dict[str, list[Callable[[Plan], float]]] = {
        "latency": [lambda p: p["latency_seconds"]],
        "accuracy": [lambda p: -p["accuracy"], lambda p: p["latency_seconds"]],
        "energy": [lambda p: p["energy_joules"], lambda p: p["latency_seconds"]],
        "throughput": [lambda p: p["bottleneck_seconds"], lambda p: p["latency_seconds"]],
    }
    for key in keys[problem["objective"]]:
        least = min(key(plan) for plan in plans)
        plans = [plan for plan in plans if key(plan) <= least + slack(least)]
    fewest = min(len(plan["codecs"]) for plan in plans)
    plans = [plan for plan in plans if len(plan["codecs"]) == fewest]
    most = max(plan["accuracy"] for plan in plans)
    return min((plan for plan in plans if plan["accuracy"] >= most - slack(1.0)), key=lambda plan: place(problem, plan))


def place(problem: dict[str, Any], plan: Plan) -> list[int]:
    """Which of two plans equal in all else goes first: variant, edge, codecs, first cut, cloud, second cut."""
    nodes = [None, *(node["id"] for node in problem["nodes"])]
    codecs = ["raw", *(codec["name"] for codec in problem.get("codecs", []))]
    return [
        [variant["name"] for variant in problem["model"]["variants"]].index(plan["variant"]),
        nodes.index(plan["edge"]) or len(nodes),
        *(codecs.index(name) for name in plan["codecs"]),
        plan["first_cut"],
        nodes.index(plan["cloud"]),
        plan["second_cut"],
    ]


def within_constraints(problem: dict[str, Any], plan: Plan) -> bool:
    limits = problem.get("constraints", {})
    deadline, drop = limits.get("deadline_seconds"), limits.get("max_accuracy_drop")
    noise = {codec["name"]: codec.get("noise", 0) for codec in problem.get("codecs", [])}
    top = max(variant["accuracy"] for variant in problem["model"]["variants"])
    return (
        plan["first_cut"] >= limits.get("min_first_cut", 0)
        and all(noise.get(name, 0) >= limits.get("min_noise", 0) for name in plan["codecs"][:1])
        and (deadline is None or plan["latency_seconds"] <= deadline + slack(deadline))
        and (drop is None or plan["accuracy"] >= top - drop - slack(1.0))
    )


def every_plan(problem: dict[str, Any]) -> Iterator[Plan]:
    edges = [node for node in problem["nodes"] if node["tier"] == "edge"]
    clouds = [node for node in problem["nodes"] if node["tier"] == "cloud"]
    codecs = [RAW, *problem.get("codecs", [])]
    for variant in problem["model"]["variants"]:
        end = len(variant["cut_bytes"]) - 1
        for edge in [*edges, None]:
            for cloud in [*clouds, None]:
                for first in range(end + 1):
                    for second in range(first, end + 1):
                        if shape_fits(first, second, end, edge, cloud):
                            cuts = ([first] if edge else []) + ([second] if cloud else [])
                            for chosen in itertools.product(*(usable(codecs, cut, end) for cut in cuts)):
                                plan = price(problem, variant, (edge, cloud), chosen, (first, second))
                                if plan is not None:
                                    yield plan


def usable(codecs: list[dict[str, Any]], cut: int, end: int) -> list[dict[str, Any]]:
    return [codec for codec in codecs if codec is RAW or codec.get("cuts", [1, end - 1])[0] <= cut <= last(codec, end)]


def last(codec: dict[str, Any], end: int) -> int:
    return int(codec.get("cuts", [1, end - 1])[1])


def shape_fits(first: int, second: int, end: int, edge: object, cloud: object) -> bool:
    if cloud is None and edge is None:
        return first == second == end
    if cloud is None:
        return first < end and second == end
    if edge is None:
        return first == second < end
    return second < end


def price(
    problem: dict[str, Any],
    variant: dict[str, Any],
    route: tuple[dict[str, Any] | None, dict[str, Any] | None],
    codecs: Sequence[dict[str, Any]],
    cuts: tuple[int, int],
) -> Plan | None:
    """The plan with its cost, None if a node or a link does not allow it."""
    device = next(node for node in problem["nodes"] if node["tier"] == "device")
    links = {(link["from"], link["to"]): link for link in problem["links"]}
    end, (edge, cloud), (first, second) = len(variant["cut_bytes"]) - 1, route, cuts
    stops = [(device, 0, first)]
    stops += [(edge, first, second)] if edge else []
    stops += [(cloud, second, end)] if cloud else []
    seconds, joules = [], 0.0
    for hop, (node, a, b) in enumerate(stops):
        if b > a:
            if variant["name"] not in node.get("block_seconds", {}):
                return None
            blocks = {**node["block_seconds"], **node.get("batch_block_seconds", {})}[variant["name"]]
            busy = sum(blocks[a:b]) * node.get("slowdown", 1)
            seconds.append(busy + node.get("queue_seconds", 0))
            joules += seconds[-1] * node.get("power_watts", 0) if node is device else 0.0
        if hop + 1 < len(stops):
            link, codec = links.get((node["id"], stops[hop + 1][0]["id"])), codecs[hop]
            if link is None:
                return None
            size = variant["cut_bytes"][b]
            transmit = size / codec["ratio"] * 8 / (link["mbps"] * 1e6)
            coding = codec.get("encode_seconds_per_mb", 0) + codec.get("decode_seconds_per_mb", 0)
            seconds.append(link["latency_seconds"] + transmit + size / 1e6 * coding)
            joules += transmit * link.get("watts", 0) if node is device else 0.0
    if not all(fits(variant, node, a, b) for node, a, b in stops):
        return None
    back = way_back(problem, stops[-1][0]["id"])
    if back == math.inf:
        return None
    return {
        "variant": variant["name"],
        "device": device["id"],
        "edge": edge["id"] if edge else None,
        "cloud": cloud["id"] if cloud else None,
        "first_cut": first,
        "second_cut": second,
        "codecs": [codec["name"] for codec in codecs],
        "latency_seconds": sum(seconds) + back,
        "accuracy": variant["accuracy"] - sum(codec.get("accuracy_drop", 0) for codec in codecs),
        "energy_joules": joules,
        "bottleneck_seconds": max(seconds, default=0.0),
    }


def fits(variant: dict[str, Any], node: dict[str, Any], start: int, end: int) -> bool:
    """Whether a node has memory for a segment, of form 2."""
    if start == end or node.get("memory_mb") is None or [variant["name"], start, end] in node.get("loaded", []):
        return True
    nothing = [0] * end
    weights, peak = (variant.get(name, nothing)[start:end] for name in ("block_weights_mb", "block_peak_mb"))
    free = node["memory_mb"] - node.get("memory_taken_mb", 0)
    return bool(sum(weights) + max(peak) <= free * (1 + 1e-9))


def way_back(problem: dict[str, Any], end: str) -> float:
    """Seconds of the result's way to its destination, of form 2: the quickest of all ways, tried one by one."""
    wanted = problem.get("destination")
    if wanted is None:
        return 0.0
    tiers = {node["id"]: node["tier"] for node in problem["nodes"]}
    if wanted == "site":
        wanted = "edge" if "edge" in tiers.values() else "device"
    links = {(link["from"], link["to"]): link["latency_seconds"] for link in problem["links"]}
    seconds = links | {(to, start): links.get((to, start), s) for (start, to), s in links.items()}

    def least(at: str, been: frozenset[str]) -> float:
        if tiers[at] == wanted:
            return 0.0
        onward = [to for start, to in seconds if start == at and to not in been]
        return min((seconds[at, to] + least(to, been | {to}) for to in onward), default=math.inf)

    return least(end, frozenset({end}))
