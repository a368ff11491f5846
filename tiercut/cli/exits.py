"""``tiercut exits train``: a classifier gets early exits."""

from __future__ import annotations

import argparse
import contextlib
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tiercut.cli.export import add_model_flags, export_as_told
from tiercut.cli.extras import need_packages, usual_threads
from tiercut.cli.inspect import human_count
from tiercut.cli.training_view import open_view
from tiercut.datasets.holdout import train_and_held_back
from tiercut.errors import SettingsError
from tiercut.model.bundle import Bundle
from tiercut.plan import FULL

if TYPE_CHECKING:
    from tiercut.exits.evaluation import Measured
    from tiercut.exits.recipe import Recipe
    from tiercut.exits.training import Trained

EXAMPLES = """examples:
  tiercut exits train tiercut.zoo.lenet:model --data mnist -o bundles/blenet --exits 1 --epochs 8
  tiercut exits train bundles/detector --data photos -o bundles/detector-exits --frozen --at 25,20%,layer3/Relu
"""

#: More than there are: no bound.
ALL_FRAMES = 10**9


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand and its own."""
    exits = subparsers.add_parser("exits", help="give a classifier early exits", description="Early exits.")
    parser = exits.add_subparsers(metavar="ACTION", required=True).add_parser(
        "train",
        help="attach heads, train and measure them",
        description="Attach small classifier heads to a model, train them, and write the bundle that has them.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", help="a bundle, or whatever 'tiercut export' takes, which is exported first")
    parser.add_argument(
        "--data", required=True, type=Path, metavar="FOLDER", help="frames, divided into train and test"
    )
    parser.add_argument(
        "-o", "--out", required=True, type=Path, metavar="BUNDLE", help="an existing bundle is replaced"
    )
    places = parser.add_mutually_exclusive_group()
    places.add_argument(
        "--at", metavar="CUT[,CUT]", help="cuts by hand: cut numbers, shares as 20%%, or nodes of 'inspect'"
    )
    places.add_argument(
        "--exits", type=int, default=1, metavar="N", help="number of exits, spread evenly by work (default: 1)"
    )
    modes = parser.add_mutually_exclusive_group()
    modes.add_argument("--joint", action="store_true", help="train the trunk too, on labels (the default)")
    modes.add_argument(
        "--frozen", action="store_true", help="keep the trunk as it is; learn its final output, without labels"
    )
    parser.add_argument("--epochs", type=int, default=8, metavar="N", help="passes over the data (default: 8)")
    parser.add_argument("--weights", metavar="W[,W]", help="weights of each exit's loss, the full model's last")
    parser.add_argument(
        "--head", choices=("auto", "conv", "pooled", "fc"), default="auto", help="what a head is made of"
    )
    parser.add_argument("--width", type=int, default=16, metavar="N", help="channels of a head's convolution")
    parser.add_argument("--batch", type=int, default=128, metavar="N", help="frames per step (default: 128)")
    parser.add_argument("--rate", type=float, default=2e-3, metavar="R", help="peak learning rate (default: 0.002)")
    parser.add_argument("--frames", type=int, default=ALL_FRAMES, metavar="N", help="learn from this many only")
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    parser.add_argument("--threads", type=int, default=usual_threads(), metavar="N", help="default: all cores")
    add_model_flags(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Train, and print the result.

    Raises:
        SettingsError: a flag is wrong, or an interrupted training had other settings.
        DataError: the data is missing, damaged, too little, or does not fit the model.
        CutError: a head cannot be where it was to be.
        ExportError: the model cannot have exits, or cannot be trained.
        BundleError: the source is a damaged bundle.
    """
    began = time.monotonic()
    need_packages("torch")
    from tiercut.exits import placement  # noqa: PLC0415 - after the packages were asked for
    from tiercut.exits.training import train_exits  # noqa: PLC0415 - torch takes seconds to load

    recipe = _recipe(args)
    train, held_back = train_and_held_back(args.data, args.frames, ALL_FRAMES)
    with _source(args) as bundle, open_view() as view:
        cuts = (
            placement.evenly(bundle, args.exits) if args.at is None else placement.by_hand(bundle, args.at.split(","))
        )
        view.note(_intention(bundle, cuts, recipe, len(train), len(held_back)))
        try:
            trained = train_exits(
                bundle,
                train,
                held_back,
                args.out,
                cuts=cuts,
                recipe=recipe,
                name=args.name,
                report=view.report,
                note=view.note,
            )
        except KeyboardInterrupt:
            view.note("interrupted: the same command resumes from the last checkpoint")
            raise
    for line in _outcome(trained, time.monotonic() - began):
        print(line)
    return 0


