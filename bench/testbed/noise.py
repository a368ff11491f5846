"""Steady noise on the uplink, or a steady one: does the plan stay, and when it does not, did it pay?"""

from __future__ import annotations

import asyncio
import random
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.testbed.candidates import plan_name
from bench.testbed.log import Figures, say
from bench.testbed.models import Prepared
from bench.testbed.net import Net
from bench.testbed.outcomes import account
from bench.testbed.site import HUB, Setup, running
from bench.testbed.steps import GRACE_S
from bench.testbed.watch import Planned, Seen

SETTLE_S = 15.0
#: How long a rate holds, s.
HOLDS_S = (0.5, 1.0)
SWING = 0.2
#: Frames before and after a change that say whether it paid.
COMPARED = 50


async def noise(
    net: Net, prepared: Prepared, setup: Setup, figures: Figures, *, mbps: float, lasts_s: float, swing: float = SWING
) -> None:
    """Let the uplink's rate wander about a rate, by that part of it at most, and watch the plan."""
    net.set_uplink(mbps)
    with tempfile.TemporaryDirectory(prefix="tiercut-testbed-") as folder:
        async with running(net, prepared, setup, Path(folder)) as bench:
            await bench.programs.start(HUB)
            wandering = asyncio.create_task(_wander(net, mbps, swing), name="noise")
            try:
                await asyncio.sleep(SETTLE_S)
                start_s = time.monotonic()
                await asyncio.sleep(lasts_s)
                end_s = time.monotonic()
            finally:
                wandering.cancel()
                await asyncio.gather(wandering, return_exceptions=True)
            await asyncio.sleep(GRACE_S)
            watch = bench.watch
            changes = [plan for plan in watch.plans if start_s <= plan.at_s <= end_s]
            steady = [seen.latency_ms for seen in watch.results if start_s <= seen.captured_s <= end_s]
            figures.add(
                "noise",
                {
                    "mbps": mbps,
                    "swing": swing,
                    "busy": setup.busy,
                    "seconds": lasts_s,
                    "settled_with": [plan_name(p.message.plan) for p in watch.plans if p.at_s < start_s],
                    "changes": [change(plan, watch.results) for plan in changes],
                    "median_ms": statistics.median(steady) if steady else None,
                    **account(watch.results, watch.dropped, until_s=end_s),
                },
            )
            say(f"noise of {swing:.0%} for {lasts_s:g} s: {len(changes)} changes of plan")


def change(plan: Planned, results: Sequence[Seen]) -> dict[str, Any]:
    """A change of plan and the medians before and after it."""
    before = [seen.latency_ms for seen in results if seen.at_s < plan.at_s][-COMPARED:]
    after = [seen.latency_ms for seen in results if seen.epoch == plan.epoch][:COMPARED]
    medians = [statistics.median(each) if each else None for each in (before, after)]
    paid = None not in medians and medians[1] < medians[0]  # type: ignore[operator]
    return {
        "plan": plan_name(plan.message.plan),
        "reason": plan.message.reason,
        "before_ms": medians[0],
        "after_ms": medians[1],
        "paid": paid,
    }


async def _wander(net: Net, mbps: float, swing: float) -> None:
    random_ = random.Random(1)
    while swing:
        net.set_uplink(mbps * random_.uniform(1 - swing, 1 + swing))
        await asyncio.sleep(random_.uniform(*HOLDS_S))
