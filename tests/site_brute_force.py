"""Fair rates of a site's streams over all plans, by trying every plan and an independent solver; and random sites."""

from __future__ import annotations

import math
import random
from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from scipy.optimize import linprog
from scipy.sparse import csr_array

from tests.brute_force import RAW, Plan, every_plan, within_constraints
from tests.plan_problems import random_problem
from tiercut.planner.document import read_problem
from tiercut.planner.problem import Node, Problem
from tiercut.planner.site import SharedLine, SiteProblem, SiteStream


@dataclass(frozen=True, kw_only=True)
class Asked:
    """`SiteStream` with its problem as JSON has it."""

    name: str
    problem: dict[str, Any]
    frames_per_second: float = math.inf
    weight: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Site:
    """`SiteProblem` with problems as JSON has them."""

    streams: list[Asked]
    lines: list[SharedLine] = field(default_factory=list)
    taken: dict[str, float] = field(default_factory=dict)
    filled: float = 0.85

    def read(self) -> SiteProblem:
        streams = [
            SiteStream(
                name=stream.name,
                problem=read(stream.problem),
                frames_per_second=stream.frames_per_second,
                weight=stream.weight,
            )
            for stream in self.streams
        ]
        return SiteProblem(
            streams=tuple(streams), lines=tuple(self.lines), taken=tuple(self.taken.items()), filled=self.filled
        )


def read(problem: dict[str, Any]) -> Problem:
    """A problem, with batches as a site's form has them: that of one stream has none."""
    given = {node["id"]: node for node in problem["nodes"]}
    plain = [{name: value for name, value in node.items() if not name.startswith("batch")} for node in problem["nodes"]]

    def seen(node: Node) -> Node:
        together = given[node.id].get("batch_block_seconds", {})
        seconds = {name: np.array(blocks) for name, blocks in together.items()}
        batch = dict.fromkeys(seconds, given[node.id].get("batch", 1))
        return replace(node, block_seconds={**node.block_seconds, **seconds}, batch=batch)

    return read_problem({**problem, "nodes": plain}).with_nodes(seen)


def busy_seconds(problem: dict[str, Any], plan: Plan, lines: list[SharedLine]) -> dict[str, float]:
    """What a plan takes of each resource; infinity of a line that carries nothing."""
    nodes = {node["id"]: node for node in problem["nodes"]}
    links = {(link["from"], link["to"]): link for link in problem["links"]}
    codecs = {codec["name"]: codec for codec in [RAW, *problem.get("codecs", [])]}
    variant = next(one for one in problem["model"]["variants"] if one["name"] == plan["variant"])
    stops = [plan[tier] for tier in ("device", "edge", "cloud") if plan[tier]]
    end = len(variant["cut_bytes"]) - 1
    ends = {1: [end], 2: [plan["first_cut"], end], 3: [plan["first_cut"], plan["second_cut"], end]}[len(stops)]
    busy: defaultdict[str, float] = defaultdict(float)
    start = 0
    for hop, (name, cut) in enumerate(zip(stops, ends, strict=True)):
        if cut > start:
            busy[name] += nodes[name].get("slowdown", 1) * a_frame_takes(nodes[name], plan["variant"], start, cut)
        start = cut
        if hop + 1 == len(stops):
            continue
        to, codec, size = stops[hop + 1], codecs[plan["codecs"][hop]], variant["cut_bytes"][cut]
        busy[name] += size / 1e6 * codec.get("encode_seconds_per_mb", 0)
        busy[to] += size / 1e6 * codec.get("decode_seconds_per_mb", 0)
        bits = size / codec["ratio"] * 8
        busy[f"{name} -> {to}"] += bits / (links[name, to]["mbps"] * 1e6)
        for line in lines:
            if (name, to) in line.links:
                busy[line.name] += bits / (line.mbps * 1e6) if line.mbps else math.inf
    return busy


def a_frame_takes(node: dict[str, Any], variant: str, start: int, end: int) -> float:
    """Seconds of a segment, or a frame's part of a batch."""
    together = node.get("batch_block_seconds", {})
    if variant in together:
        return float(sum(together[variant][start:end]) / node["batch"])
    return float(sum(node["block_seconds"][variant][start:end]))


@dataclass
class Fair:
    """Fair rates: by stream, and the program that they are the optimum of."""

    rates: list[float]
    use: Any
    capacity: Any
    owner: list[int]
    latency: list[float]

    def most(self, stream: int, least: list[float]) -> float:
        """What one stream can have while the others have at least so much."""
        value, _ = _program(self, [1.0 if index == stream else 0.0 for index in range(len(least))], least)
        return value


