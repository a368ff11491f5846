"""What a frame costs, beside the bare minimum and the whole model in one process.

    python -m bench.cost [--busy 0 2] [--rivals] [--profile FOLDER] [--json FILE]

EfficientNet-Lite0 cut at about 20 % and 60 %, int8, one thread per node, Mosquitto on loopback, real processes: hub,
cloud node, edge, device. The three systems take turns in each round at the same rate, so caches are as cold for all.

*CPU per frame* of a process is what the kernel counts (`bench.cost.counters`), by the frames it has handled itself.
*Beyond* is that minus the CPU time of sensor, segments and codecs, which both systems measure around exactly the same
calls (``time.thread_time``; `bench.bare.Meter`, `bench.cost.metered`). A base measured in one of them and subtracted
from both would not do: on a machine that others use too it differs between two runs by more than bare's whole overhead.
The ratio is of the sums over device, edge and cloud; the hub, which bare has not, has a row of its own, and so has
Mosquitto. *Minus work* is wall time from the model's input to the result at a subscriber, minus the wall time of
segments and codecs. CPU time moves little with other load, so it is the figure to steer by; times, full speed and cold
starts need a machine that does nothing else.

Messages and bytes come from a pass of their own with the broker's log of all packets (`bench.cost.broker_log`).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bench import cold_start
from bench.cost.counters import Spent
from bench.cost.figures import Figures, Turns
from bench.cost.full_speed import cores_rate, rate
from bench.cost.measure import busy, idle, measure, system, traffic
from bench.cost.profile import profile
from bench.cost.report import as_json, report
from bench.cost.rivals.table import RIVALS, installed
from bench.cost.systems import Job
from bench.machine import machine
from bench.site import model
from bench.testbed.log import say
from tiercut.model.bundle import Bundle
from tiercut.model.cut_names import resolve_cut

SYSTEMS = ("whole", "bare", "tiercut")
TRAFFIC_FRAMES = 100


def parse(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.cost", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--frames", type=int, default=300, help="frames per system and round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--fps", type=float, default=25.0)
    parser.add_argument("--codec", default="int8")
    parser.add_argument("--first", default="20%")
    parser.add_argument("--second", default="60%")
    parser.add_argument(
        "--busy", type=int, nargs="+", default=[0], metavar="N",
        help="other processes that compute beside everything; several numbers: one after the other (default: none)",
    )  # fmt: skip
    parser.add_argument("--idle-s", type=float, default=20.0, help="how long each program's idle CPU is watched")
    parser.add_argument("--rivals", action="store_true", help="calls of the same tail by aiohttp, gRPC and Ray Serve")
    parser.add_argument("--profile", type=Path, metavar="FOLDER", help="CPU by package, and flame graphs in a folder")
    parser.add_argument("--full-speed", action="store_true", help="throughput against what the cores can do")
    parser.add_argument("--cold", action="store_true", help="from a node's start to its first frame's result")
    parser.add_argument("--json", type=Path, metavar="FILE", help="the raw figures")
    args = parser.parse_args(words)
    for name in ("frames", "rounds", "fps"):
        if (came := getattr(args, name)) <= 0:
            parser.error(f"--{name} is not valid: expected a number above 0, got {came}; correct --{name}")
    if min(args.busy) < 0:
        parser.error(f"--busy is not valid: expected numbers of at least 0, got {min(args.busy)}; correct --busy")
    return args


async def in_turns(job: Job, turns: Turns, systems: Sequence[str], idle_s: float = 0.0) -> dict[str, Spent]:
    """One round of each system; returns tiercut's idle figures if they are asked for."""
    at_rest: dict[str, Spent] = {}
    with busy(turns.busy):
        for name in systems:
            say(f"{name}, {turns.busy} busy beside")
            async with system(name, job) as (running, _):
                measured = await measure(running, job)
                turns.measured.setdefault(name, []).append(measured)
                if name == "tiercut" and idle_s:
                    at_rest.update(await idle(running, idle_s))
    return at_rest


async def run(args: argparse.Namespace, bundle: Bundle, figures: Figures) -> None:
    """All that is asked for, into the figures.

    Raises:
        RuntimeError: a process has ended, or no result comes any more.
    """
    cuts = resolve_cut(bundle, args.first), resolve_cut(bundle, args.second)
    job = Job(bundle, *cuts, args.codec, args.frames, args.fps)
    figures.about |= {"machine": machine(), "job": _said(job)}
    for count in args.busy:
        figures.turns.append(Turns(count))
        for index in range(args.rounds):
            last = index == args.rounds - 1 and len(figures.turns) == 1
            figures.idle |= await in_turns(job, figures.turns[-1], SYSTEMS, args.idle_s if last else 0.0)
    for name in ("bare", "tiercut"):
        say(f"messages and bytes of {name}")
        figures.traffic[name] = await traffic(name, replace(job, frames=min(job.frames, TRAFFIC_FRAMES)))
    await _more(args, job, figures)


async def _more(args: argparse.Namespace, job: Job, figures: Figures) -> None:
    """What takes an option."""
    if args.rivals:
        figures.hop = Turns(0)
        for _ in range(args.rounds):
            systems = ("tiercut", *(name for name, _ in installed()))
            await in_turns(replace(job, second=job.first), figures.hop, systems)
    if args.full_speed:
        for _ in range(args.rounds):
            say("full speed")
            figures.full_speed.append((await rate(job), await asyncio.to_thread(cores_rate, job)))
    if args.cold:
        say("cold starts")
        starts = cold_start.measure(job.bundle, (job.first, job.second), starts=1)
        figures.cold_s = {tier: wall_s async for tier, wall_s, _ in starts}
    if args.profile is not None:
        say(f"profiles in {args.profile}")
        figures.cpu_by_package = await profile(job, args.profile)


def _said(job: Job) -> str:
    sizes = [job.bundle.cuts[cut].bytes for cut in (job.first, job.second)]
    where = f"cuts {job.first} ({sizes[0]} B) and {job.second} ({sizes[1]} B) of {job.bundle.end}"
    return f"{job.bundle.name}, {where}, {job.codec}, {job.fps:g} frames/s, {job.frames} frames per round"


def main() -> int:
    """Measure and print."""
    args = parse()
    if args.rivals:
        for entry in RIVALS.values():
            if missing := entry.missing():
                print(missing, file=sys.stderr)
    figures, status = Figures({}), 0
    try:
        asyncio.run(run(args, model(), figures))
    except (RuntimeError, TimeoutError) as error:  # what is there is printed all the same
        print(f"broken off: {error or 'no result came in time'}", file=sys.stderr)
        status = 1
    if args.json is not None:
        args.json.write_text(json.dumps(as_json(figures)), encoding="utf-8")
    print("\n".join(report(figures)))
    return status


if __name__ == "__main__":
    sys.exit(main())
