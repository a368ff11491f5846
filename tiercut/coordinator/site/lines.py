"""Lines that several hops share, such as a site's uplink: which hops cross them, and what they carry."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from tiercut.errors import SettingsError
from tiercut.estimate.links import LinkEstimator, LinkSample
from tiercut.names import NAME
from tiercut.plan import TIERS, node_id

#: From one tier to the next ones.
_WAYS = {("device", "edge"), ("edge", "cloud"), ("device", "cloud")}
_ARROW = "->"
#: Of a line that nobody has said anything about.
GUESS_MBPS = 20.0
#: The last seconds, and the fewest and most transfers in them that say what a busy line carries; for how long that is
#: remembered; and from which part of that time on the line was busy.
WITHIN_S, FEWEST, MOST = 3.0, 8, 256
KNOWN_S = 10.0
BUSY = 0.3
#: Messages that say hardly more than the line's delay, and how many of them are remembered.
SMALL_BYTES, SMALLS = 1000, 16


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
    """What each line carries, from the transfers of all its hops.

    While a line is busy, that is the bytes of all transfers of late by the time in which any of them was under way:
    whether they take turns or share it, it is busy with their sum. Else each transfer has the line to itself, and
    counts as one of a hop.

    Args:
        lines: The lines.
    """

    def __init__(self, lines: Iterable[Line] = ()) -> None:
        self.lines = tuple(lines)
        self._alone = {
            line.name: LinkEstimator(mbps=line.mbps or GUESS_MBPS, latency_seconds=0.02, acknowledged=False)
            for line in self.lines
        }
        self._busy = {line.name: _Busy() for line in self.lines}
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
            if self._busy[line.name].took(sample) or sample.probe:
                self._alone[line.name].observe(sample)

    def mbps(self, line: Line, now_s: float) -> float:
        """What a line carries, as measured while busy, or by transfers alone on it; else as declared, or a guess."""
        return self._busy[line.name].mbps(now_s) or self._alone[line.name].estimate(now_s).mbps


class _Busy:
    """The transfers of one line in the last seconds."""

    def __init__(self) -> None:
        #: from when to when, and bytes; the last ended last
        self._transfers: deque[tuple[float, float, int]] = deque(maxlen=MOST)
        #: what the last small messages took: the least of it is the line's delay, for which it is not busy
        self._small_s: deque[float] = deque(maxlen=SMALLS)
        #: the last rate, and when it was measured
        self._known: tuple[float, float] = (0.0, -math.inf)

    def took(self, sample: LinkSample) -> bool:
        """A transfer has ended; whether it had the line to itself.

        A hop's estimated delay is no help here: the wait for other hops' frames is in it.
        """
        if sample.payload_bytes <= SMALL_BYTES:
            self._small_s.append(sample.seconds)
        began_s = sample.at_s - max(sample.seconds - min(self._small_s, default=0.0), 0.0)
        alone = all(ended_s <= began_s or sample.at_s <= other_s for other_s, ended_s, _ in self._transfers)
        self._transfers.append((began_s, sample.at_s, sample.payload_bytes))
        return alone

    def mbps(self, now_s: float) -> float | None:
        """Bytes by busy time; for a while, what was last known, where the line has been idle since."""
        found = self._now(now_s)
        if found is not None:
            self._known = found, now_s
        known_mbps, since_s = self._known
        return known_mbps if now_s - since_s < KNOWN_S else None

    def _now(self, now_s: float) -> float | None:
        """``None`` where too few transfers came, or the line was idle for most of the time."""
        late = sorted(each for each in self._transfers if each[1] > now_s - WITHIN_S)
        if len(late) < FEWEST:
            return None
        busy_s, until_s = 0.0, -math.inf
        for began_s, ended_s, _ in late:
            busy_s += max(0.0, ended_s - max(began_s, until_s))
            until_s = max(until_s, ended_s)
        if busy_s < BUSY * (until_s - late[0][0]):
            return None
        return sum(size for _, _, size in late) * 8e-6 / max(busy_s, 1e-6)


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
