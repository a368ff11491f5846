"""Lines that several hops share, such as a site's uplink: which hops cross them, and what they carry."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tiercut.errors import SettingsError
from tiercut.estimate.links import LinkEstimator, LinkSample
from tiercut.names import NAME
from tiercut.plan import TIERS, node_id

#: From one tier to the next ones.
_WAYS = {("device", "edge"), ("edge", "cloud"), ("device", "cloud")}
_ARROW = "->"


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
    """What each line carries, from the transfers of all its hops: they wait for each other as those of one hop do.

    Args:
        lines: The lines.
    """

    def __init__(self, lines: Iterable[Line] = ()) -> None:
        self.lines = tuple(lines)
        self._estimators = {
            line.name: LinkEstimator(mbps=line.mbps or 20.0, latency_seconds=0.02, acknowledged=False)
            for line in self.lines
        }

    def observe(self, sender: str, receiver: str, sample: LinkSample) -> None:
        """A transfer between two nodes, by their ids."""
        for line in self.lines:
            if line.carries(sender, receiver):
                self._estimators[line.name].observe(sample)

    def mbps(self, line: Line, now_s: float) -> float:
        """What a line carries: as measured, else as declared, else a guess."""
        return self._estimators[line.name].estimate(now_s).mbps


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
