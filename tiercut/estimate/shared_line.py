"""What a line carries that several hops share, from the transfers of all of them.

Messages that are under way at the same time wait for each other: from the end of one to the end of the next the line
was busy with that one alone, so bytes by time give its rate, whatever each of them took by itself. Two things are left
out. The first bytes after a pause pass at once where a line has a token bucket, as shapers of access lines do
(RFC 2697), and say nothing of its rate. And a message that met no other says little: what it took is its delay as much
as its bytes, and with a bucket hardly anything.

So a rate is measured while the line is used well, and remembered while it is not. What is remembered grows slowly, up
to what single transfers say: it may have become better meanwhile, and frames that wait for each other tell soon if it
has not.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, replace

from tiercut.estimate.links import LinkEstimator, LinkSample

#: A rate rests on so much busy time, made up of so many messages at least, and on nothing that is older than this.
ENOUGH_S, FEWEST, WITHIN_S = 0.5, 8, 5.0
#: This part of them does not count at either end: behind a message that nobody told of one seems slow.
ODD = 0.15
#: Transfers that are remembered.
MOST = 256
#: As many bytes after a pause may pass at once.
BURST_BYTES = 8_000
#: Clocks and programs are no better than that: a shorter pause is none.
NO_PAUSE_S = 0.001
#: Messages up to this size are sent at once, and pass one after the other; larger ones take turns with others. It is
#: what TCP sends before the first acknowledgement (RFC 6928).
AT_ONCE_BYTES = 14_600
#: A rate that was measured is as good as new for so long; then it grows by this factor in each `GROWTH_S`.
NEW_S, GROWTH, GROWTH_S = 3.0, 1.1, 5.0
#: A queue stands where all messages of so many seconds have waited.
STANDING_S = 1.5
#: For so long nothing else need be asked.
KNOWN_S = 20.0
#: A hop's delay is the least that its small messages needed in so many seconds, and as many before.
DELAY_S = 30.0
#: Until a hop has been seen for so long all of its messages may have waited: the least delay of all hops counts.
TRUSTED_S = 10.0
#: A message this small says hardly more than the delay.
SMALL_BYTES = 1000
#: Looked at again after this.
EVERY_S = 0.1


@dataclass(frozen=True, slots=True)
class _Transfer:
    """From when to when a message was under way, without the delay of its hop.

    Attributes:
        began_s: From when.
        ended_s: To when.
        bytes: Its size.
        unbroken: How often transfers had been missed before: between two with the same figure all were heard of.
    """

    began_s: float
    ended_s: float
    bytes: int
    unbroken: int


class SharedLineEstimator:
    """What one line carries.

    Args:
        mbps: What it is said or guessed to carry, until that is measured.
    """

    def __init__(self, mbps: float) -> None:
        self._transfers: deque[_Transfer] = deque(maxlen=MOST)
        self._missed = 0
        #: from transfers that had the line to themselves
        self._alone = LinkEstimator(mbps=mbps, latency_seconds=0.02, acknowledged=False)
        self._delays: dict[tuple[str, str], _Delay] = {}
        #: the last rate, and when it was measured
        self._measured: tuple[float, float] | None = None
        self._looked_s = -math.inf
        self._mbps = mbps

    def observe(self, hop: tuple[str, str], sample: LinkSample) -> None:
        """A transfer over a hop has ended."""
        if sample.payload_bytes <= SMALL_BYTES:
            self._delays.setdefault(hop, _Delay()).least(sample.seconds, sample.at_s)
        least_s = min((each.last_s for each in self._delays.values()), default=0.0)
        own = self._delays.get(hop)
        delay_s = own.last_s if own is not None and sample.at_s - own.first_s >= TRUSTED_S else least_s
        on_line_s = max(0.0, sample.seconds - delay_s)
        transfer = _Transfer(sample.at_s - on_line_s, sample.at_s, sample.payload_bytes, self._missed)
        alone = all(other.ended_s <= transfer.began_s or transfer.ended_s <= other.began_s for other in self._transfers)
        self._transfers.append(transfer)
        if alone or sample.probe:
            self._alone.observe(replace(sample, seconds=on_line_s + min(least_s, sample.seconds)))  # as of one hop

    def missed(self) -> None:
        """A transfer may have ended that nobody tells of: those before and after it do not follow each other."""
        if self._transfers and self._transfers[-1].unbroken == self._missed:
            self._missed += 1

    def mbps(self, now_s: float) -> float:
        """What it carries, as measured while it was used well; else by single transfers, or as it was said."""
        if now_s - self._looked_s >= EVERY_S:
            self._looked_s = now_s
            found = self._now(now_s)
            if found is not None:
                self._measured = found
            self._mbps = self._remembered(now_s)
        return self._mbps

    def standing_s(self, now_s: float) -> float:
        """What every message of late has waited at least: a queue that does not go away by itself."""
        if self._measured is None:
            return 0.0
        late = [each for each in self._transfers if now_s - each.ended_s < STANDING_S]
        waits = [each.ended_s - each.began_s - each.bytes * 8e-6 / self._measured[0] for each in late]
        return max(0.0, min(waits)) if len(waits) >= FEWEST else 0.0

    def measured(self, now_s: float) -> bool:
        """Whether frames that waited for others say what it carries, and did so lately."""
        self.mbps(now_s)
        return self._measured is not None and now_s - self._measured[1] < KNOWN_S

    def latency_s(self, hop: tuple[str, str], now_s: float) -> float | None:
        """A hop's delay: what small messages need besides waits; ``None``: none was seen."""
        delay = self._delays.get(hop)
        return None if delay is None else delay.seconds(now_s)

    def _remembered(self, now_s: float) -> float:
        if self._measured is None:
            return self._alone.estimate(now_s).mbps
        mbps, at_s = self._measured
        old_s = now_s - at_s - NEW_S
        if old_s <= 0:
            return mbps
        return min(self._alone.estimate(now_s).mbps, mbps * math.pow(GROWTH, old_s / GROWTH_S))

    def _now(self, now_s: float) -> tuple[float, float] | None:
        """Bytes by time of the last messages that waited for others, and when; ``None`` where there are too few."""
        waited = sorted(_waited([each for each in self._transfers if each.ended_s > now_s - WITHIN_S]), reverse=True)
        busy_s, count = 0.0, 0
        for _, _, seconds in waited:
            if busy_s >= ENOUGH_S and count >= FEWEST:
                break
            busy_s, count = busy_s + seconds, count + 1
        if busy_s < ENOUGH_S or count < FEWEST:
            return None
        by_pace = sorted(waited[:count], key=lambda each: each[2] / max(each[1], 1.0))
        odd = int(ODD * count)
        usual = by_pace[odd : count - odd]
        usual_s = sum(seconds for _, _, seconds in usual)
        return sum(size for _, size, _ in usual) * 8e-6 / max(usual_s, 1e-6), waited[0][0]


