"""The coordinator on shaped links: its plans against all others, its answers to steps, its calm under noise.

    python -m bench testbed            everything, about 45 minutes on two cores that do nothing else
    python -m bench testbed --short    one model, two uplinks, one step of each kind, 20 s of noise: a few minutes
    python -m bench testbed --busy     20 steps and 10 steady minutes, other programs keep each core busy: half an hour

Needs root, iproute2 and Mosquitto. See docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bench.machine import machine
from bench.testbed import grid, steps
from bench.testbed.log import Figures, say
from bench.testbed.models import MODELS, Prepared, prepare
from bench.testbed.net import BURST_BYTES, Net, why_not
from bench.testbed.noise import noise
from bench.testbed.report import report
from bench.testbed.site import Setup
from tiercut.errors import TiercutError

#: Rates of 3G, LTE, Wi-Fi and a LAN: Neurosurgeon (ASPLOS 2017), DADS (INFOCOM 2019).
UPLINKS = (1.1, 5.85, 18.88, 100.0)
SLOWDOWNS = (1.0, 4.0)
PARTS = ("grid", "steps", "noise", "steady")
USUAL_PARTS, BUSY_PARTS = PARTS[:3], PARTS[1:]
NOISE_MBPS, NOISE_S, SHORT_NOISE_S = 5.85, 300.0, 20.0
STEADY_S, SHORT_STEADY_S = 600.0, 40.0
#: Steps and noise are for a slow edge: with one as fast as the cloud no uplink matters.
STEP_SLOWDOWN, STEP_FPS, STEP_IN_FLIGHT = 4.0, 10.0, 3


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The flags."""
    parser = argparse.ArgumentParser(
        prog="python -m bench testbed", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", metavar="NAME", help=f"default: {' '.join(MODELS)}")
    parser.add_argument("--uplinks", nargs="+", type=float, metavar="MBPS", help="default: 1.1 5.85 18.88 100")
    parser.add_argument("--slowdowns", nargs="+", type=float, metavar="F", help="of the edge; default: 1 4")
    parser.add_argument("--device-slowdown", type=float, default=8.0, metavar="F", help="default: 8")
    parser.add_argument("--lan", type=float, default=100.0, metavar="MBPS", help="device to edge; default: 100")
    parser.add_argument("--delay-ms", type=float, default=0.0, metavar="D", help="added to frames sent on; default: 0")
    parser.add_argument(
        "--codecs", nargs="*", default=["int8+zstd", "jpeg"], metavar="NAME", help="besides raw; default: %(default)s"
    )
    parser.add_argument("--only", choices=PARTS, action="append", help="a part; repeatable")
    parser.add_argument("--short", action="store_true", help="a few minutes")
    parser.add_argument("--busy", action="store_true", help="a process on each core computes without end meanwhile")
    parser.add_argument("--profile", action="store_true", help="measure the models' profiles again")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there as they come")
    return parser.parse_args(arguments)


async def measure(args: argparse.Namespace, models: Sequence[Prepared], figures: Figures) -> None:
    """All parts that are wanted."""
    parts = args.only or (BUSY_PARTS if args.busy else USUAL_PARTS)
    uplinks = args.uplinks or (UPLINKS[::2] if args.short else UPLINKS)
    effort = grid.SHORT if args.short else grid.Effort()
    story = steps.SHORT if args.short else steps.BUSY if args.busy else steps.Story()
    common = Setup(
        device_slowdown=args.device_slowdown,
        edge_slowdown=STEP_SLOWDOWN,
        fps=STEP_FPS,
        in_flight=STEP_IN_FLIGHT,
        delay_ms=args.delay_ms,
        codecs=tuple(args.codecs),
        busy=args.busy,
    )
    with Net(lan_mbps=args.lan, uplink_mbps=uplinks[0]) as net, net.inside("edge"):
        if "grid" in parts:
            for model in models:
                for slowdown in args.slowdowns or (SLOWDOWNS[1:] if args.short else SLOWDOWNS):
                    setup = replace(common, edge_slowdown=slowdown, in_flight=1)
                    setup = replace(setup, fps=1 / grid.period_s(model, setup))
                    await grid.grid(net, model, setup, uplinks, effort=effort, figures=figures)
        if "steps" in parts:
            await steps.steps(net, models[0], common, story, figures)
        if "noise" in parts:
            lasts_s = SHORT_NOISE_S if args.short else NOISE_S
            await noise(net, models[0], common, figures, mbps=NOISE_MBPS, lasts_s=lasts_s)
        if "steady" in parts:
            lasts_s = SHORT_STEADY_S if args.short else STEADY_S
            await noise(net, models[0], common, figures, mbps=NOISE_MBPS, lasts_s=lasts_s, swing=0.0)


async def until_terminated(args: argparse.Namespace, models: Sequence[Prepared], figures: Figures) -> bool:
    """SIGTERM takes everything down in order, as Ctrl-C does; false when it came."""
    task = asyncio.create_task(measure(args, models, figures))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        return False
    return True


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    args = parse(arguments)
    reason = why_not()
    if reason is not None:
        print(f"testbed: {reason}", file=sys.stderr)
        return 2
    try:
        names = args.models or (MODELS[:1] if args.short else MODELS)
        models = []
        for name in names:
            say(f"preparing {name}")
            models.append(prepare(name, again=args.profile))
        figures = Figures(about(args, models), args.json)
        done = asyncio.run(until_terminated(args, models, figures))
    except TiercutError as error:
        print(f"testbed: {error}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        done = False
    print("\n".join(report(figures)))
    return 0 if done else 1


def about(args: argparse.Namespace, models: Sequence[Prepared]) -> dict[str, str]:
    """What is declared."""
    times = ", ".join(f"{m.bundle.name} {m.profile.cut_seconds[-1] * 1e3:.1f} ms" for m in models)
    return {
        "machine": machine(),
        "nodes": f"device x{args.device_slowdown:g}, edge as listed, cloud x1, one thread each; {times} at x1",
        "links": f"device to edge {args.lan:g} Mbit/s, uplink as listed, tbf of {BURST_BYTES} bytes both ways, "
        f"{args.delay_ms:g} ms added to frames",
        "codecs": ", ".join(("raw", *args.codecs)),
        **({"cores": "each kept busy by another program"} if args.busy else {}),
    }


if __name__ == "__main__":
    sys.exit(main())
