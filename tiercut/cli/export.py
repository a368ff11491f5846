"""``tiercut export``: a torch or ONNX model becomes a bundle."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tiercut.errors import SettingsError
from tiercut.model.bundle import Bundle
from tiercut.model.cuts import ITEM_BYTES
from tiercut.model.preprocess import LAYOUTS, RESIZES, FrameSpec

EXAMPLES = """examples:
  tiercut export tiercut.zoo.efficientnet_lite0:model --out bundles/efficientnet-lite0
  tiercut export detector.onnx --out bundles/detector --input-shape 1,3,320,320
  tiercut export mymodels:resnet --out bundles/resnet --labels classes.txt \\
      --image-size 224x224 --mean 123.7,116.3,103.5 --std 58.4,57.1,57.4 --crop-ratio 0.875
  tiercut export mymodels:activity --out bundles/activity \
      --signal-samples 128 --signal-rate-hz 50 --signal-channels acc_x,acc_y,acc_z --signal-units m/s2
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "export",
        help="turn a torch or ONNX model into a bundle",
        description="Turn a model into a bundle: a folder that nodes can cut and run.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", help="package.module:function that returns a torch module, a .pt2 or an .onnx file")
    parser.add_argument("--out", required=True, type=Path, help="folder of the bundle; an existing bundle is replaced")
    parser.add_argument(
        "--exits", metavar="NAME[,NAME]", help="names of early exits, which are the model's last outputs"
    )
    parser.add_argument(
        "--also-size", metavar="HxW", action="append", default=[], help="a further size, as a variant of its own"
    )
    add_model_flags(parser)
    parser.set_defaults(run=run)


def add_model_flags(parser: argparse.ArgumentParser) -> None:
    """Add what other commands that export first take as well."""
    parser.add_argument("--name", help="name of the bundle (default: the model's, or the folder's)")
    parser.add_argument(
        "--input-shape",
        action="append",
        default=[],
        metavar="N,N,…[:TYPE]",
        help="shape of an input, once per input, as 1,3,224,224 or 1,128:int64 (default type: float32)",
    )
    parser.add_argument("--labels", type=Path, metavar="FILE", help="names of the classes, one per line")
    images = parser.add_argument_group("images", "take uint8 images; the graph normalises them: (pixel - mean) / std")
    images.add_argument("--image-size", metavar="HxW", help="height and width that the model takes")
    images.add_argument("--views", type=int, default=1, metavar="N", help="images at once, one of each of N cameras")
    images.add_argument("--channels", type=int, choices=(1, 3), default=3, help="1: grey, 3: red, green, blue")
    images.add_argument("--mean", default="0", metavar="X[,X,X]", help="on the scale 0 to 255 (default: 0)")
    images.add_argument("--std", default="1", metavar="X[,X,X]", help="on the scale 0 to 255 (default: 1)")
    images.add_argument("--resize", choices=RESIZES, default="crop", help="keep proportions, or all of the frame")
    images.add_argument("--crop-ratio", type=float, default=1.0, metavar="R", help="part of the frame to keep")
    signals = parser.add_argument_group(
        "signals", "take windows of samples, float32, at this rate, in this order and these units"
    )
    signals.add_argument("--signal-samples", type=int, metavar="N", help="samples of a window")
    signals.add_argument("--signal-rate-hz", type=float, metavar="HZ", help="samples per second")
    signals.add_argument(
        "--signal-channels",
        default="1",
        metavar="NAME[,NAME]",
        help="names of the channels in the model's order, or how many there are (default: 1)",
    )
    signals.add_argument("--signal-units", metavar="UNIT[,UNIT]", help="one for all channels, or one each, as m/s2")
    signals.add_argument(
        "--signal-layout",
        choices=LAYOUTS,
        help="the model's input is (1, channels, samples), (1, samples, channels), or (1, samples) for the one channel"
        " (default: channels_first)",
    )