class _Delay:
    """The least of what small messages of one hop needed: waits come and go, the delay stays."""

    def __init__(self) -> None:
        self._before_s = self._least_s = math.inf
        self._since_s = -math.inf
        #: when the first message came
        self.first_s = math.inf

    def least(self, seconds: float, now_s: float) -> None:
        """Take that of one message."""
        self.first_s = min(self.first_s, now_s)
        if now_s - self._since_s >= DELAY_S:
            self._before_s = self._least_s if now_s - self._since_s < 2 * DELAY_S else math.inf
            self._least_s, self._since_s = math.inf, now_s
        self._least_s = min(self._least_s, max(0.0, seconds))

    @property
    def last_s(self) -> float:
        """What it is, however old that is."""
        return min(self._before_s, self._least_s)

    def seconds(self, now_s: float) -> float | None:
        """What it is; ``None`` where nothing has come for long."""
        return None if now_s - self._since_s >= 3 * DELAY_S else self.last_s


def _waited(transfers: list[_Transfer]) -> list[tuple[float, float, float]]:
    """(When it ended, bytes, seconds of the line) of each message that followed others without a pause."""
    found = []
    for period in _periods(transfers):
        sent, until_s = 0, math.inf
        full_s = math.inf
        for each in sorted(period, key=lambda each: each.ended_s):
            if sent >= BURST_BYTES:
                full_s = min(full_s, until_s)
                waiting = each.bytes <= AT_ONCE_BYTES or each.began_s >= full_s
                part = 1.0 if waiting else (each.ended_s - full_s) / (each.ended_s - each.began_s)
                found.append((each.ended_s, part * each.bytes, each.ended_s - until_s))
            sent, until_s = sent + each.bytes, each.ended_s
    return found


def _periods(transfers: list[_Transfer]) -> list[list[_Transfer]]:
    """Transfers in groups: those of one followed each other without a pause."""
    periods: list[list[_Transfer]] = []
    until_s, unbroken = -math.inf, -1
    for each in sorted(transfers, key=lambda each: (each.unbroken, each.began_s)):
        if each.unbroken != unbroken or each.began_s >= until_s + NO_PAUSE_S:
            periods.append([])
            until_s, unbroken = -math.inf, each.unbroken
        periods[-1].append(each)
        until_s = max(until_s, each.ended_s)
    return periods
