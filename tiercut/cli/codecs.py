"""``tiercut codecs``: what each codec costs at each cut of a model, in bytes, time and accuracy."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from tiercut.cli.inspect import human_bytes
from tiercut.datasets.folders import SPLITS, load
from tiercut.errors import BundleError, SettingsError
from tiercut.model.bundle import Bundle
from tiercut.profiling.codec_choice import worth_choosing
from tiercut.profiling.codec_measure import MIN_FRAMES, Options, measure_codecs
from tiercut.profiling.codec_table import CodecRow, CodecTable
from tiercut.profiling.codec_table_file import load_table, to_document, write_table

T = TypeVar("T")
_COMPARED = {
    "labels": "accuracy lost against the labels, {:.1%} right without a codec",
    "agreement": "frames with another answer than without a codec",
}


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "codecs",
        help="measure what codecs cost a model",
        description="Measure or show what each codec costs at each cut of a model: bytes, time, accuracy.",
    )
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    measure = actions.add_parser("measure", help="measure them on frames, and keep the table in the bundle's folder")
    measure.add_argument("bundle", help="folder of the bundle")
    measure.add_argument("--data", required=True, metavar="FOLDER", help="frames, with labels or without")
    measure.add_argument(
        "--split", choices=SPLITS, help="part of the data (default: the test part, where there is one)"
    )
    measure.add_argument(
        "--frames", type=int, default=500, metavar="N", help="number of frames, drawn at random (default: 500)"
    )
    measure.add_argument("--cuts", metavar="K,…", help="cuts (default: those worth choosing)")
    measure.add_argument("--codecs", metavar="NAME,…", help="codecs (default: all)")
    measure.add_argument(
        "--noise", metavar="SCALE,…", help="also with noise in front, of this many standard deviations"
    )
    measure.add_argument("--threads", type=int, default=1, metavar="N", help="threads per segment")
    measure.set_defaults(run=run_measure)
    show = actions.add_parser("show", help="print the table that was measured")
    show.add_argument("bundle", help="folder of the bundle")
    show.set_defaults(run=run_show)
    for each in (measure, show):
        each.add_argument("--all", action="store_true", help="include what is never worth choosing")
        each.add_argument("--json", action="store_true", help="print everything as JSON")


def run_measure(args: argparse.Namespace) -> int:
    """Measure the table, write it, and print it.

    Raises:
        BundleError: there is no bundle, or a damaged one, or its folder cannot be written.
        DataError: the frames are missing, too few, or do not fit the model.
        SettingsError: a flag is wrong.
    """
    options = _options(args)
    bundle = Bundle.load(args.bundle)
    samples = load(Path(args.data), args.split)
    report = _progress if sys.stderr.isatty() else None
    table = measure_codecs(bundle, samples, options, report=report)
    if report:
        print(end="\r\x1b[K", file=sys.stderr)
    path = write_table(bundle, table)
    _print(bundle, table, args, f"kept in {path}")
    return 0


def run_show(args: argparse.Namespace) -> int:
    """Print the table of a bundle.

    Raises:
        BundleError: there is no bundle or no table, or a damaged one, or one of another model.
    """
    bundle = Bundle.load(args.bundle)
    table = load_table(bundle)
    if table is None:
        raise BundleError(
            f"the bundle '{bundle.name}' has no codec table",
            expected="a table made by 'tiercut codecs measure'",
            came="none",
            fix=f"run 'tiercut codecs measure {args.bundle} --data FOLDER'",
        )
    _print(bundle, table, args)
    return 0


def _options(args: argparse.Namespace) -> Options:
    if args.frames < MIN_FRAMES:
        raise _wrong("--frames", f"{MIN_FRAMES} or more", str(args.frames))
    if args.threads < 1:
        raise _wrong("--threads", "1 or more", str(args.threads))
    return Options(
        cuts=_listed(args.cuts, int, "--cuts", "whole numbers separated by commas"),
        codecs=_listed(args.codecs, str, "--codecs", "names separated by commas"),
        noise=_listed(args.noise, float, "--noise", "numbers separated by commas") or (),
        frames=args.frames,
        threads=args.threads,
    )


def _listed(text: str | None, kind: Callable[[str], T], flag: str, expected: str) -> tuple[T, ...] | None:
    if text is None:
        return None
    try:
        return tuple(kind(part.strip()) for part in text.split(","))
    except ValueError as error:
        raise _wrong(flag, expected, text) from error


def _print(bundle: Bundle, table: CodecTable, args: argparse.Namespace, *after: str) -> None:
    if args.json:
        print(json.dumps(to_document(table), ensure_ascii=False))
        return
    for line in (*_head(table), "", *_rows(bundle, table, everything=args.all), *after):
        print(line)


def _head(table: CodecTable) -> Iterable[str]:
    yield f"{table.model_name}   {table.frames} frames, {table.date}"
    yield f"drop     {_COMPARED[table.reference].format(table.accuracy)}; ± one standard error"
    yield f"machine  {table.machine}"


def _rows(bundle: Bundle, table: CodecTable, *, everything: bool) -> Iterable[str]:
    width = max([len("codec"), *(len(row.codec) for row in table.rows)])
    yield f"{'cut':>5} {'codec':<{width}}   {'size':>8} {'ratio':>7} {'encode ms':>9} {'decode ms':>9} {'drop %':>14}"
    hidden = 0
    for cut in table.cuts:
        size, rows = bundle.cuts[cut].bytes, table.rows_for(cut)
        worth = worth_choosing(rows, size)
        yield f"{cut:>5} {'raw':<{width}}   {human_bytes(size):>8} {1:>7.2f} {0:>9.3f} {0:>9.3f} {'0':>14}"
        for row in _by_size(rows):
            if everything or row in worth:
                yield _row(row, size, width, "-" if row not in worth else " ")
        hidden += len(rows) - len(worth)
    if hidden and not everything:
        yield f"{hidden} more are never worth choosing (--all): others cost no more in any respect"
    elif hidden:
        yield "- never worth choosing: others cost no more in any respect"


def _by_size(rows: Sequence[CodecRow]) -> list[CodecRow]:
    return sorted(rows, key=lambda row: (row.noise, -row.bytes))


def _row(row: CodecRow, cut_bytes: int, width: int, marker: str) -> str:
    times = f"{row.encode_seconds * 1e3:>9.3f} {row.decode_seconds * 1e3:>9.3f}"
    drop = f"{100 * row.accuracy_drop:.1f} ± {100 * row.accuracy_drop_std:.1f}" if row.accuracy_drop_std else "0"
    ratio = cut_bytes / max(1, row.bytes)
    return f"{row.cut:>5} {row.codec:<{width}} {marker} {human_bytes(row.bytes):>8} {ratio:>7.2f} {times} {drop:>14}"


def _progress(done: float, what: str) -> None:
    print(end=f"\r\x1b[K{100 * done:3.0f} %  {what}", file=sys.stderr, flush=True)


def _wrong(flag: str, expected: str, came: str) -> SettingsError:
    return SettingsError(f"{flag} is not valid", expected=expected, came=came, fix=f"correct {flag}")
