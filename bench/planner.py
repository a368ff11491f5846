"""How long a plan takes, of one stream and of all streams of a site together.

``python -m bench.planner`` takes a minute, on one core. Problems are drawn with a seed: a device before three edges and
two cloud nodes, all linked.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.machine import machine
from tests.planning import solve, solve_top
from tests.site_brute_force import best_rates, least_latency, random_site
from tiercut.planner import Problem, SharedLine, SiteProblem, SiteStream, plan_site, plan_site_with
from tiercut.planner.document import read_problem

OBJECTIVES = ("latency", "accuracy", "energy", "throughput")
SIZES = {
    "stated": "160 blocks, 5 variants, 4 codecs and raw, 3 edges, 2 cloud nodes",
    "live": "160 blocks, 6 variants, 12 codecs at each of 16 cuts, 2 edges, 2 cloud nodes",
}
LIMITS: dict[str, dict[str, float]] = {
    "no limits": {},
    "deadline": {"deadline_seconds": 0.25},
    "accuracy": {"max_accuracy_drop": 0.012},
}
#: Deadlines that the most accurate plan misses; drops that two codecs exceed which alone would not.
LIVE_LIMITS: dict[str, dict[str, float]] = {
    "no limits": {},
    "deadline": {"deadline_seconds": 0.13},
    "accuracy": {"max_accuracy_drop": 0.02},
    "both": {"deadline_seconds": 0.15, "max_accuracy_drop": 0.1},
}
#: Of nodes that hold parts of the model.
MEMORY_MB = {"device": 60.0, "edge": 90.0, "cloud": 120.0}


def problem(seed: int, blocks: int = 160, variants: int = 5, **changes: Any) -> dict[str, Any]:
    """A problem of 4 codecs, 3 edges and 2 cloud nodes; seconds and bytes as of image networks on small boards."""
    draw = random.Random(seed)
    names = [f"exit{index}" for index in range(variants)]

    def node(name: str, tier: str, model_seconds: float) -> dict[str, Any]:
        seconds = {
            variant: [draw.uniform(0.2, 1.8) * model_seconds / blocks for _ in range(blocks)] for variant in names
        }
        return {"id": name, "tier": tier, "block_seconds": seconds, "queue_seconds": 0.001, "power_watts": 3.0}

    nodes = [node("device", "device", 0.8)]
    nodes += [node(f"edge{index}", "edge", 0.15) for index in range(3)]
    nodes += [node(f"cloud{index}", "cloud", 0.02) for index in range(2)]
    return {
        "format": "tiercut-plan-problem/1",
        "model": {
            "name": "drawn",
            "variants": [_variant(draw, name, index, blocks) for index, name in enumerate(names)],
        },
        "nodes": nodes,
        "links": list(_links(draw, nodes)),
        "codecs": [
            {"name": f"codec{i}", "ratio": 2.0**i, "encode_seconds_per_mb": 0.004 * i, "accuracy_drop": 0.004 * i}
            for i in range(1, 5)
        ],
        "objective": "latency",
        **changes,
    }


def live_problem(seed: int, blocks: int = 160, **changes: Any) -> dict[str, Any]:
    """A problem as a coordinator builds one: five exits and the whole, and what was measured of 12 codecs at 16 cuts.

    Two edges, two cloud nodes, and one entry for each codec at each cut. An exit's chain ends with one block, its head.
    """
    draw = random.Random(seed)
    base = problem(seed, blocks, variants=1)
    sizes = base["model"]["variants"][0]["cut_bytes"]
    cuts = [round(blocks * k / 17) for k in range(1, 17)]
    ends = {f"exit{k}": blocks * k // 6 for k in range(1, 6)}
    variants = [
        {"name": name, "accuracy": 0.6 + 0.05 * index, "cut_bytes": [*sizes[: end + 1], 40]}
        for index, (name, end) in enumerate(ends.items())
    ]
    nodes = [node for node in base["nodes"] if node["id"] != "edge2"]
    for node in nodes:
        full = node["block_seconds"].pop("exit0")
        node["block_seconds"] = {name: [*full[:end], 0.3 * full[end]] for name, end in ends.items()} | {"full": full}
    codecs = [
        {
            "name": f"codec{kind}@{cut}",
            "cuts": [cut, cut],
            "ratio": draw.uniform(1 + kind, 2 + 2 * kind),
            "encode_seconds_per_mb": draw.uniform(0.001, 0.002 * (1 + kind)),
            "decode_seconds_per_mb": draw.uniform(0.001, 0.002 * (1 + kind)),
            "accuracy_drop": round(max(0.0, draw.gauss(0.003 * kind, 0.004)), 4),
        }
        for cut in cuts
        for kind in range(12)
    ]
    return {
        **base,
        "model": {"name": "live", "variants": [*variants, {"name": "full", "accuracy": 0.9, "cut_bytes": sizes}]},
        "nodes": nodes,
        "links": [link for link in base["links"] if "edge2" not in (link["from"], link["to"])],
        "codecs": codecs,
        **changes,
    }


def in_memory(drawn: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """The same problems where no node holds the whole model: blocks of 1 MB, and 2 MB while they run."""

    def limited(seed: int, **changes: Any) -> dict[str, Any]:
        found = drawn(seed, **changes) | {"format": "tiercut-plan-problem/2"}
        for variant in found["model"]["variants"]:
            blocks = len(variant["cut_bytes"]) - 1
            variant |= {"block_weights_mb": [1.0] * blocks, "block_peak_mb": [2.0] * blocks}
        for node in found["nodes"]:
            node["memory_mb"] = MEMORY_MB[node["tier"]]
        return found

    return limited


def _variant(draw: random.Random, name: str, index: int, blocks: int) -> dict[str, Any]:
    sizes = [150_000, *(int(800_000 * draw.uniform(0.5, 1) / (1 + 4 * k / blocks)) for k in range(1, blocks + 1))]
    return {"name": name, "accuracy": 0.6 + 0.05 * index, "cut_bytes": sizes}


def _links(draw: random.Random, nodes: Sequence[dict[str, Any]]) -> Iterable[dict[str, Any]]:
    onward = {("device", "edge"): 60, ("edge", "cloud"): 20, ("device", "cloud"): 8}
    for start in nodes:
        for end in nodes:
            mbps = onward.get((start["tier"], end["tier"]))
            if mbps is not None:
                rate = mbps * draw.uniform(0.5, 1.5)
                yield {"from": start["id"], "to": end["id"], "mbps": rate, "latency_seconds": 0.01, "watts": 1.0}


def seconds(run: Callable[[], object], repeats: int) -> list[float]:
    """Seconds of each of several runs."""
    taken = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        taken.append(time.perf_counter() - start)
    return taken


def one_stream(
    drawn: Callable[..., dict[str, Any]], limits: dict[str, dict[str, float]], repeats: int
) -> dict[str, dict[str, float]]:
    """Milliseconds for one problem, reading included: least, median and 95th percentile."""
    table = {}
    for objective in OBJECTIVES:
        for limit, constraints in limits.items():
            taken: list[float] = []
            for seed in range(5):
                one = drawn(seed, objective=objective, constraints={"min_first_cut": 1, **constraints})
                taken += seconds(lambda one=one: solve(one), repeats)  # type: ignore[misc]
            p95 = statistics.quantiles(taken, n=20)[-1]
            table[f"{objective}, {limit}"] = {
                "min_ms": 1e3 * min(taken),
                "p50_ms": 1e3 * statistics.median(taken),
                "p95_ms": 1e3 * p95,
            }
    return table


def many_streams(count: int) -> dict[str, float]:
    """Seconds for so many streams, each with a problem of its own, one after the other, at the stated size."""
    problems = [problem(seed, objective=OBJECTIVES[seed % 4]) for seed in range(min(count, 40))]
    start = time.perf_counter()
    for index in range(count):
        solve(problems[index % len(problems)])
    return {"streams": count, "seconds": time.perf_counter() - start}


def full_site(streams: int, deadline_seconds: float | None) -> SiteProblem:
    """Streams that ask 30 frames/s each of a site that has far less: 100 blocks, 2 codecs and raw, a shared uplink."""
    draw = random.Random(1)
    base = problem(1, blocks=100, variants=1)
    base["codecs"] = base["codecs"][:2]
    if deadline_seconds:
        base["constraints"] = {"deadline_seconds": deadline_seconds}
    found = []
    for index in range(streams):
        own = json.loads(json.dumps(base).replace('"device"', f'"device{index}"'))
        own["nodes"][0] |= {"tier": "device", "slowdown": draw.choice((0.5, 1, 2))}
        found.append(SiteStream(name=f"s{index}", problem=read_problem(own), frames_per_second=30.0))
    crossing = frozenset(ends for stream in found for ends in stream.problem.links if ends[1].startswith("cloud"))
    return SiteProblem(streams=tuple(found), lines=(SharedLine(name="uplink", links=crossing, mbps=20.0),))


def site_time(streams: int, deadline_seconds: float | None, repeats: int) -> dict[str, Any]:
    """Milliseconds of processor time (least of several) for planning all streams of a full site.

    From nothing; with the plans followed so far as one edge has become 20 % slower; and with those plans alone.
    """
    site = full_site(streams, deadline_seconds)
    plan = plan_site(site)
    known = {name: [way.choice for way in share.ways] for name, share in plan.shares.items()}
    slower = replace(site, streams=tuple(replace(one, problem=_slower_edge(one.problem)) for one in site.streams))
    runs: dict[str, Callable[[], object]] = {
        "cold_ms": lambda: plan_site(site),
        "with_known_ms": lambda: plan_site(slower, known=known),
        "known_alone_ms": lambda: plan_site_with(slower, known),
    }
    return {
        "streams": streams,
        "deadline_seconds": deadline_seconds,
        **{name: 1e3 * min(cpu_seconds(run, repeats)) for name, run in runs.items()},
        "frames_per_second": plan.frames_per_second,
        "gap": plan.gap,
    }


def site_gap(sites: int) -> dict[str, float]:
    """How far rates and latency are from those of a program over every plan, on so many small random sites."""
    off, late = [0.0], [0.0]
    for seed in range(sites):
        site = random_site(seed, streams=1 + seed % 4)
        fair, plan = best_rates(site), plan_site(site.read(), least_share=0.0)
        shares = plan.shares.values()
        pairs = zip(shares, fair.rates, strict=True)
        off += [abs(share.frames_per_second - rate) / (rate + 1e-3) for share, rate in pairs]
        if sum(fair.rates):
            taken = sum(way.frames_per_second * way.latency_seconds for share in shares for way in share.ways)
            late.append(taken / least_latency(fair) - 1)
    return {"sites": sites, "most_off": max(off), "most_latency_lost": max(late)}


def _slower_edge(problem: Problem) -> Problem:
    return problem.with_nodes(lambda node: replace(node, slowdown=1.2 * node.slowdown) if node.id == "edge0" else node)


def cpu_seconds(run: Callable[[], object], repeats: int) -> list[float]:
    """Processor seconds of each of several runs."""
    taken = []
    for _ in range(repeats):
        start = time.process_time()
        run()
        taken.append(time.process_time() - start)
    return taken


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=20, help="runs per problem")
    parser.add_argument("--streams", type=int, default=1000, help="streams in the long run")
    parser.add_argument("--sites", type=int, default=100, help="small sites that are planned beside every plan")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    args = parser.parse_args()
    print(machine())
    one: dict[str, Any] = {}
    for size, drawn, limits in (("stated", problem, LIMITS), ("live", live_problem, LIVE_LIMITS)):
        print(f"one stream: {SIZES[size]}; milliseconds")
        one[size] = one_stream(drawn, limits, args.repeats)
        one[size] |= one_stream(in_memory(drawn), {"memory": {}}, args.repeats)
        for name, row in one[size].items():
            print(f"  {name:<24} least {row['min_ms']:6.2f}   p50 {row['p50_ms']:6.2f}   p95 {row['p95_ms']:6.2f}")
        top = statistics.median(seconds(lambda drawn=drawn: solve_top(drawn(0), 5), 3))  # type: ignore[misc]
        one[size]["best 5 plans (solve_top)"] = {"p50_ms": 1e3 * top}
        print(f"  best 5 plans (solve_top) p50 {1e3 * top:6.0f}")
    many = many_streams(args.streams)
    print(f"{many['streams']} such streams, all four objectives in turn: {many['seconds']:.2f} s")
    sites = [site_time(count, late, 5) for count in (8, 100) for late in (None, 0.3, 0.15)]
    print(
        "all streams of a full site: 3 edges, 2 cloud nodes, 100 cuts, 2 codecs and raw; milliseconds of processor time"
    )
    for row in sites:
        timed = "   ".join(f"{name[:-3]} {row[name]:6.1f}" for name in ("cold_ms", "with_known_ms", "known_alone_ms"))
        print(f"  {row['streams']:3} streams, deadline {row['deadline_seconds']!s:<5} {timed}   gap {row['gap']:.1e}")
    gap = site_gap(args.sites)
    print(f"{gap['sites']} small sites beside every plan: rates off by {gap['most_off']:.1e} at most, ", end="")
    print(f"rate x latency by {gap['most_latency_lost']:.1e}")
    if args.json:
        figures = {"one": one, "many": many, "sites": sites, "gap": gap}
        args.json.write_text(json.dumps({"machine": machine(), **figures}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
