"""When cutting pays: the planner's own answers in many settings of one model.

``python -m bench.when`` takes 70 s of processor time. EfficientNet-Lite0, cameras before one edge behind one uplink
(`bench.lite_site`): a device that is 2 to 32 times as slow as the cloud node, an edge 1 to 8 times, a LAN of 10 or 100
and an uplink of 1 to 100 Mbit/s, intermediate results made 4 or 16 times smaller, whole frames sent as 16 kB of JPEG or
as they are (151 kB). In each the planner is asked for the quickest plan of one camera, for the plan that takes the most
frames of one camera, and for all that sites of 1, 4, 8 and 16 cameras can do with mixed plans.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from bench.lite_site import JPEG_BYTES, Setting, problem_of, site_of
from bench.machine import machine
from tiercut.planner import Choice, Problem, evaluate, plan_site, plan_site_with, solve
from tiercut.planner.objectives import LATENCY, THROUGHPUT, Objective

CAMERAS = (1, 4, 8, 16)
RATIOS = (4.0, 16.0)
FRAMES = (JPEG_BYTES, 150_528)

#: A node takes part when it does this part of the model's work; a cut is between two that do.
PART = 0.01

#: A way counts when it takes this part of all frames.
WAY = 0.05


@dataclass(frozen=True)
class Case:
    """One setting under one question.

    Attributes:
        asked: The question.
        cuts: The most real cuts of a plan that counts.
        over_tier: How many times better than the best of device, edge and cloud alone.
        over_uncut: How many times better than whole frames spread over all three, where plans are mixed.
    """

    asked: str
    cuts: int
    over_tier: float
    over_uncut: float | None = None


def settings() -> Iterator[Setting]:
    """All of them."""
    slowness = itertools.product((2.0, 4.0, 8.0, 16.0, 32.0), (1.0, 2.0, 4.0, 8.0))
    sent = itertools.product((10.0, 100.0), (1.0, 5.0, 20.0, 100.0), RATIOS, FRAMES)
    for (device, edge), (lan, uplink, ratio, frame) in itertools.product(slowness, list(sent)):
        yield Setting(device=device, edge=edge, lan_mbps=lan, uplink_mbps=uplink, ratio=ratio, frame_bytes=frame)


def real_cuts(problem: Problem, choice: Choice) -> int:
    """How many cuts lie between nodes that both do a part of the work."""
    work = problem.clouds[0].block_seconds["full"]
    cuts = (0, choice.first_cut, choice.second_cut, len(work))
    return sum(bool(work[a:b].sum() >= PART * work.sum()) for a, b in itertools.pairwise(cuts)) - 1


def uncut(problem: Problem) -> list[Choice]:
    """Whole frames: on the device, the edge, or the cloud node, straight or through the edge."""
    end = problem.variants[0].blocks
    found = [Choice(variant="full", first_cut=end, second_cut=end)]
    for codec in [codec.name for codec in problem.codecs if codec.cuts == (0, 0) or codec.name == "raw"]:
        found += [
            Choice(variant="full", edge="edge", first_cut=0, second_cut=end, codecs=(codec,)),
            Choice(variant="full", cloud="cloud", first_cut=0, second_cut=0, codecs=(codec,)),
            Choice(variant="full", edge="edge", cloud="cloud", first_cut=0, second_cut=0, codecs=(codec, codec)),
        ]
    return found


def tier(choice: Choice) -> str:
    """Which of the three runs a whole frame."""
    if choice.cloud:
        return "cloud"
    return "edge" if choice.edge else "device"


def single(problem: Problem, objective: Objective, asked: str) -> Case:
    """The best single plan of one camera."""
    best = solve(replace(problem, objective=objective))
    plain = [evaluate(problem, choice) for choice in uncut(problem)]
    assert best.choice is not None  # noqa: S101 - the device alone is always possible
    least = min(objective.value(answer) for answer in plain)
    return Case(asked, real_cuts(problem, best.choice), least / objective.value(best))


def full(setting: Setting, cameras: int) -> Case:
    """All that a site can do."""
    site = site_of(setting, cameras)
    plan = plan_site(site)
    choices = {stream.name: uncut(stream.problem) for stream in site.streams}
    total, every = plan.frames_per_second, plan_site_with(site, choices).frames_per_second
    alone = max(
        plan_site_with(
            site, {name: [one for one in mine if tier(one) == only] for name, mine in choices.items()}
        ).frames_per_second
        for only in ("device", "edge", "cloud")
    )
    share = [0.0, 0.0, 0.0]
    for way in (way for stream in plan.shares.values() for way in stream.ways):
        share[real_cuts(site.streams[0].problem, way.choice)] += way.frames_per_second
    cuts = max(cut for cut, rate in enumerate(share) if rate >= WAY * total)
    return Case(f"frames/s of {cameras} camera{'s' * (cameras > 1)}, mixed plans", cuts, total / alone, total / every)


def by_size(rows: Sequence[tuple[Setting, Case]], asked: str) -> str:
    """Markdown: what cutting adds to whole frames on all tiers, by what is sent."""
    lines = [f"| {asked} | cut results 4 times smaller | 16 times smaller |", "|---|---|---|"]
    for frame, name in zip(FRAMES, ("whole frames as JPEG, 16 kB", "whole frames as they are, 151 kB"), strict=True):
        gains = [
            [
                case.over_uncut
                for setting, case in rows
                if case.asked == asked and (setting.frame_bytes, setting.ratio) == (frame, ratio) and case.over_uncut
            ]
            for ratio in RATIOS
        ]
        lines.append(f"| {name} | {_three(gains[0])} | {_three(gains[1])} |")
    return "\n".join(lines)


def table(cases: Sequence[Case]) -> str:
    """Markdown."""
    lines = ["| best for | no cut | one | two | over the best tier alone | over whole frames on all tiers |"]
    lines.append("|---|---|---|---|---|---|")
    for asked in dict.fromkeys(case.asked for case in cases):
        mine = [case for case in cases if case.asked == asked]
        counts = Counter(case.cuts for case in mine)
        shares = " | ".join(f"{100 * counts[cuts] / len(mine):.0f} %" for cuts in range(3))
        uncut_gains = [case.over_uncut for case in mine if case.over_uncut is not None]
        lines.append(
            f"| {asked} | {shares} | {_three([case.over_tier for case in mine])} "
            f"| {_three(uncut_gains) if uncut_gains else ''} |"
        )
    return "\n".join(lines)


def _three(gains: Sequence[float]) -> str:
    return f"{statistics.median(gains):.2f}, {float(np.quantile(gains, 0.9)):.2f}, {max(gains):.2f}"


def main() -> None:
    """Sweep and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--every", type=int, default=1, help="take every so-manieth setting")
    parser.add_argument("--json", type=Path, help="also write all cases to this file")
    args = parser.parse_args()
    print(machine())
    chosen = list(settings())[:: args.every]
    rows: list[tuple[Setting, Case]] = []
    for setting in chosen:
        problem = problem_of(setting)
        rows.append((setting, single(problem, LATENCY, "latency of one camera")))
        rows.append((setting, single(problem, THROUGHPUT, "frames/s of one camera, one plan")))
        rows += [(setting, full(setting, cameras)) for cameras in CAMERAS]
    print(f"{len(chosen)} settings; gains: how many times as good, median, 90th percentile, most")
    print(table([case for _, case in rows]))
    print("\nOf these, over whole frames on all tiers:")
    print(by_size(rows, "frames/s of 8 cameras, mixed plans"))
    if args.json:
        found = [asdict(setting) | asdict(case) for setting, case in rows]
        args.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
