"""Changes back and forth between two plans: each that did not last makes the next one wait, ever longer."""

from __future__ import annotations

from dataclasses import dataclass, field

from tiercut.planner import Choice

#: A change must last this long to have paid: loading, and frames that come late meanwhile, cost about a second of it.
LASTS_S = 6.0
#: One that did not makes the next between the same plans wait so long at first, then twice as long, up to …
FIRST_S, MOST_S = 5.0, 300.0
#: Pairs of plans that are remembered, the latest.
KEPT = 32


@dataclass(frozen=True, slots=True)
class _Swap:
    at_s: float
    wait_s: float


@dataclass(slots=True)
class Swaps:
    """Those of one stream."""

    _known: dict[frozenset[Choice], _Swap] = field(default_factory=dict)

    def made(self, one: Choice, other: Choice, now_s: float) -> None:
        """The stream goes from one plan to another."""
        pair = frozenset((one, other))
        last = self._known.pop(pair, None)
        wait_s = 0.0
        if last is not None:
            lasted = now_s - last.at_s >= LASTS_S
            wait_s = last.wait_s / 2 if lasted else min(max(FIRST_S, 2 * last.wait_s), MOST_S)
        self._known[pair] = _Swap(now_s, wait_s)
        for oldest in list(self._known)[:-KEPT]:
            del self._known[oldest]

    def waits(self, one: Choice, other: Choice, now_s: float) -> bool:
        """Whether it is too early to go from one to the other for a gain."""
        last = self._known.get(frozenset((one, other)))
        return last is not None and now_s - last.at_s < last.wait_s
