"""Lines that several hops share, such as a site's uplink: which hops cross them, and what they carry."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

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


@dataclass(frozen=True, slots=True)
class Line:
    """A line as it was declared.

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
        lines: The lines.
    """

    def __init__(self, lines: Iterable[Line] = ()) -> None:
        self.lines = tuple(lines)
        self._estimators = {line.name: SharedLineEstimator(line.mbps or GUESS_MBPS) for line in self.lines}
        self._of_hop: dict[tuple[str, str], tuple[Line, ...]] = {}

    def of(self, sender: str, receiver: str) -> tuple[Line, ...]:
        """The lines that a hop between two nodes, by their ids, crosses."""
        hop = sender, receiver
        if hop not in self._of_hop:
            self._of_hop[hop] = tuple(line for line in self.lines if line.carries(sender, receiver))
        return self._of_hop[hop]

    def observe(self, sender: str, receiver: str, sample: LinkSample) -> None:
        """A transfer between two nodes."""
        for line in self.of(sender, receiver):
            self._estimators[line.name].observe((sender, receiver), sample)

    def missed(self) -> None:
        """A frame has passed that nobody has read: it may have crossed any of them."""
        for estimator in self._estimators.values():
            estimator.missed()

    def mbps(self, line: Line, now_s: float) -> float:
        """What a line carries, as measured; else as declared, or a guess."""
        return self._estimators[line.name].mbps(now_s)

    def measured(self, sender: str, receiver: str, now_s: float) -> bool:
        """Whether a hop crosses lines, and frames have measured all of them of late."""
        lines = self.of(sender, receiver)
        return bool(lines) and all(self._estimators[line.name].measured(now_s) for line in lines)

    def latency_s(self, sender: str, receiver: str, now_s: float) -> float | None:
        """Delay of a hop that crosses lines, without waits for what else is on them; ``None`` where unknown."""
        known = (self._estimators[line.name].latency_s((sender, receiver), now_s) for line in self.of(sender, receiver))
        return min((each for each in known if each is not None), default=None)


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