def run(args: argparse.Namespace) -> int:
    """Export, and print the result.

    Raises:
        SettingsError: a flag or the file of labels is wrong.
        ExportError: the model cannot become a bundle.
    """
    exits = [] if args.exits is None else args.exits.split(",")
    sizes = [_size("--also-size", text) for text in args.also_size]
    bundle = export_as_told(args.model, args.out, args, exits=exits, sizes=sizes)
    worth = sum(not cut.dominated for cut in bundle.cuts)
    print(f"{bundle.folder}: {bundle.name}, {bundle.end + 1} cut points, {worth} of them worth choosing")
    for variant in bundle.variants[1:]:
        where = f"cut {variant.exit.cut}" if variant.exit else f"{variant.end + 1} cut points"
        print(
            f"variant {variant.name}: {where}, {variant.cuts[-1].macs / max(1, bundle.cuts[-1].macs):.0%} of the work"
        )
    print(f"model {bundle.model}")
    return 0


def export_as_told(
    model: str,
    out: Path,
    args: argparse.Namespace,
    *,
    exits: Sequence[str] = (),
    sizes: Sequence[tuple[int, int]] = (),
) -> Bundle:
    """Export with the flags of `add_model_flags`.

    Raises:
        SettingsError: a flag or the file of labels is wrong.
        ExportError: the model cannot become a bundle.
    """
    frame = _frame(args)
    labels = None if args.labels is None else _labels(args.labels)
    shapes = [_shape(text) for text in args.input_shape]
    from tiercut.authoring.export import export  # noqa: PLC0415 - after the flags were checked: it may need torch
    from tiercut.authoring.verify import random_example  # noqa: PLC0415 - the same

    example: list[NDArray[np.generic]] | None = [random_example(*shape) for shape in shapes] or None
    sys.path.insert(0, str(Path.cwd()))  # package.module is looked up here, as python -m does
    try:
        return export(model, example, out, name=args.name, labels=labels, preprocess=frame, exits=exits, sizes=sizes)
    finally:
        sys.path.remove(str(Path.cwd()))


def _frame(args: argparse.Namespace) -> FrameSpec | None:
    if args.signal_samples is not None or args.signal_rate_hz is not None:
        return _signal(args)
    if args.image_size is None:
        return None
    return FrameSpec(
        size=_size("--image-size", args.image_size),
        views=args.views,
        channels=args.channels,
        resize=args.resize,
        crop_ratio=args.crop_ratio,
        mean=_numbers("--mean", args.mean),
        std=_numbers("--std", args.std),
    )


def _signal(args: argparse.Namespace) -> FrameSpec:
    if args.image_size is not None:
        raise _wrong("--image-size", "flags of images or of signals", "both")
    if args.signal_samples is None or args.signal_rate_hz is None:
        raise _wrong("--signal-samples", "it and --signal-rate-hz", "one of them")
    channels = str(args.signal_channels)
    return FrameSpec(
        kind="signal",
        samples=args.signal_samples,
        rate_hz=args.signal_rate_hz,
        channels=int(channels) if channels.isdecimal() else 0,
        channel_names=() if channels.isdecimal() else tuple(channels.split(",")),
        units=() if args.signal_units is None else tuple(args.signal_units.split(",")),
        layout=args.signal_layout or "channels_first",
    )


def _size(flag: str, text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    if match is None:
        raise _wrong(flag, "height and width as 224x224", text)
    return int(match[1]), int(match[2])


def _numbers(flag: str, text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise _wrong(flag, "one number, or three as 0.5,0.5,0.5", text) from error


def _shape(text: str) -> tuple[tuple[int, ...], str]:
    numbers, _, dtype = text.partition(":")
    dtype = dtype or "float32"
    if not re.fullmatch(r"\d+(,\d+)*", numbers) or dtype not in ITEM_BYTES:
        raise _wrong("--input-shape", f"numbers as 1,3,224,224, and after a colon one of {', '.join(ITEM_BYTES)}", text)
    return tuple(int(n) for n in numbers.split(",")), dtype


def _labels(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise _wrong("--labels", "a text file with a name per line", f"'{path}' ({error})") from error


def _wrong(flag: str, expected: str, came: str) -> SettingsError:
    return SettingsError(f"{flag} is not valid", expected=expected, came=came, fix=f"correct {flag}")
