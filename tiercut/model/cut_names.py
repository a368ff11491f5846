"""Cuts as people write them: ``37``, or ``20%`` of the model's work."""

from __future__ import annotations

from collections.abc import Sequence

from tiercut.errors import CutError
from tiercut.model.bundle import Bundle
from tiercut.model.cuts import CutPoint
from tiercut.plan import FULL

#: A share of the work may be missed by this much when a cut nearby carries fewer bytes.
NEARBY = 0.05


def resolve_cut(bundle: Bundle, text: str, variant: str = FULL) -> int:
    """The cut point of a variant that ``text`` means.

    ``N%`` is the cut with the fewest bytes among those whose MACs are within 5 % of the whole from N % (the nearest
    one when there is none).

    Raises:
        CutError: it is no cut of this variant, or there is no such variant.
    """
    cuts, text = bundle.variant(variant).cuts, text.strip()
    number = text.removesuffix("%")
    try:
        value = float(number) if text.endswith("%") else int(number)
    except ValueError as error:
        raise _no_cut(bundle, cuts, text) from error
    if text.endswith("%"):
        if not 0 <= value <= 100:  # noqa: PLR2004 - per cent
            raise _no_cut(bundle, cuts, text)
        return _near(cuts, value / 100)
    if not 0 <= value < len(cuts):
        raise _no_cut(bundle, cuts, text)
    return int(value)


def _near(cuts: Sequence[CutPoint], share: float) -> int:
    end = len(cuts) - 1
    if share == 0:
        return 0
    if share == 1:
        return end
    total = max(cuts[-1].macs, 1)
    inner = range(1, max(end, 2))
    distance = {k: abs(cuts[k].macs / total - share) for k in inner}
    nearby = [k for k in inner if distance[k] <= NEARBY]
    if nearby:
        return min(nearby, key=lambda k: (cuts[k].bytes, distance[k]))
    return min(inner, key=lambda k: distance[k])


def _no_cut(bundle: Bundle, cuts: Sequence[CutPoint], text: str) -> CutError:
    return CutError(
        f"no such cut of '{bundle.name}'",
        expected=f"0 to {len(cuts) - 1}, or 0% to 100%",
        came=repr(text),
        fix="choose one from the table that 'tiercut inspect BUNDLE' prints",
    )
