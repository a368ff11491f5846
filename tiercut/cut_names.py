"""Cuts as people write them: ``37``, or ``20%`` of the model's work."""

from __future__ import annotations

from tiercut.bundle import Bundle
from tiercut.errors import CutError

#: A share of the work may be missed by this much when a cut nearby carries fewer bytes.
NEARBY = 0.05


def resolve_cut(bundle: Bundle, text: str) -> int:
    """The cut point that ``text`` means.

    ``N%`` is the cut with the fewest bytes among those whose MACs are within 5 % of the whole from N % (the nearest
    one when there is none).

    Raises:
        CutError: it is no cut of this bundle.
    """
    text = text.strip()
    number = text.removesuffix("%")
    try:
        value = float(number) if text.endswith("%") else int(number)
    except ValueError as error:
        raise _no_cut(bundle, text) from error
    if text.endswith("%"):
        if not 0 <= value <= 100:  # noqa: PLR2004 - per cent
            raise _no_cut(bundle, text)
        return _near(bundle, value / 100)
    if not 0 <= value <= bundle.end:
        raise _no_cut(bundle, text)
    return int(value)


def _near(bundle: Bundle, share: float) -> int:
    if share == 0:
        return 0
    if share == 1:
        return bundle.end
    total = max(bundle.cuts[-1].macs, 1)
    inner = range(1, max(bundle.end, 2))
    distance = {k: abs(bundle.cuts[k].macs / total - share) for k in inner}
    nearby = [k for k in inner if distance[k] <= NEARBY]
    if nearby:
        return min(nearby, key=lambda k: (bundle.cuts[k].bytes, distance[k]))
    return min(inner, key=lambda k: distance[k])


def _no_cut(bundle: Bundle, text: str) -> CutError:
    return CutError(
        f"no such cut of '{bundle.name}'",
        expected=f"0 to {bundle.end}, or 0% to 100%",
        came=repr(text),
        fix="choose one from the table that 'tiercut inspect BUNDLE' prints",
    )
