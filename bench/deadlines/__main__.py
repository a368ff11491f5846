"""Accuracy against deadline and bandwidth, live: the coordinator, device-only, cloud-only and Edgent's rule.

    python -m bench deadlines --data DIR --bundle DIR --out FOLDER     the whole grid, about half an hour
    python -m bench deadlines --data DIR --bundle DIR --short          two deadlines at two bandwidths, under a minute

DIR is a folder of labelled test frames as `tiercut.datasets` reads them, and a bundle with early exits whose accuracy
is known; with a table of codecs beside it, that is used. Needs Mosquitto. See docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.deadlines.frames import labelled_frames
from bench.deadlines.grid import SHORT, Effort, grid
from bench.deadlines.pictures import draw
from bench.deadlines.report import report
from bench.deadlines.site import Prepared, Setup, prepare, tiers_of
from bench.deadlines.strategies import MARGIN
from bench.machine import machine
from bench.testbed.log import Figures, say
from tiercut.errors import SettingsError, TiercutError
from tiercut.model.bundle import Bundle
from tiercut.profiling.codec_table_file import load_table

#: A frame of 28 by 28 pixels with its envelope takes 108 to 1.3 ms at these.
MBPS = (0.1, 0.2, 0.5, 1.0, 2.0, 8.0)
DEADLINES_MS = (12.0, 17.0, 24.0, 34.0, 48.0, 66.0, 92.0, 126.0, 160.0, 200.0)
#: What the whole model takes on the device and on the edge.
DEVICE_MS, EDGE_MS = 180.0, 45.0
FRAMES, SHORT_FRAMES = 60, 12
PROFILE_S, SHORT_PROFILE_S = 20.0, 2.0
#: A frame sets out when the one before it has had the longest deadline, and this part more.
PAUSE = 0.1


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The flags."""
    parser = argparse.ArgumentParser(
        prog="python -m bench deadlines", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, metavar="DIR", help="labelled test frames")
    parser.add_argument("--bundle", type=Path, metavar="DIR", help="a bundle with exits")
    parser.add_argument("--mbps", nargs="+", type=float, metavar="R", help="of every hop; default: 0.1 0.2 0.5 1 2 8")
    parser.add_argument("--deadlines", nargs="+", type=float, metavar="MS", help="default: 12 to 200, ten of them")
    parser.add_argument("--frames", type=int, metavar="N", help=f"per cell; default: {FRAMES}")
    parser.add_argument(
        "--device-ms", type=float, default=DEVICE_MS, metavar="MS", help="the whole model on the device"
    )
    parser.add_argument("--edge-ms", type=float, default=EDGE_MS, metavar="MS", help="the whole model on the edge")
    parser.add_argument("--short", action="store_true", help="the corners of the grid, few frames")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="write figures as they come, and pictures")
    parser.add_argument("--again", type=Path, metavar="FILE", help="only report the figures in this file")
    args = parser.parse_args(arguments)
    if args.again is None and (args.data is None or args.bundle is None):
        parser.error("--data and --bundle are needed to measure")
    return args


def measure(args: argparse.Namespace) -> Figures:
    """All cells.

    Raises:
        TiercutError: the bundle or the frames cannot be used, or a program does not run.
    """
    bundle = Bundle.load(args.bundle)
    if not bundle.exits:
        raise SettingsError(
            f"'{args.bundle}' cannot be measured",
            expected="a bundle with early exits",
            came="none",
            fix="run 'tiercut exits train' first",
        )
    rates = args.mbps or (MBPS[1::3] if args.short else MBPS)
    deadlines = args.deadlines or (DEADLINES_MS[3:7:3] if args.short else DEADLINES_MS)
    count = args.frames or (SHORT_FRAMES if args.short else FRAMES)
    with tempfile.TemporaryDirectory(prefix="tiercut-deadlines-") as folder:
        frames = labelled_frames(bundle, args.data, Path(folder) / "frames", count)
        say(f"measuring {bundle.name} on this machine")
        prepared = prepare(Path(folder), bundle, frames, seconds=SHORT_PROFILE_S if args.short else PROFILE_S)
        setup = _setup(prepared, args, 1e3 / ((1 + PAUSE) * max(deadlines)))
        figures = Figures(_about(prepared, setup, args, count), None if args.out is None else _file(args.out))
        effort = SHORT if args.short else Effort()
        asyncio.run(grid(prepared, frames, setup, (rates, deadlines), effort=effort, figures=figures))
    return figures


def _setup(prepared: Prepared, args: argparse.Namespace, fps: float) -> Setup:
    """Nodes as slow as they are to be; none is quicker than this machine."""
    whole_ms = 1e3 * prepared.profile.cut_seconds[-1]
    return Setup(
        slowdown=tiers_of([max(1.0, args.device_ms / whole_ms), max(1.0, args.edge_ms / whole_ms), 1.0]), fps=fps
    )


def _about(prepared: Prepared, setup: Setup, args: argparse.Namespace, count: int) -> dict[str, str]:
    """What is declared."""
    bundle, whole_ms = prepared.bundle, 1e3 * prepared.profile.cut_seconds[-1]
    accuracies = {each.name: each.accuracy for each in bundle.variants if each.accuracy is not None}
    table = load_table(bundle)
    told = "not measured for this bundle" if table is None else f"{len(table.rows)} measured, against {table.reference}"
    slow = ", ".join(f"{tier} x{factor:.1f} ({factor * whole_ms:.0f} ms)" for tier, factor in setup.slowdown.items())
    return {
        "machine": machine(),
        "model": f"{bundle.name}, {whole_ms:.2f} ms here; held-back accuracy "
        + ", ".join(f"{name} {accuracy:.3f}" for name, accuracy in accuracies.items()),
        "codecs": told,
        "nodes": f"emulated: every segment takes longer than here by a factor: {slow}; one thread each",
        "links": f"emulated: device to edge and edge to cloud at the rate listed, {setup.delay_ms:g} ms each; none "
        "from device to cloud",
        "frames": f"{count} of {args.data.name}, the same in every cell, {setup.fps:.2f} per second; one without a "
        "result in time counts as wrong",
        "fixed plans": f"the best of their kind by true figures, with {100 * MARGIN:.0f} % of the deadline kept free",
    }


def _file(out: Path) -> Path:
    out.mkdir(parents=True, exist_ok=True)
    return out / "deadlines.json"


def _kept(path: Path) -> Figures:
    """Figures that were kept before.

    Raises:
        SettingsError: the file holds none.
    """
    try:
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        figures = Figures(dict(document["about"]))
        for cell in document["cells"]:
            figures.add("cells", cell)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SettingsError(
            f"cannot read the figures '{path}'",
            expected="a file that --out has kept",
            came=str(error),
            fix="correct it",
        ) from error
    return figures


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    args = parse(arguments)
    try:
        figures = measure(args) if args.again is None else _kept(args.again)
        print("\n".join(report(figures)))
        if args.out is not None:
            print(*draw(figures.of("cells"), args.out), sep="\n")
    except TiercutError as error:
        print(f"deadlines: {error}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
