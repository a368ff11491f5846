"""Lines that several hops share, such as a site's uplink: which hops cross them, and what they carry.

They are declared, or found (`found_lines`); what is declared of a hop is not looked for.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass

from tiercut.coordinator.site.found_lines import Found, LineFinder
from tiercut.errors import SettingsError
from tiercut.estimate.links import LinkSample
from tiercut.estimate.shared_line import SharedLineEstimator
from tiercut.names import NAME
from tiercut.plan import TIERS, node_id

#: From one tier to the next ones.
_WAYS = {("device", "edge"), ("edge", "cloud"), ("device", "cloud")}
_ARROW = "->"
#: Of a line that nobody has said anything about.
GUESS_MBPS = 20.0
#: A queue that stands on a line is to be gone after so long; it gets no more of the line than this part.
DRAIN_S, MOST_DRAINING = 0.5, 0.3


@dataclass(frozen=True, slots=True)
class Line:
    """A line as it was declared, or found.

    Attributes:
        name: Its name, for people.
        hops: From where to where: a tier for all its nodes, or a node's id such as ``edge/porch``.
        mbps: What it carries, until that is measured; ``None``: nobody has said.
    """

    name: str
    hops: tuple[tuple[str, str], ...]
    mbps: float | None = None

    def carries(self, sender: str, receiver: str) -> bool:
        """Whether a hop between two nodes, by their ids, crosses it."""
        return any(_is(sender, start) and _is(receiver, end) for start, end in self.hops)

    def is_in(self, other: Line) -> bool:
        """Whether another line has its hops, and maybe more."""
        return set(self.hops) <= set(other.hops)


def line_of(name: str, hops: Iterable[str], mbps: float | None) -> Line:
    """A line as settings have it.

    Args:
        name: Its name.
        hops: ``"edge -> cloud"`` each; ends are tiers, or ids of nodes.
        mbps: What it carries, if that is known.

    Raises:
        SettingsError: a hop is none.
    """
    return Line(name, tuple(_hop(name, each) for each in hops), mbps)


class LineEstimators:
    """What each line carries.

    Args:
        lines: Those that are declared.

    Attributes:
        lines: All that are known.
    """

    def __init__(self, lines: Iterable[Line] = ()) -> None:
        self._declared = tuple(lines)
        self.lines: tuple[Line, ...] = ()
        self._estimators: dict[str, SharedLineEstimator] = {}
        self._of_hop: dict[tuple[str, str], tuple[Line, ...]] = {}
        self._finder = LineFinder(lambda hop: any(line.carries(*hop) for line in self._declared))
        self._know(())

    def of(self, sender: str, receiver: str) -> tuple[Line, ...]:
        """The lines that a hop between two nodes, by their ids, crosses."""
        hop = sender, receiver
        if hop not in self._of_hop:
            self._of_hop[hop] = tuple(line for line in self.lines if line.carries(sender, receiver))
        return self._of_hop[hop]

    def observe(self, sender: str, receiver: str, sample: LinkSample) -> None:
        """A transfer between two nodes."""
        self._finder.observe((sender, receiver), sample)
        for line in self.of(sender, receiver):
            self._estimators[line.name].observe((sender, receiver), sample)

    def missed(self) -> None:
        """A frame has passed that nobody has read: it may have crossed any of them."""
        for estimator in self._estimators.values():
            estimator.missed()

    def mbps(self, line: Line, now_s: float) -> float:
        """What a line carries, as measured; else as declared, or a guess."""
        return self._estimators[line.name].mbps(now_s)

    def draining(self, now_s: float) -> dict[str, float]:
        """Part of its time that each line needs for a queue that stands on it, by its name."""
        waits = {line.name: self._estimators[line.name].standing_s(now_s) for line in self.lines}
        return {name: min(MOST_DRAINING, wait_s / DRAIN_S) for name, wait_s in waits.items() if wait_s > 0}

    def measured(self, sender: str, receiver: str, now_s: float) -> bool:
        """Whether a hop crosses lines, and frames have measured all of them of late."""
        lines = self.of(sender, receiver)
        return bool(lines) and all(self._estimators[line.name].measured(now_s) for line in lines)

    def latency_s(self, sender: str, receiver: str, now_s: float) -> float | None:
        """Delay of a hop that crosses lines, without waits for what else is on them; ``None`` where unknown."""
        known = (self._estimators[line.name].latency_s((sender, receiver), now_s) for line in self.of(sender, receiver))
        return min((each for each in known if each is not None), default=None)

    def look(self, now_s: float) -> list[str]:
        """Look for lines, every now and then; what was found or is no line any more, in sentences."""
        groups = self._finder.look(now_s)
        if groups is None:
            return []
        before = dict.fromkeys(self.found)
        self._know(self._named(groups))
        gone = [
            f"{_hops(line)} do not share a line any more" for line in before if not any(map(line.is_in, self.found))
        ]
        return [*gone, *(self.said(line, now_s) for line in self.found if line not in before)]

    @property
    def found(self) -> tuple[Line, ...]:
        """Lines that nobody has declared."""
        return self.lines[len(self._declared) :]

    def said(self, line: Line, now_s: float) -> str:
        """What people are told of a line that was found."""
        return (
            f"{_hops(line)} seem to share a line of {self.mbps(line, now_s):.2g} Mbit/s ('{line.name}'): declare it "
            "under 'lines' in the hub's settings to be sure"
        )

    def _named(self, groups: Iterable[Found]) -> Iterable[Line]:
        """Groups of hops as lines: one that has hops of a known line keeps its name."""
        names = [line.name for line in self._declared]
        known = {line.name: line for line in self.found}
        for group in groups:
            same = next((name for name, line in known.items() if not set(line.hops).isdisjoint(group.hops)), None)
            if same is None:
                taken = {*names, *known}
                same = next(name for k in itertools.count(1) if (name := f"shared-{k}") not in taken)
            line = known.pop(same, None)
            names.append(same)
            yield line if line is not None and line.hops == group.hops else Line(same, group.hops, group.mbps)

    def _know(self, found: Iterable[Line]) -> None:
        """These and those that are declared are the lines now; what is known of one that stays or grows is kept."""
        before, known = {line.name: line for line in self.lines}, self._estimators
        self.lines = (*self._declared, *found)
        self._of_hop.clear()
        self._estimators = {
            line.name: known[line.name]
            if line.name in before and before[line.name].is_in(line)
            else SharedLineEstimator(line.mbps or GUESS_MBPS)
            for line in self.lines
        }


def _hops(line: Line) -> str:
    return ", ".join(f"{start} {_ARROW} {end}" for start, end in line.hops)


def _is(node: str, pattern: str) -> bool:
    return node == pattern or node.partition("/")[0] == pattern


def _hop(name: str, text: str) -> tuple[str, str]:
    start, arrow, end = (part.strip() for part in text.partition(_ARROW))
    tiers = start.partition("/")[0], end.partition("/")[0]
    named = all(NAME.fullmatch(each.partition("/")[2]) for each in (start, end) if "/" in each)
    if not arrow or tiers not in _WAYS or not named:
        raise SettingsError(
            f"bad setting hops of line '{name}'",
            expected=f"'FROM {_ARROW} TO' with a tier ({', '.join(TIERS)}) or a node such as "
            f"{node_id('edge', 'porch')} at each end, towards the cloud",
            came=text[:80],
            fix="correct it",
        )
    return start, end
