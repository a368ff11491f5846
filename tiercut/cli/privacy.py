"""``tiercut privacy``: how well frames can be rebuilt from what crosses the wire."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from tiercut.cli.extras import need_packages, usual_threads
from tiercut.cli.inspect import human_bytes
from tiercut.cli.training_view import open_view
from tiercut.codecs.noise import with_noise
from tiercut.errors import SettingsError
from tiercut.model.bundle import Bundle

if TYPE_CHECKING:
    from tiercut.privacy.image_similarity import ImageSimilarity
    from tiercut.privacy.report import PrivacyReport

FRAMES, HELD_BACK = 4000, 500
AFTER_WIDTH = 30


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "privacy",
        help="see how well frames can be rebuilt at a cut",
        description="Train an attacker per cut that rebuilds frames from what crosses the wire there, and compare "
        "what it makes of frames that it never saw.",
    )
    parser.add_argument("bundle", help="folder of the bundle")
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER", help="frames as the sensor gives them")
    parser.add_argument("--cuts", metavar="K,K,…", help="where to attack (default: up to 6 cuts worth choosing)")
    parser.add_argument("--codec", default="raw", help="codec of the tensors (default: raw, which loses nothing)")
    parser.add_argument("--noise", type=float, default=0.0, metavar="SCALE", help="noise in front of the codec, as 0.2")
    parser.add_argument(
        "--frames", type=int, default=FRAMES, metavar="N", help=f"number of frames to learn from (default: {FRAMES})"
    )
    parser.add_argument("--epochs", type=int, metavar="N", help="how long to train (default: by the frames' size)")
    parser.add_argument("--threads", type=int, default=usual_threads(), metavar="N", help="default: all cores")
    parser.add_argument(
        "--picture", type=Path, metavar="FILE.png", help="write a picture of originals and reconstructions"
    )
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Attack, print the report, and draw the picture.

    Raises:
        SettingsError: a flag is wrong, the model takes no images, or a package is missing.
        BundleError: there is no bundle, or a damaged one.
        CutError: there is no such cut.
        DataError: the data cannot be read, or are too few.
    """
    need_packages("torch", "skimage")
    from tiercut.datasets.holdout import train_and_held_back  # noqa: PLC0415 - after the flags were checked
    from tiercut.privacy import measure, picture, report  # noqa: PLC0415 - torch takes seconds to load

    _check(args)
    if args.picture:
        picture.check_name(args.picture)
    bundle = Bundle.load(args.bundle)
    cuts = measure.default_cuts(bundle) if args.cuts is None else _cuts(args.cuts)
    attack = measure.Attack(codec=with_noise(args.codec, args.noise), epochs=args.epochs, threads=args.threads)
    measure.check_attackable(bundle, cuts, attack.codec)
    train, held_back = train_and_held_back(args.data, args.frames, HELD_BACK)
    with open_view() as view:
        found = measure.measure_privacy(bundle, train, held_back, cuts, attack, report=view.report, note=view.note)
    if args.picture:
        picture.draw(found, args.picture)
    if args.json:
        print(json.dumps(report.to_document(found)))
        return 0
    print("\n".join(_table(found, bundle)))
    if args.picture:
        print(f"picture in {args.picture}")
    return 0


def _check(args: argparse.Namespace) -> None:
    if args.epochs is not None and args.epochs < 1:
        raise _wrong("--epochs", "1 or more", str(args.epochs))
    if not args.noise >= 0:
        raise _wrong("--noise", "0 or more", str(args.noise))


def _cuts(text: str) -> tuple[int, ...]:
    try:
        return tuple(dict.fromkeys(int(part) for part in text.split(",")))
    except ValueError as error:
        raise _wrong("--cuts", "numbers of cuts as 2,5,9", text) from error


def _table(report: PrivacyReport, bundle: Bundle) -> Iterable[str]:
    """The lines that a person reads."""
    height, width = report.size
    yield f"{report.model_name}   what crosses the wire as {report.codec}, and the frames rebuilt from it"
    yield f"compared  on {report.held_back} frames that the attacker never saw, at {height}x{width}"
    if report.size != bundle.frame.size:
        yield f"          (the model takes {bundle.frame.size[0]}x{bundle.frame.size[1]})"
    yield ""
    yield f"{'cut':>5}   {'after node':<{AFTER_WIDTH}} {'bytes':>9} {'PSNR dB':>9} {'SSIM':>6}"
    yield _row("", "no attack: the mean image", "", report.mean_image)
    for leak in report.leaks:
        after = bundle.cuts[leak.cut].after or "the input"
        yield _row(str(leak.cut), after, human_bytes(round(leak.bytes)), leak.similarity)
    yield _row("", "for scale: as JPEG, quality 15", "", report.jpeg)
    yield ""
    yield from _notes(report)


def _row(cut: str, after: str, size: str, similarity: ImageSimilarity) -> str:
    short = after if len(after) <= AFTER_WIDTH else f"{after[: AFTER_WIDTH - 1]}…"
    return f"{cut:>5}   {short:<{AFTER_WIDTH}} {size:>9} {similarity.psnr_db:>9.1f} {similarity.ssim:>6.2f}"


def _notes(report: PrivacyReport) -> Iterable[str]:
    if any(leak.trained for leak in report.leaks):
        yield f"Each attacker learned from {report.frames} frames for {report.epochs} epochs. One with more frames,"
        yield "more time or a better network may rebuild more: the figures say what leaks at least."
    asis = ", ".join(str(leak.cut) for leak in report.leaks if not leak.trained)
    if asis:
        yield f"At cut {asis} it takes no attacker: the frame itself crosses the wire."


def _wrong(flag: str, expected: str, came: str) -> SettingsError:
    return SettingsError(f"{flag} is not valid", expected=expected, came=came, fix=f"correct {flag}")
