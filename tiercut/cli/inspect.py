"""``tiercut inspect``: where a bundle can be cut, and what that costs."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Sequence

from tiercut.model.bundle import Bundle
from tiercut.model.bundle_format import to_document
from tiercut.model.cuts import TensorSpec
from tiercut.model.preprocess import FrameSpec
from tiercut.model.variants import Variant

#: The table fits a terminal of 100 columns.
AFTER_WIDTH, TENSORS_WIDTH = 32, 28
#: The rule of `CutPoint.dominated`.
NEVER = "another cut sends no more bytes or elements, after no more work"


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "inspect",
        help="print a bundle's cut points",
        description="Print what a bundle is and where it can be cut: what would travel there, and the work before it.",
    )
    parser.add_argument("bundle", help="folder of the bundle")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    parser.add_argument("--all", action="store_true", help="include the cuts that are never worth choosing")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print it.

    Raises:
        BundleError: there is no bundle, or a damaged one.
    """
    bundle = Bundle.load(args.bundle)
    if args.json:
        print(json.dumps(to_document(bundle.contents), ensure_ascii=False))
        return 0
    for line in (*_head(bundle), "", *_table(bundle, everything=args.all)):
        print(line)
    return 0


def human_bytes(count: int) -> str:
    """A size with about three digits: ``5.12 kB``."""
    size = float(count)
    for unit in ("B", "kB", "MB"):
        if size < 1000:  # noqa: PLR2004 - SI
            return f"{count} B" if unit == "B" else f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} GB"


def human_count(count: int) -> str:
    """A number with about three digits: ``4.63 M``."""
    return human_bytes(count).replace("kB", "k").replace("GB", "G").replace("MB", "M").removesuffix(" B")


def _head(bundle: Bundle) -> Iterable[str]:
    frame, last = bundle.frame, bundle.cuts[-1]
    yield f"{bundle.name}   {human_count(last.macs)} MACs, {human_count(last.parameters)} parameters"
    yield f"model    {bundle.model}"
    for tensor in bundle.inputs:
        yield f"input    {tensor.name} {tensor}"
    if frame.kind == "image":
        part = f"the middle {frame.crop_ratio:.3g}" if frame.resize == "crop" else "all, stretched"
        mean, std = (", ".join(f"{x:g}" for x in values) for values in (frame.mean, frame.std))
        images = "an image" if frame.views == 1 else f"each of {frame.views} images"
        yield f"frame    {part} of {images}; the graph subtracts {mean} and divides by {std}"
    elif frame.kind == "signal":
        yield f"frame    {_signal(frame)}"
    for output in bundle.outputs:
        spec = TensorSpec(output.name, output.shape, output.dtype)
        labels = (
            f", {len(bundle.labels)} labels" if bundle.labels and output.shape[-1:] == (len(bundle.labels),) else ""
        )
        yield f"output   {output.name} {spec}, scores {output.scores}{labels}"
    for variant in bundle.variants if len(bundle.variants) > 1 or bundle.accuracy is not None else ():
        yield f"variant  {_variant(variant, last.macs)}"
    for each in bundle.leaving:
        shares = ", ".join(f"{share:.1%} {name}" for name, share in each.shares.items())
        yield f"leaving  at {each.threshold:g}: {shares}; {each.accuracy:.2%} right"
    for codec in bundle.contents.codecs:
        yield f"codec    {codec.name} at cut {codec.cut}"


def _signal(frame: FrameSpec) -> str:
    names = frame.channel_names or tuple(f"channel {i + 1}" for i in range(frame.channels))
    units = [f" [{unit}]" if unit else "" for unit in frame.units] or [""] * frame.channels
    shown = ", ".join(f"{name}{unit}" for name, unit in zip(names, units, strict=True))
    return f"{frame.samples} samples at {frame.rate_hz:g} Hz ({frame.samples / frame.rate_hz:.3g} s) of {shown}"


def _variant(variant: Variant, macs: int) -> str:
    where = f"leaves at cut {variant.exit.cut}" if variant.exit else f"{variant.end + 1} cuts"
    accuracy = "" if variant.accuracy is None else f", {variant.accuracy:.2%} right"
    return f"{variant.name}: {where}, {variant.cuts[-1].macs / max(1, macs):.1%} of the MACs{accuracy}"


def _table(bundle: Bundle, *, everything: bool) -> Iterable[str]:
    total = max(1, bundle.cuts[-1].macs)
    shown = [cut for cut in bundle.cuts if everything or not cut.dominated]
    yield f"{'cut':>5}   {'after node':<{AFTER_WIDTH}} {'tensors':<{TENSORS_WIDTH}} {'size':>8}   MACs  params"
    for cut in shown:
        marker = "-" if cut.dominated else " "
        yield (
            f"{cut.index:>5} {marker} {_shorten(cut.after or 'the input', AFTER_WIDTH):<{AFTER_WIDTH}}"
            f" {_tensors(cut.tensors):<{TENSORS_WIDTH}} {human_bytes(cut.bytes):>8}"
            f" {100 * cut.macs / total:>5.1f}% {human_count(cut.parameters):>7}"
        )
    hidden = len(bundle.cuts) - len(shown)
    if hidden:
        yield f"{hidden} more cuts are never worth choosing (--all): {NEVER}"
    elif everything:
        yield f"- never worth choosing: {NEVER}"


def _tensors(tensors: Sequence[TensorSpec]) -> str:
    """The shape if there is one tensor; else how many there are, and of which types."""
    if len(tensors) == 1:
        return _shorten(str(tensors[0]), TENSORS_WIDTH)
    return _shorten(f"{len(tensors)} tensors, {', '.join(sorted({t.dtype for t in tensors}))}", TENSORS_WIDTH)


def _shorten(text: str, width: int) -> str:
    """The end of a long name says more than its beginning."""
    return text if len(text) <= width else f"…{text[1 - width :]}"
