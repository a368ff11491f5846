"""The capacity of a full site: real nodes that wait out how slow they are declared to be, on real shaped lines.

    python -m bench.capacity --cameras 8 --edges 1 --uplinks 1
    python -m bench.capacity --cameras 1 2 4 8 16 --edges 1 2 --uplinks 0.5 1 2 8      about two hours
    python -m bench.capacity --cameras 4 --at 0.9                                      latency just below capacity

Each site is started once and planned in turn by the hub for all streams together, with the uplink declared (``site``)
or not (``undeclared``, only when asked for), and one by one, and by hand for edges, cloud and devices alone. Results
later than the deadline do not count. ``bound`` is the planner's linear program on the declared figures, with nothing
kept free. ``--at`` measures what ``site`` gives, then has the cameras ask for that part of it, then has one camera ask
for few frames, and compares latencies. Needs root, iproute2, Mosquitto.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from bench.capacity.declared import Declared, prepared, problem_of
from bench.capacity.measure import Measured, measure
from bench.capacity.site import STRATEGIES, USUAL, FullSite, running
from bench.machine import machine
from bench.testbed.models import Prepared
from bench.testbed.net import Net, why_not
from tiercut.coordinator.site.problem import LEVELS
from tiercut.planner.site.solve import plan_site

#: Of one camera that nothing waits for, and frames that are counted at least: of fewer there is no 95th percentile.
UNLOADED_FPS, FEWEST = 2.0, 40


def bound_of(made: Prepared, declared: Declared) -> tuple[float, float]:
    """The planner's bound: of all streams, and of the stream with least."""
    plan = plan_site(problem_of(made, declared))
    return plan.bound_frames_per_second, min(share.frames_per_second for share in plan.shares.values())


async def one_site(made: Prepared, declared: Declared, args: argparse.Namespace) -> None:
    """Measure all strategies on a site, and print a line for each."""
    bound, least = bound_of(made, declared)
    print(f"\n{declared.name}: bound {bound:.1f} frames/s, least {least:.2f}", flush=True)
    async with networked(made, declared, keep=args.keep) as site:
        for strategy in args.strategies:
            shown(await measure(site, strategy, seconds=args.seconds), bound, least)


async def below_capacity(made: Prepared, declared: Declared, args: argparse.Namespace) -> None:
    """Measure latency at a part of what the site gives, and unloaded, and print both."""
    full = await measured(made, declared, args)
    rates = [args.at * full.total / declared.cameras, UNLOADED_FPS]
    loaded, alone = replace(declared, fps=rates[0]), replace(declared, fps=rates[1], cameras=1)
    at, unloaded = await measured(made, loaded, args), await measured(made, alone, args)
    print(
        f"  p95 at {at.total:.1f} of {full.total:.1f} frames/s ({at.total / full.total:.0%}; asked {args.at:.0%}): "
        f"{at.p95_ms:.0f} ms = {at.p95_ms / unloaded.p95_ms:.2f} x the {unloaded.p95_ms:.0f} ms of one camera at "
        f"{UNLOADED_FPS:g} frames/s; the plans alone {planned_p95_ms(made, loaded):.0f} ms",
        flush=True,
    )


async def measured(made: Prepared, declared: Declared, args: argparse.Namespace) -> Measured:
    """What ``site`` gives on a site of its own."""
    bound, least = bound_of(made, declared)
    print(f"\n{declared.name}, {declared.fps:.2f} frames/s each", flush=True)
    async with networked(made, declared, keep=args.keep) as site:
        each = await measure(site, "site", seconds=max(args.seconds, FEWEST / (declared.cameras * (declared.fps or 1))))
    shown(each, bound, least)
    return each