def best_rates(site: Site) -> Fair:
    """Max-min fair: level by level, each stream's own bottleneck found by asking how much more it alone could have."""
    owner, columns, latency = [], [], []
    for index, stream in enumerate(site.streams):
        for plan in every_plan(stream.problem):
            busy = busy_seconds(stream.problem, plan, site.lines)
            if within_constraints(stream.problem, plan) and math.inf not in busy.values():
                owner.append(index)
                columns.append(busy)
                latency.append(plan["latency_seconds"])
    names = sorted({name for busy in columns for name in busy})
    rows = {name: row for row, name in enumerate(names)}
    entries = [(rows[name], column, busy[name]) for column, busy in enumerate(columns) for name in busy]
    at = ([row for row, _, _ in entries], [column for _, column, _ in entries])
    use = csr_array(([value for _, _, value in entries], at), shape=(len(names), len(columns)))
    capacity = [max(0.0, site.filled - site.taken.get(name, 0.0)) for name in names]
    fair = Fair([0.0] * len(site.streams), use, capacity, owner, latency)
    asked = [min(stream.frames_per_second, 1e6) for stream in site.streams]
    active = [index for index in range(len(asked)) if index in set(owner)]
    while active:
        level, _ = _level(fair, site, active)
        least = list(fair.rates)
        for index in active:
            least[index] = min(asked[index], site.streams[index].weight * level)
        fair.rates = least
        slack = [rate * (1 - 1e-9) for rate in least]
        active = [
            index
            for index in active
            if least[index] < asked[index] * (1 - 1e-9) and fair.most(index, slack) > least[index] * (1 + 1e-6) + 1e-9
        ]
    return fair


def least_latency(fair: Fair) -> float:
    """The least sum of rate and latency at those rates."""
    count = len(fair.owner)
    of = np.zeros((len(fair.rates), count))
    of[fair.owner, range(count)] = 1
    found = linprog(
        fair.latency,
        A_ub=np.vstack((fair.use.toarray(), -of)),
        b_ub=[*fair.capacity, *(-rate * (1 - 1e-6) for rate in fair.rates)],
    )
    assert found.status == 0, found.message
    return float(found.fun)


def _program(fair: Fair, worth: list[float], least: list[float]) -> tuple[float, Any]:
    count = len(fair.owner)
    of = np.zeros((len(least), count))
    of[fair.owner, range(count)] = 1
    found = linprog(
        [-worth[index] for index in fair.owner],
        A_ub=np.vstack((fair.use.toarray(), -of)),
        b_ub=[*fair.capacity, *(-rate for rate in least)],
        bounds=(0, 1e6),
    )
    assert found.status == 0, found.message
    return -float(found.fun), found.x


def _level(fair: Fair, site: Site, active: list[int]) -> tuple[float, Any]:
    count, streams = len(fair.owner), len(fair.rates)
    of = np.zeros((streams, count + 1))
    of[fair.owner, range(count)] = -1
    of[active, -1] = [site.streams[index].weight for index in active]
    least = [0.0 if index in active else -rate * (1 - 1e-9) for index, rate in enumerate(fair.rates)]
    use = np.hstack((fair.use.toarray(), np.zeros((len(fair.capacity), 1))))
    highest = min(min(site.streams[i].frames_per_second, 1e6) / site.streams[i].weight for i in active)
    bounds = [(0, None)] * count + [(0, highest)]
    found = linprog([0.0] * count + [-1.0], A_ub=np.vstack((use, of)), b_ub=[*fair.capacity, *least], bounds=bounds)
    assert found.status == 0, found.message
    return -float(found.fun), found.x


def random_site(seed: int, *, streams: int = 3, blocks: int = 4) -> Site:
    """Streams with a device each, or two on one, that share edges and clouds; links and profiles may miss."""
    draw = random.Random(seed)  # noqa: S311 - numbers for a test
    found = []
    for index in range(streams):
        problem = random_problem(seed * 100 + index, ties=False, blocks=blocks)
        device = f"device{min(index, draw.choice((index, 0)))}"
        for node in problem["nodes"]:
            if node["tier"] == "device":
                node["id"] = device
        for link in problem["links"]:
            link["from"] = device if link["from"] == "device0" else link["from"]
        rate = draw.choice((0.3, 1.0, 5.0, math.inf))
        weight = draw.choice((1.0, 1.0, 2.0, 0.5))
        found.append(Asked(name=f"s{index}", problem=problem, frames_per_second=rate, weight=weight))
    ends = sorted({(link["from"], link["to"]) for stream in found for link in stream.problem["links"]})
    lines = [
        SharedLine(
            name=f"line{index}",
            links=frozenset(draw.sample(ends, min(len(ends), draw.randint(1, 4)))),
            mbps=draw.choice((0.0, 4.0, 16.0, 16.0)),
        )
        for index in range(draw.choice((0, 0, 1, 2)))
    ]
    taken = {name: draw.choice((0.1, 0.5, 0.9)) for name in ("edge0", "device0", "line0") if draw.random() < 0.3}
    return Site(streams=found, lines=lines, taken=taken)
