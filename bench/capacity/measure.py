"""What a strategy gives on a running site: results within the deadline, by stream, while the site is steady."""

from __future__ import annotations

import asyncio
import math
import statistics
import time
from collections import Counter
from dataclasses import dataclass

from bench.capacity.site import BY_HUB, FullSite

#: A site is steady when no plan has been published for so long; it is measured in any case after the longest wait.
STEADY_S, LONGEST_S = 6.0, 45.0
FIRST_S = 8.0


@dataclass(frozen=True, slots=True)
class Measured:
    """What came of a strategy.

    Attributes:
        strategy: Its name.
        total: Results per second within the deadline, of all streams.
        least: The same of the stream with least.
        late: Part of the results that were later.
        p50_ms: Latency.
        p95_ms: Latency.
        changes: Plans that were published while it was measured.
        settled_s: How long it took until the site was steady.
        said: The hub's sentence about the site's capacity.
        found: After how many seconds hops were said to share a line that nobody has declared, and which.
    """

    strategy: str
    total: float
    least: float
    late: float
    p50_ms: float
    p95_ms: float
    changes: int
    settled_s: float
    said: str = ""
    found: tuple[tuple[float, str], ...] = ()


async def measure(site: FullSite, strategy: str, *, seconds: float) -> Measured:
    """Follow a strategy until the site is steady, then count for some seconds."""
    async with site.follow(strategy):
        started_s = time.monotonic()
        await asyncio.sleep(FIRST_S)
        if strategy in BY_HUB:
            while True:
                last_s = max((at_s for at_s, _ in site.heard.plans), default=started_s)
                now_s = time.monotonic()
                if now_s - last_s >= STEADY_S or now_s - started_s > LONGEST_S:
                    break
                await asyncio.sleep(0.25)
        settled_s = time.monotonic() - started_s
        first, plans = len(site.heard.results), len(site.heard.plans)
        begin_s = time.monotonic()
        await asyncio.sleep(seconds)
        counted = _counted(site, first, time.monotonic() - begin_s)
        found = tuple((at_s - started_s, hops) for at_s, hops in site.heard.found)
        said = "" if site.heard.capacity is None else site.heard.capacity.message
        changes = len(site.heard.plans) - plans
        return Measured(strategy=strategy, changes=changes, settled_s=settled_s, said=said, found=found, **counted)


def _counted(site: FullSite, first: int, seconds: float) -> dict[str, float]:
    """The figures of the results from a place on."""
    declared, results = site.declared, site.heard.results[first:]
    good = [each for each in results if each.latency_ms <= declared.deadline_ms]
    by_stream = Counter({f"cam{index}": 0 for index in range(declared.cameras)})
    by_stream.update(each.stream for each in good)
    latencies = sorted(each.latency_ms for each in results) or [math.inf]
    return {
        "total": len(good) / seconds,
        "least": min(by_stream.values()) / seconds,
        "late": 1 - len(good) / max(1, len(results)),
        "p50_ms": statistics.median(latencies),
        "p95_ms": latencies[int(0.95 * (len(latencies) - 1))],
    }
