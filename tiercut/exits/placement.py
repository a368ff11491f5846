"""Where heads are attached: at cuts with one tensor of numbers, named by hand or spread evenly over the work."""

from __future__ import annotations

from collections.abc import Sequence

from tiercut.errors import CutError
from tiercut.model.bundle import Bundle
from tiercut.model.cut_names import resolve_cut
from tiercut.model.cuts import TensorSpec

#: How many good cuts a refusal names on either side.
_NAMED = 2
#: A place this part of the work further off is taken when fewer bytes are alive there.
_NEARBY = 0.02
#: Part of the work after which no head is put unless by hand.
_LATEST = 0.95


def good_cuts(bundle: Bundle) -> tuple[int, ...]:
    """The cuts that can carry a head: one tensor alive, and some of the work, but not all of it, done."""
    cuts, total = bundle.cuts, bundle.cuts[-1].macs
    return tuple(cut.index for cut in cuts[1:-1] if 0 < cut.macs < total and _unfit(cut.tensors) is None)


def by_hand(bundle: Bundle, texts: Sequence[str]) -> tuple[int, ...]:
    """The cuts that people named.

    Args:
        bundle: The model.
        texts: Each a number, ``20%``, or the name of the node before it as ``tiercut inspect`` prints it.

    Raises:
        CutError: one is no cut of this bundle, or can carry no head, or is named twice.
    """
    cuts = [_find(bundle, text.strip()) for text in texts]
    for cut in cuts:
        _check(bundle, cut)
    if len(set(cuts)) < len(cuts) or not cuts:
        came = f"{', '.join(map(str, cuts)) or 'none'}"
        raise CutError("cannot attach heads", expected="different cuts", came=came, fix="name each cut once")
    return tuple(sorted(cuts))


def evenly(bundle: Bundle, count: int) -> tuple[int, ...]:
    """A number of cuts that split the multiply-accumulates into nearly equal parts.

    Of cuts with the same work before them the one with the fewest bytes is taken, which is behind activation and
    pooling. Heads in the last twentieth of the work would save nothing.

    Raises:
        CutError: there are fewer places.
    """
    total = bundle.cuts[-1].macs
    levels: dict[int, int] = {}
    for k in good_cuts(bundle):
        if bundle.cuts[k].macs > _LATEST * total:
            continue
        best = levels.get(bundle.cuts[k].macs)
        if best is None or bundle.cuts[k].bytes <= bundle.cuts[best].bytes:
            levels[bundle.cuts[k].macs] = k
    if not 1 <= count <= len(levels):
        raise CutError(
            f"cannot attach {count} heads to '{bundle.name}'",
            expected=f"1 to {len(levels)}, as many places with one tensor between parts of the work there are",
            came=str(count),
            fix="attach fewer, or name cuts by hand",
        )
    free = sorted(levels)
    chosen = []
    for i in range(1, count + 1):
        # leave enough places for those that follow
        wanted, open_levels = total * i / (count + 1), free[: len(free) - (count - i)]
        least = min(abs(macs - wanted) for macs in open_levels)
        near = [macs for macs in open_levels if abs(macs - wanted) <= least + _NEARBY * total]
        taken = min(near, key=lambda macs: bundle.cuts[levels[macs]].bytes)
        chosen.append(levels[taken])
        free = [macs for macs in free if macs > taken]
    return tuple(chosen)


def _find(bundle: Bundle, text: str) -> int:
    names = [cut.after for cut in bundle.cuts]
    if text in names:
        return names.index(text)
    if text.startswith("…"):  # a long name as the table shortens it
        ends = [k for k, name in enumerate(names) if name and name.endswith(text[1:])]
        if len(ends) == 1:
            return ends[0]
    return resolve_cut(bundle, text)


def _check(bundle: Bundle, cut: int) -> None:
    good = good_cuts(bundle)
    if cut in good:
        return
    tensors = bundle.cuts[cut].tensors
    came = _unfit(tensors) or "a cut before which, or after which, no work is done"
    near = [*[k for k in good if k < cut][-_NAMED:], *[k for k in good if k > cut][:_NAMED]]
    names = [f"{k} (after {bundle.cuts[k].after})" for k in near]
    raise CutError(
        f"cut {cut} of '{bundle.name}' can carry no head",
        expected="a cut at which exactly one tensor of floating-point numbers is alive",
        came=came,
        fix=f"take one of the nearest good cuts: {', '.join(names)}" if near else "choose another model: it has none",
    )


def _unfit(tensors: Sequence[TensorSpec]) -> str | None:
    """Why a head cannot start from these; ``None``: it can."""
    if len(tensors) != 1:
        return f"{len(tensors)} tensors: {', '.join(f'{t.name} {t}' for t in tensors)}"
    tensor = tensors[0]
    if not tensor.dtype.startswith("float") or not 2 <= len(tensor.shape) <= 4 or tensor.shape[0] != 1:  # noqa: PLR2004
        return f"'{tensor.name}' {tensor}, which is no float[1, …] of two to four dimensions"
    return None
