"""``tiercut profile``: how long this machine takes up to each cut, and what each codec makes of it."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from tiercut.cli.inspect import human_bytes
from tiercut.errors import SettingsError
from tiercut.model.bundle import Bundle
from tiercut.model.preprocess import IMAGE_SUFFIXES
from tiercut.plan import FULL
from tiercut.profiling.measure import MAX_FRAMES, Frame, Options, measure_profile
from tiercut.profiling.profile import CodecPoint, Profile
from tiercut.profiling.store import ProfileStore, to_document


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "profile",
        help="measure a bundle on this machine",
        description="Measure how long this machine takes up to each cut, and what codecs make of it, and save that.",
    )
    parser.add_argument("bundle", help="folder of the bundle")
    parser.add_argument("--out", type=Path, default=Path("profiles"), metavar="FOLDER", help="where profiles are kept")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="threads per segment, as on the node")
    parser.add_argument(
        "--frames", type=Path, metavar="FOLDER", help="images to measure codecs on (default: synthetic ones)"
    )
    parser.add_argument("--seconds", type=float, default=20.0, metavar="BUDGET", help="time to spend on measuring")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Measure, save, print.

    Raises:
        BundleError: there is no bundle, or a damaged one.
        SettingsError: a flag is wrong, or the folder cannot be written.
    """
    _check(args)
    bundle = Bundle.load(args.bundle)
    frames = read_images(args.frames) if args.frames else ()
    report = _progress if sys.stderr.isatty() else None
    options = Options(threads=args.threads, seconds=args.seconds, memory=True)
    profile = measure_profile(bundle, frames, options, report=report)
    if report:
        print(end="\r\x1b[K", file=sys.stderr)
    path = ProfileStore(args.out).save(profile)
    if args.json:
        print(json.dumps(to_document(profile), ensure_ascii=False))
        return 0
    for line in (*_head(profile), "", *_times(profile), "", *_codecs(profile), f"kept in {path}"):
        print(line)
    return 0


def read_images(folder: Path) -> Iterator[Frame]:
    """The images of a folder in the order of their names, (height, width, 3) uint8.

    Raises:
        SettingsError: there are none, or one cannot be read.
    """
    files = sorted(f for f in folder.iterdir() if f.suffix.lower() in IMAGE_SUFFIXES) if folder.is_dir() else []
    if not files:
        raise _wrong("--frames", f"a folder with images ({', '.join(sorted(IMAGE_SUFFIXES))})", str(folder))
    for file in files[:MAX_FRAMES]:
        try:
            with Image.open(file) as image:
                yield np.asarray(image.convert("RGB"))
        except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
            raise _wrong("--frames", f"an image in '{file}'", str(error)[:120]) from error


def _check(args: argparse.Namespace) -> None:
    if args.threads < 1:
        raise _wrong("--threads", "1 or more", str(args.threads))
    if not 0 < args.seconds <= 3600:  # noqa: PLR2004 - an hour
        raise _wrong("--seconds", "more than 0 and at most 3600", str(args.seconds))


def _head(profile: Profile) -> Iterable[str]:
    yield f"{profile.model_name}   {profile.cut_seconds[-1] * 1e3:.3g} ms for all, ±{100 * profile.spread:.0f} %"
    yield f"machine  {profile.machine}"
    memory = profile.memory.get(FULL)
    if memory is not None:
        whole_mb = memory.needed_mb(0, profile.end)
        yield f"memory   {whole_mb:.1f} MB whole, {sum(memory.weights_mb):.1f} of it weights"
    yield f"codecs   on {profile.frames} frames" + (
        "; give --frames for real bytes" if profile.frames == "synthetic" else ""
    )


def _times(profile: Profile) -> Iterable[str]:
    total = profile.cut_seconds[-1] or 1.0
    yield f"{'cut':>5} {'ms up to it':>12} {'of all':>7} {'size':>9}"
    for k in profile.measured_cuts:
        seconds = profile.cut_seconds[k]
        size = human_bytes(profile.cut_bytes[k])
        yield f"{k:>5} {seconds * 1e3:>12.3f} {100 * seconds / total:>6.1f}% {size:>9}"
    between = profile.end - len(profile.measured_cuts)
    if between:
        yield f"{between} more cuts are interpolated"


def _codecs(profile: Profile) -> Iterable[str]:
    yield f"{'cut':>5} {'codec':<10} {'size':>9} {'ratio':>6} {'encode ms':>10} {'decode ms':>10}"
    for point in profile.codecs:
        yield _codec(point, profile.cut_bytes[point.cut])


def _codec(point: CodecPoint, cut_bytes: int) -> str:
    ratio = cut_bytes / max(1, point.bytes)
    times = f"{point.encode_seconds * 1e3:>10.3f} {point.decode_seconds * 1e3:>10.3f}"
    return f"{point.cut:>5} {point.codec:<10} {human_bytes(point.bytes):>9} {ratio:>6.2f} {times}"


def _progress(done: float, what: str) -> None:
    print(end=f"\r\x1b[K{100 * done:3.0f} %  {what}", file=sys.stderr, flush=True)


def _wrong(flag: str, expected: str, came: str) -> SettingsError:
    return SettingsError(f"{flag} is not valid", expected=expected, came=came, fix=f"correct {flag}")
