"""The bench in the hub's place: it publishes one plan after another and takes their frames' latencies."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

from msgspec import structs

from bench.testbed.candidates import Candidate
from bench.testbed.site import NODES, SITE, STREAM, Bench
from bench.testbed.watch import Seen
from tiercut.bus import Message
from tiercut.declared import encode_json
from tiercut.errors import BusError
from tiercut.plan import TIERS, Plan
from tiercut.protocol.nodes import PrepareSegment, StreamPlan
from tiercut.protocol.topics import PLAN, PREPARE

LOAD_S = 20.0
#: How long frames may take before a plan is given up.
FRAME_S = 20.0
#: A plan predicted to take this many times as long as the best is no contender and gets one round.
NO_CONTENDER = 1.6


@dataclass(slots=True)
class Measured:
    """A plan and its frames.

    Attributes:
        candidate: The plan.
        results: Its frames, without the first of each round.
    """

    candidate: Candidate
    results: list[Seen] = field(default_factory=list)

    @property
    def median_ms(self) -> float:
        """Median latency; infinite where no frame came."""
        return statistics.median([seen.latency_ms for seen in self.results]) if self.results else float("inf")


class Hand:
    """Publishes plans as a hub does: segments are loaded first, then the plan is published with the next epoch."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        #: far from those of a hub that starts afresh
        self._epoch = 1_000_000

    async def adopt(self, plan: Plan) -> int:
        """Have a plan followed; returns its epoch.

        Raises:
            BusError: a node does not load its segment.
        """
        bench, watch = self._bench, self._bench.watch
        self._epoch += 1
        plan = structs.replace(plan, epoch=self._epoch)
        bundle = bench.prepared.bundle
        asked: set[str] = set()
        start = 0
        for tier in TIERS:
            node = plan.node(tier)
            if node is None:
                continue
            stop = plan.segment_end(tier, bundle.end)
            message = PrepareSegment(
                site=SITE, stream=STREAM, epoch=plan.epoch, model=bundle.model, start=start, stop=stop
            )
            home, site = (bench.uplink, "cloud") if tier == "cloud" else (bench.home, SITE)
            await home.publish(Message(PREPARE.of(site=site, tier=tier, node=NODES[tier]), encode_json(message)))
            asked.add(node)
            start = stop
        keys = {(node, plan.epoch) for node in asked}
        loaded = await watch.until(lambda: keys <= set(watch.ready), timeout_s=LOAD_S)
        answers = [watch.ready[key][0] for key in keys if key in watch.ready]
        if not loaded or not all(answer.ok for answer in answers):
            raise BusError(
                "a node does not load its segment",
                expected=f"{sorted(asked)} ready within {LOAD_S:.0f} s",
                came="; ".join(f"{a.node}: {a.message or 'ready'}" for a in answers) or "nothing",
                fix=f"see the nodes' logs:\n{bench.programs.tails()}",
            )
        said = StreamPlan(
            stream=STREAM, model=bundle.model, model_name=bundle.name, plan=plan, reason="measured one by one"
        )
        await bench.home.publish(Message(PLAN.of(site=SITE, stream=STREAM), encode_json(said), retain=True))
        return plan.epoch

    async def frames(self, plan: Plan, count: int, *, skip: int) -> list[Seen]:
        """Results of a plan, without the first ``skip``; fewer where they do not come."""
        watch = self._bench.watch
        start = len(watch.results)
        epoch = await self.adopt(plan)
        wanted = skip + count
        await watch.until(lambda: len(watch.since(start, epoch=epoch)) >= wanted, timeout_s=FRAME_S + 2.0 * wanted)
        return watch.since(start, epoch=epoch)[skip:]

    async def in_turns(self, plans: Sequence[Candidate], *, rounds: int, each: int) -> list[Measured]:
        """Measure plans in turns, so that a machine that drifts does so for all; contenders get all the rounds."""
        measured = [Measured(plan) for plan in plans]
        limit_s = NO_CONTENDER * min((plan.predicted_s for plan in plans), default=0.0)
        for number in range(rounds):
            for one in measured:
                if number and one.candidate.predicted_s > limit_s:
                    continue
                one.results += await self.frames(one.candidate.plan, each, skip=1 if number else 2)
        return measured