def _recipe(args: argparse.Namespace) -> Recipe:
    from tiercut.exits.heads import HeadPlan  # noqa: PLC0415 - it needs torch
    from tiercut.exits.recipe import Recipe  # noqa: PLC0415 - the same

    try:
        weights = tuple(float(part) for part in args.weights.split(",")) if args.weights else ()
    except ValueError as error:
        raise _wrong("--weights", "numbers as 1,0.5,1", args.weights) from error
    return Recipe(
        mode="frozen" if args.frozen else "joint",
        epochs=args.epochs,
        batch=args.batch,
        learning_rate=args.rate,
        weights=weights,
        head=HeadPlan(kind=args.head, width=args.width),
        seed=args.seed,
        threads=args.threads,
    )


@contextlib.contextmanager
def _source(args: argparse.Namespace) -> Iterator[Bundle]:
    """The bundle to start from, exported for as long as it is needed where it is none yet."""
    if Path(args.source).is_dir():
        for flag in ("input_shape", "labels", "image_size"):
            if getattr(args, flag):
                raise _wrong(
                    f"--{flag.replace('_', '-')}", "it only with a model that is still to be exported", "a bundle"
                )
        yield Bundle.load(args.source)
        return
    with tempfile.TemporaryDirectory(prefix="tiercut-") as scratch:
        yield export_as_told(args.source, Path(scratch) / args.out.resolve().name, args)


def _intention(bundle: Bundle, cuts: Iterable[int], recipe: Recipe, frames: int, held_back: int) -> str:
    places = ", ".join(f"{k} (after {bundle.cuts[k].after})" for k in cuts)
    how = "with the trunk" if recipe.mode == "joint" else "with the trunk frozen"
    return f"{bundle.name}: heads at cut {places}, trained {how} on {frames} frames, measured on {held_back}"


def _outcome(trained: Trained, seconds: float) -> Iterable[str]:
    bundle, measured = trained.bundle, trained.measured
    what = "accuracy" if measured.reference == "labels" else "agreement with the full model (there are no labels)"
    exits = f"{len(bundle.exits)} exit{'s' if len(bundle.exits) > 1 else ''}"
    yield f"{bundle.folder}: {bundle.name} with {exits}, {seconds / 60:.1f} minutes"
    yield f"model {bundle.model}"
    yield f"{what} on {measured.frames} held-back frames:"
    yield from _exit_table(bundle, measured)
    yield from _leaving_table(bundle)


def _exit_table(bundle: Bundle, measured: Measured) -> Iterable[str]:
    total = max(1, bundle.cuts[-1].macs)
    titles = f"{'head MACs':>9} {'params':>7} {'right':>7} {'temp.':>6}  calibration error"
    yield f"{'variant':>8} {'cut':>4} {'work':>6} {titles}"
    full, *others = bundle.variants
    for variant in (*(each for each in others if each.exit), full):
        spec = variant.exit
        right = "" if variant.accuracy is None else f"{variant.accuracy:.2%}"
        head = f"{'':>9} {'':>7}" if spec is None else f"{human_count(spec.macs):>9} {human_count(spec.parameters):>7}"
        cut = variant.end if spec is None else spec.cut
        line = f"{variant.name:>8} {cut:>4} {variant.cuts[-1].macs / total:>6.1%} {head} {right:>7}"
        if spec is not None:
            before, after = measured.uncalibrated[spec.name], spec.calibration_error or 0.0
            line += f" {spec.temperature:>6.2f}  {before:.2%} → {after:.2%}"
        yield line


def _leaving_table(bundle: Bundle) -> Iterable[str]:
    names = [*(spec.name for spec in bundle.exits), FULL]
    yield f"{'leaves at':>9} " + " ".join(f"{name:>7}" for name in names) + "   right in all"
    for row in bundle.leaving:
        shares = " ".join(f"{row.shares[name]:>7.1%}" for name in names)
        yield f"{row.threshold:>9g} {shares} {row.accuracy:>14.2%}"


def _wrong(flag: str, expected: str, came: str) -> SettingsError:
    return SettingsError(f"{flag} is not valid", expected=expected, came=came, fix=f"correct {flag}")