def planned_p95_ms(made: Prepared, declared: Declared) -> float:
    """95 of 100 frames take no longer by the plans of a full site, where none waits for another."""
    ways = [
        way for share in plan_site(problem_of(made, declared, filled=LEVELS[-1])).shares.values() for way in share.ways
    ]
    most = 0.95 * sum(way.frames_per_second for way in ways)
    for way in sorted(ways, key=lambda way: way.latency_seconds):
        most -= way.frames_per_second
        if most <= 0:
            return way.latency_seconds * 1e3
    return 0.0


@asynccontextmanager
async def networked(made: Prepared, declared: Declared, *, keep: Path | None) -> AsyncIterator[FullSite]:
    """A running site in a network of its own."""
    with (
        tempfile.TemporaryDirectory(prefix="tiercut-capacity-") as folder,
        Net(lan_mbps=declared.lan_mbps, uplink_mbps=declared.uplink_mbps) as net,
        net.inside("edge"),
    ):
        async with running(net, declared, made, Path(folder)) as site:
            yield site
        if keep:
            shutil.copytree(folder, keep / declared.name.replace("/", " per "), dirs_exist_ok=True)


def shown(each: Measured, bound: float, least: float) -> None:
    """A line."""
    print(
        f"  {each.strategy:<11} {each.total:6.1f} frames/s = {each.total / bound:.2f} x bound; least {each.least:5.2f} "
        f"= {each.least / least if least else 0:.2f}; late {each.late:4.0%}; p50 {each.p50_ms:5.0f} ms, "
        f"p95 {each.p95_ms:5.0f} ms; {each.changes} changes, steady after {each.settled_s:.0f} s  {each.said}",
        flush=True,
    )
    for seconds, hops in each.found:
        print(f"    after {seconds:.0f} s: {hops} seem to share a line", flush=True)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cameras", nargs="+", type=int, default=[8])
    parser.add_argument("--edges", nargs="+", type=int, default=[1])
    parser.add_argument("--uplinks", nargs="+", type=float, default=[1.0], metavar="MBPS")
    parser.add_argument("--fps", type=float, default=10.0, help="of each camera; 0 for as many as are taken")
    parser.add_argument("--deadline-ms", type=float, default=300.0)
    parser.add_argument(
        "--nodes-ms",
        nargs=3,
        type=float,
        default=(220.0, 50.0, 15.0),
        help="a frame on device, edge, cloud (%(default)s)",
    )
    parser.add_argument("--strategies", nargs="+", choices=STRATEGIES, default=USUAL)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument(
        "--at", type=float, metavar="PART", help="latency of 'site' at this part of what it gives, e.g. 0.9"
    )
    parser.add_argument("--profile", action="store_true", help="measure the model's profile again")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep the programs' logs there")
    parser.add_argument("--bounds", action="store_true", help="print the bounds, and run nothing")
    args = parser.parse_args()
    if args.at and not args.fps:
        parser.error("--at needs a rate that is more than the site gives (--fps)")
    if (why := why_not()) is not None and not args.bounds:
        print(why, file=sys.stderr)
        return 1
    made = prepared(again=args.profile)
    whole_ms = made.profile.cut_seconds[-1] * 1e3
    print(f"{machine()}; the model takes {whole_ms:.2f} ms, device, edge and cloud take {args.nodes_ms} ms")
    device, edge, cloud = (each / 1e3 for each in args.nodes_ms)
    for cameras, edges, uplink in itertools.product(args.cameras, args.edges, args.uplinks):
        declared = Declared(
            cameras=cameras,
            edges=edges,
            uplink_mbps=uplink,
            seconds={"device": device, "edge": edge, "cloud": cloud},
            fps=args.fps or None,
            deadline_ms=args.deadline_ms,
        )
        if args.bounds:
            bound, least = bound_of(made, declared)
            print(f"{declared.name}: bound {bound:.1f} frames/s, least {least:.2f}")
        else:
            asyncio.run(below_capacity(made, declared, args) if args.at else one_site(made, declared, args))
    return 0


if __name__ == "__main__":
    sys.exit(main())
