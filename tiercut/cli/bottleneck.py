"""``tiercut bottleneck train``: a codec that is learned for one cut of one model."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from tiercut.cli.extras import need_packages, usual_threads
from tiercut.cli.inspect import human_bytes
from tiercut.cli.training_view import open_view
from tiercut.model.bundle import Bundle

if TYPE_CHECKING:
    from tiercut.bottleneck.plan import BottleneckPlan
    from tiercut.bottleneck.train import Trained

EXAMPLES = """examples:
  tiercut bottleneck train bundles/detector --data photos --cut 25
  tiercut bottleneck train bundles/detector --data photos --cut 25 --channels 12 --stride 2 --bits 4
"""

FRAMES, HELD_BACK, EPOCHS = 10_000, 1000, 8
BATCH, RATE = 32, 4e-3


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand and its own."""
    bottleneck = subparsers.add_parser(
        "bottleneck", help="learn a codec for one cut", description="Codecs that are learned for one cut of one model."
    )
    parser = bottleneck.add_subparsers(metavar="ACTION", required=True).add_parser(
        "train",
        help="train an encoder and a decoder, and put them into the bundle",
        description="Train a small encoder and decoder at a cut, so that the model answers as it does without them. "
        "They become a codec of the bundle.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("bundle", type=Path, help="folder of the bundle")
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER", help="frames; labels are not needed")
    parser.add_argument("--cut", type=int, required=True, metavar="K", help="a cut with one tensor")
    parser.add_argument(
        "--channels", type=int, metavar="N", help="channels of the code (default: 8 for maps, 64 for vectors)"
    )
    parser.add_argument("--stride", type=int, default=1, metavar="1|2", help="2: a code of half the height and width")
    parser.add_argument(
        "--bits", type=int, default=8, metavar="8|4|2", help="bits per element of the code (default: 8)"
    )
    parser.add_argument(
        "--name", help="name of the codec (default: such as bottleneck-12-c8-b8); an existing one is replaced"
    )
    parser.add_argument("--epochs", type=int, default=EPOCHS, metavar="N", help=f"over the frames (default: {EPOCHS})")
    parser.add_argument("--frames", type=int, default=FRAMES, metavar="N", help=f"at most (default: {FRAMES})")
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    parser.add_argument("--threads", type=int, default=usual_threads(), metavar="N", help="default: all cores")
    parser.add_argument("-o", "--out", type=Path, metavar="BUNDLE", help="default: the bundle itself is replaced")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Train, and print the result.

    Raises:
        SettingsError: a flag is wrong, a package is missing, or an interrupted training had other settings.
        CutError: there is no such cut, or not one float32 tensor at it.
        DataError: the data cannot be read, do not fit the model, or are too few.
        BundleError: there is no bundle, or a damaged one.
        ExportError: the model's end cannot be trained through, or the bundle cannot be written.
    """
    began_s = time.monotonic()
    need_packages("torch")
    from tiercut.bottleneck.plan import make_plan  # noqa: PLC0415 - after the packages were asked for
    from tiercut.bottleneck.train import train_bottleneck  # noqa: PLC0415 - torch takes seconds to load
    from tiercut.datasets.holdout import train_and_held_back  # noqa: PLC0415 - the same
    from tiercut.exits.recipe import Recipe  # noqa: PLC0415 - the same

    bundle = Bundle.load(args.bundle)
    plan = make_plan(bundle, args.cut, channels=args.channels, stride=args.stride, bits=args.bits, name=args.name)
    recipe = Recipe(
        mode="frozen", epochs=args.epochs, batch=BATCH, learning_rate=RATE, seed=args.seed, threads=args.threads
    )
    train, held_back = train_and_held_back(args.data, args.frames, HELD_BACK)
    with open_view() as view:
        view.note(_intention(bundle, plan, len(train)))
        trained = train_bottleneck(
            bundle,
            train,
            held_back,
            args.out or args.bundle,
            plan=plan,
            recipe=recipe,
            report=view.report,
            note=view.note,
        )
    for line in _outcome(trained, plan, time.monotonic() - began_s):
        print(line)
    return 0


def _intention(bundle: Bundle, plan: BottleneckPlan, frames: int) -> str:
    place = f"cut {plan.cut} (after {bundle.cuts[plan.cut].after})"
    return (
        f"{bundle.name}: '{plan.name}' at {place}, {plan.tensor} → {list(plan.code)} as {plan.inner}, {frames} frames"
    )


def _outcome(trained: Trained, plan: BottleneckPlan, seconds: float) -> Iterable[str]:
    bundle = trained.bundle
    verb = "replaced" if trained.replaced else "added"
    yield f"{bundle.folder}: '{plan.name}' {verb}, {seconds / 60:.1f} minutes"
    yield f"model {bundle.model}"
    yield ""
    yield f"at cut {plan.cut}, on {trained.frames} held-back frames:"
    yield f"  {'codec':<28} {'bytes':>9} {'agrees with the full model':>27} {'encode ms':>10} {'decode ms':>10}"
    yield f"  {'raw':<28} {human_bytes(plan.tensor.bytes):>9} {1:>27.1%}"
    for row in sorted(trained.rows, key=lambda row: -row.bytes):
        times = f"{row.encode_seconds * 1e3:>10.3f} {row.decode_seconds * 1e3:>10.3f}"
        yield f"  {row.codec:<28} {human_bytes(row.bytes):>9} {1 - row.accuracy_drop:>27.1%} {times}"
    yield ""
    yield "The bundle is another model now: copy it to all nodes that run it."
    yield f"Measure its codecs before planning with them: tiercut codecs measure {bundle.folder} --data FOLDER"
