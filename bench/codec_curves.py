"""Accuracy against bytes for every cut and codec of a bundle, as a picture: ``python -m bench codec_curves BUNDLE``.

The bundle must have been measured (``tiercut codecs measure``). Prints, for each image codec at cut 0, the fewest bytes
that another cut and codec need for at least as many right answers: how far an intermediate is from a picture.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from tiercut.codecs.images import ImageCodec
from tiercut.codecs.table import CODECS
from tiercut.model.bundle import Bundle
from tiercut.profiling.codec_table import CodecRow, CodecTable
from tiercut.profiling.codec_table_file import load_table

COLUMNS = 3
#: A shape per codec: where two are equal, both are seen.
MARKERS = "os^vD<>pP*X"


def is_image(row: CodecRow) -> bool:
    """Whether a row is of a picture's format."""
    return row.cut == 0 and isinstance(CODECS.get(row.codec), ImageCodec)


def lines(bundle: Bundle, table: CodecTable) -> Iterable[str]:
    """Each picture's codec beside the intermediates that are as accurate: of any cut, and of the first half."""
    macs = max(1, bundle.cuts[-1].macs)
    half = max(cut.index for cut in bundle.cuts if cut.macs <= macs / 2)
    yield f"{'picture':<8} {'bytes':>6} {'drop %':>7}   fewest bytes as accurate          in the first half of the work"
    for row in sorted((row for row in table.rows if is_image(row) and not row.noise), key=lambda each: each.bytes):
        early = [each for each in table.rows if each.cut <= half]
        options = (table.rows, tuple(early))
        texts = [_option(bundle, _among(rows, row.accuracy_drop), row.bytes, macs) for rows in options]
        yield f"{row.codec:<8} {row.bytes:>6} {100 * row.accuracy_drop:>7.1f}   {texts[0]:<34}{texts[1]}"


def _among(rows: Sequence[CodecRow], drop: float) -> CodecRow | None:
    good = [row for row in rows if row.cut > 0 and row.accuracy_drop <= drop and not row.noise]
    return min(good, key=lambda row: row.bytes, default=None)


def _option(bundle: Bundle, row: CodecRow | None, picture_bytes: int, macs: int) -> str:
    if row is None:
        return "none"
    part = bundle.cuts[row.cut].macs / macs
    return f"{row.bytes} ({row.bytes / picture_bytes:.2f} x) {row.codec}@{row.cut}, {part:.0%}"


def draw(bundle: Bundle, table: CodecTable, path: Path) -> None:
    """A panel per cut: bytes across, accuracy that is lost upwards, with the pictures' curve in each."""
    import matplotlib as mpl  # noqa: PLC0415 - of the extra 'simulate'

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415 - the same

    cuts = [cut for cut in table.cuts if cut > 0]
    rows = -(-len(cuts) // COLUMNS)
    figure, axes = plt.subplots(rows, COLUMNS, figsize=(4 * COLUMNS, 3 * rows), sharex=True, sharey=True, squeeze=False)
    pictures = sorted((row for row in table.rows if is_image(row) and not row.noise), key=lambda each: each.bytes)
    names = list(dict.fromkeys(row.codec for row in table.rows if row.cut > 0 and not row.noise))
    colours = {name: plt.get_cmap("tab10")(i % 10) for i, name in enumerate(names)}
    for axis, cut in zip(axes.flat, cuts, strict=False):
        axis.plot(
            [row.bytes for row in pictures], [100 * row.accuracy_drop for row in pictures], "k.--", lw=0.8, ms=5,
            label="pictures at cut 0",
        )  # fmt: skip
        for row in table.rows_for(cut):
            if not row.noise:
                i = names.index(row.codec)
                error = 100 * row.accuracy_drop_std
                marker = {
                    "fmt": MARKERS[i % len(MARKERS)],
                    "ms": 5,
                    "lw": 0.8,
                    "alpha": 0.8,
                    "color": colours[row.codec],
                }
                axis.errorbar(row.bytes, 100 * row.accuracy_drop, error, label=row.codec, **marker)
        part = bundle.cuts[cut].macs / max(1, bundle.cuts[-1].macs)
        axis.set_title(f"cut {cut}, {part:.0%} of the MACs", fontsize=9)
        axis.set_xscale("log")
        axis.set_yscale("symlog", linthresh=1.0)
        axis.grid(alpha=0.3)
    for axis in axes.flat[len(cuts) :]:
        axis.axis("off")
    known = {
        label: handle for axis in axes.flat for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)
    }
    figure.legend(known.values(), known.keys(), loc="lower center", ncol=min(8, len(known)), fontsize=8)
    what = "accuracy lost" if table.reference == "labels" else "other answers"
    figure.supxlabel("bytes per frame", y=0.09, fontsize=10)
    figure.supylabel(f"{what}, % of {table.frames} frames", fontsize=10)
    figure.suptitle(f"{table.model_name}: what a codec costs at each cut ({table.date})", fontsize=11)
    figure.tight_layout(rect=(0.02, 0.1, 1, 1))
    figure.savefig(path, dpi=110)


def main() -> int:
    """Print the comparison; draw it when a file is named."""
    parser = argparse.ArgumentParser(prog="python -m bench codec_curves", description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--picture", type=Path, metavar="FILE.png")
    args = parser.parse_args()
    bundle = Bundle.load(args.bundle)
    table = load_table(bundle)
    if table is None:
        print(f"{args.bundle} has no table of codecs: run 'tiercut codecs measure' first", file=sys.stderr)
        return 4
    for line in lines(bundle, table):
        print(line)
    if args.picture is not None:
        draw(bundle, table, args.picture)
    return 0


if __name__ == "__main__":
    sys.exit(main())
