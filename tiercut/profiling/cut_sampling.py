"""Which cuts a profile measures, and what it says of those in between."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tiercut.model.cuts import CutPoint, dominated_cuts

#: Measured at most: 40 cuts of EfficientNet-Lite0 take a second per round on one core of an AMD EPYC (2026-11-21).
MAX_CUTS = 40


def candidate_cuts(cuts: Sequence[CutPoint]) -> tuple[int, ...]:
    """The cuts worth choosing, also where raw frames must not leave the device: codecs are measured at these.

    Those that no other one dominates, and those that none dominates among the cuts after the first real work. The last
    cut is not among them, as a result is never sent in this form.
    """
    first_work = next((cut.index for cut in cuts if cut.macs), 0)
    macs = [cut.macs for cut in cuts]
    by_bytes = dominated_cuts([cut.bytes for cut in cuts], macs, start=first_work)
    by_elements = dominated_cuts([cut.elements for cut in cuts], macs, start=first_work)
    good = {cut.index for cut in cuts if not cut.dominated}
    good |= {k for k in range(first_work + 1, len(cuts)) if not (by_bytes[k] and by_elements[k])}
    return tuple(sorted(good - {len(cuts) - 1}))


def cuts_to_measure(cuts: Sequence[CutPoint], most: int = MAX_CUTS, also: Sequence[int] = ()) -> tuple[int, ...]:
    """The cuts that a profile measures: all worth choosing, ``also``, the end, and others that fit, evenly by MACs.

    The others are ends of a group of equal MACs, which is right before a convolution or matrix product: a cut between
    a convolution and its activation would prevent their fusion and measure what never runs.
    """
    end = len(cuts) - 1
    must = {*candidate_cuts(cuts), *also, end} - {0}
    others = [k for k in range(1, end) if cuts[k].macs < cuts[k + 1].macs and k not in must]
    room = max(0, most - len(must))
    if len(others) > room:
        total = max(1, cuts[end].macs)
        goals = (total * (i + 1) / (room + 1) for i in range(room))
        others = [_nearest(cuts, others, goal) for goal in goals]
    return tuple(sorted(must.union(others)))


def _nearest(cuts: Sequence[CutPoint], among: Sequence[int], macs: float) -> int:
    return min(among, key=lambda k: abs(cuts[k].macs - macs))


def never_decreasing(values: Sequence[float]) -> tuple[float, ...]:
    """The closest values, in least squares, that never decrease: pool adjacent violators (Barlow et al. 1972)."""
    pools: list[tuple[float, int]] = []  # mean, how many
    for value in values:
        mean, count = value, 1
        while pools and pools[-1][0] > mean:
            earlier, many = pools.pop()
            mean, count = (earlier * many + mean * count) / (many + count), many + count
        pools.append((mean, count))
    return tuple(mean for mean, count in pools for _ in range(count))


def fill_between(cuts: Sequence[CutPoint], measured: Mapping[int, float]) -> tuple[float, ...]:
    """Seconds up to every cut from those of some, the last one among them; 0 at cut 0, never decreasing.

    In between by MACs: what does not multiply is all but free, and fused with what does. Where there are no MACs in
    between, by the number of nodes.
    """
    known = sorted(measured)
    seconds = dict(zip((0, *known), (0.0, *never_decreasing([max(0.0, measured[k]) for k in known])), strict=True))
    filled: list[float] = [0.0]
    for a, b in zip((0, *known), known, strict=False):
        work = cuts[b].macs - cuts[a].macs
        for k in range(a + 1, b + 1):
            part = (cuts[k].macs - cuts[a].macs) / work if work else (k - a) / (b - a)
            filled.append(seconds[a] + (seconds[b] - seconds[a]) * part)
        filled[-1] = seconds[b]  # exactly, not up to rounding
    return tuple(filled)
