"""From a codec table to the entries of a planning problem: only codecs that can pay, at their measured costs."""

from __future__ import annotations

import statistics
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from tiercut.codecs.noise import without_noise
from tiercut.planner.problem import Codec
from tiercut.profiling.codec_table import CodecRow, CodecTable
from tiercut.profiling.profile import CodecPoint, Profile, codec_row

_Points = Mapping[tuple[str, int], CodecPoint]


def problem_codecs(
    table: CodecTable,
    sender: Profile,
    *,
    receiver: Profile | None = None,
    names: Collection[str] | None = None,
    max_accuracy_drop: float | None = None,
    keep: Collection[str] = (),
) -> list[Codec]:
    """The planning problem's codecs: one per codec and cut that can pay, called ``<codec>@<cut>``.

    Bytes and accuracy are the table's. Times are those of the nodes' own profiles; for what a profile does not have,
    the table's, times how much longer that node takes for the codecs that both have.

    Args:
        table: The model's table.
        sender: Profile of the node that encodes.
        receiver: Profile of the node that decodes; the sender where unknown.
        names: Only these codecs, with noise or without; all by default.
        max_accuracy_drop: Entries that cost more are omitted.
        keep: Entries that are in it in any case, because a plan uses them: ``<codec>@<cut>``.
    """
    encoding = _points(sender)
    decoding = _points(receiver or sender)
    slower = _times_as_long(table, encoding, "encode_seconds"), _times_as_long(table, decoding, "decode_seconds")
    chosen: list[Codec] = []
    for cut in table.cuts:
        if cut >= len(sender.cut_bytes):
            continue
        rows = [
            replace(
                row,
                encode_seconds=_seconds(row, "encode_seconds", encoding, slower[0]),
                decode_seconds=_seconds(row, "decode_seconds", decoding, slower[1]),
            )
            for row in table.rows_for(cut)
        ]
        allowed = [
            row
            for row in rows
            if (not names or {row.codec, without_noise(row.codec)} & set(names))
            and (max_accuracy_drop is None or row.accuracy_drop <= max_accuracy_drop)
        ]
        good = worth_choosing(allowed, sender.cut_bytes[cut])
        used = [row for row in rows if f"{row.codec}@{cut}" in keep and row not in good]
        chosen += [_entry(row, sender.cut_bytes[cut]) for row in (*good, *used)]
    return chosen


def worth_choosing(rows: Iterable[CodecRow], cut_bytes: int) -> list[CodecRow]:
    """The rows of one cut that no other one is as good as; ``raw``, which always exists, is one of the others.

    As good: no larger, no slower to encode and decode, no less accurate, and with no less noise. Of two that are as
    good as each other the first stays.
    """
    costs: list[tuple[float, ...]] = [(cut_bytes, 0.0, 0.0, 0.0)]
    others = [row for row in rows if row.codec != "raw"]
    costs += [_costs(row) for row in others]
    return [row for i, row in enumerate(others, start=1) if not _beaten(i, costs)]


def _costs(row: CodecRow) -> tuple[float, ...]:
    return (row.bytes, row.encode_seconds + row.decode_seconds, max(0.0, row.accuracy_drop), -row.noise)


def _beaten(i: int, costs: Sequence[tuple[float, ...]]) -> bool:
    mine = costs[i]
    return any(
        all(a <= b for a, b in zip(other, mine, strict=True)) and (other != mine or j < i)
        for j, other in enumerate(costs)
        if j != i
    )


def _entry(row: CodecRow, cut_bytes: int) -> Codec:
    point = CodecPoint(
        codec=f"{row.codec}@{row.cut}",
        cut=row.cut,
        bytes=row.bytes,
        encode_seconds=row.encode_seconds,
        decode_seconds=row.decode_seconds,
    )
    return replace(codec_row(point, cut_bytes, accuracy_drop=max(0.0, row.accuracy_drop)), noise=row.noise)


def _points(profile: Profile) -> _Points:
    return {(point.codec, point.cut): point for point in profile.codecs}


def _seconds(row: CodecRow, what: str, points: _Points, slower: float) -> float:
    """A row's time on the node of these points."""
    point = points.get((row.codec, row.cut))
    return float(getattr(row, what)) * slower if point is None else float(getattr(point, what))


def _times_as_long(table: CodecTable, points: _Points, what: str) -> float:
    """How much longer a node takes than the table's machine; 1 where they have nothing in common."""
    pairs = [(points[row.codec, row.cut], row) for row in table.rows if (row.codec, row.cut) in points]
    ratios = [getattr(point, what) / getattr(row, what) for point, row in pairs if getattr(row, what) > 0]
    return statistics.median(ratios) if ratios else 1.0
