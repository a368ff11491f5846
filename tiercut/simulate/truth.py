"""The planning problem as it truly is: at a moment for the oracle, on average for plans that never change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from tiercut.coordinator.variant_costs import chains_of
from tiercut.plan import FULL, Tier
from tiercut.planner.objectives import OBJECTIVES, Floats
from tiercut.planner.problem import RAW, Link, Node, Problem
from tiercut.profiling.profile import Profile, block_seconds, codec_rows, named_by_cut
from tiercut.simulate.curves import Curve
from tiercut.simulate.scenario import LinkTraces, Scenario
from tiercut.simulate.traces import Trace

#: A link that is down is omitted of a problem.
_MIN_MBPS = 1e-6
#: An almost empty message, 8 bytes: it shows what messages wait for a link that is down.
TINY_MB = 64e-6
#: A mean over all times is one over times this far apart.
EVERY_S = 0.05


class Truth:
    """Problems from a scenario's traces; built once, filled in per moment."""

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        site, goal = scenario.site, scenario.site.goal
        chains = chains_of(goal)
        names = [chain.name for chain in chains]
        nodes = {
            tier: tuple(
                Node(each.id, tier, _blocks(each.profile, names), power_watts=each.power_watts)
                for each in site.of_tier(tier)
            )
            for tier in ("device", "edge", "cloud")
        }
        (device,) = site.of_tier("device")
        drops = {} if goal.table is None else {row.codec: row.accuracy_drop for row in goal.table.rows}
        self._fixed = Problem(
            name=goal.model_name,
            variants=tuple(chain.variant() for chain in chains),
            device=nodes["device"][0],
            edges=nodes["edge"],
            clouds=nodes["cloud"],
            links={},
            codecs=(RAW, *map(named_by_cut, codec_rows(device.profile, accuracy_drop=drops))),
            objective=OBJECTIVES[goal.objective],
            min_first_cut=goal.min_first_cut,
            deadline_seconds=goal.deadline_s,
            max_accuracy_drop=goal.max_drop,
        )

    @property
    def free(self) -> Problem:
        """The problem with all links, and nothing on them: which plans there are."""
        links = dict.fromkeys(self._scenario.links, Link(0.0, 1.0))
        return replace(self._fixed, links=links)

    def mean(self) -> Problem:
        """The problem as it is on average over the scenario, for messages that set out at any time.

        What counts of a link is the mean time that messages take: the rate is the harmonic mean (seconds per bit), and
        what they wait in outages is delay.
        """
        scenario, until_s = self._scenario, self._scenario.duration_s
        slowdowns = {name: trace.mean(until_s) for name, trace in scenario.slowdowns.items()}
        size_mb = float(np.median(self._fixed.variants[0].cut_bytes)) * 8e-6
        links = {ends: self._mean_link(traces, size_mb) for ends, traces in scenario.links.items()}
        return self._problem(slowdowns, {}, links)

    def _mean_link(self, traces: LinkTraces, size_mb: float) -> tuple[float, float]:
        """Mbps and seconds of the straight line through the mean times of an empty message and one of a size."""
        until_s, most_s = self._scenario.duration_s, self._scenario.timeout_s
        waits_s, takes_s = (mean_seconds(traces.mbps, size, until_s, most_s) for size in (TINY_MB, size_mb))
        mbps = (size_mb - TINY_MB) / max(1e-9, takes_s - waits_s)
        return mbps, max(0.0, waits_s - TINY_MB / mbps) + traces.latency_seconds.mean(until_s)

    def now(self, now_s: float, queues: Mapping[str, float], backlogs: Mapping[tuple[str, str], float]) -> Problem:
        """The problem at a moment.

        Args:
            now_s: When.
            queues: Seconds that a frame would wait, by node.
            backlogs: The same by link.
        """
        scenario = self._scenario
        slowdowns = {name: trace.at(now_s) for name, trace in scenario.slowdowns.items()}
        links = {
            ends: (traces.mbps.at(now_s), traces.latency_seconds.at(now_s) + backlogs.get(ends, 0.0))
            for ends, traces in scenario.links.items()
        }
        return self._problem(slowdowns, queues, links)

    def _problem(
        self,
        slowdowns: Mapping[str, float],
        queues: Mapping[str, float],
        links: Mapping[tuple[str, str], tuple[float, float]],
    ) -> Problem:
        def now(node: Node) -> Node:
            return replace(node, slowdown=slowdowns[node.id], queue_seconds=queues.get(node.id, 0.0))

        there = {
            ends: Link(latency_s, mbps)
            for ends, (mbps, latency_s) in links.items()
            if mbps > _MIN_MBPS and latency_s < self._scenario.timeout_s
        }
        return replace(self._fixed.with_nodes(now), links=there)


def _blocks(profile: Profile, names: Sequence[str]) -> dict[str, Floats]:
    """Seconds of each block, by variant."""
    return {name: np.array(block_seconds(profile, name)) for name in names}


def mean_seconds(mbps: Trace, megabits: float, until_s: float, most_s: float) -> float:
    """What a message takes on a link with nothing else on it, mean over all times that it may set out.

    Args:
        mbps: The link's rate.
        megabits: Of the message.
        until_s: It sets out in ``[0, until_s)``.
        most_s: What takes longer counts as this.
    """
    starts_s = np.arange(EVERY_S / 2, until_s, EVERY_S)
    taken_s = Curve.of(mbps).until_sum(starts_s, megabits) - starts_s
    return float(np.minimum(taken_s, most_s).mean())


def one_server(problem: Problem, tier: Tier) -> Problem:
    """The problem with one cut, between the device and one kind of server: others relay at most."""
    if tier == "cloud":
        return replace(problem, edges=tuple(replace(edge, block_seconds={}) for edge in problem.edges))
    return problem.without({cloud.id for cloud in problem.clouds})


def regressed(problem: Problem) -> Problem:
    """The problem with blocks from a regression, without live load.

    Each node's blocks are those of the device times one factor, by least squares: what a regression of layer times
    that was fitted once (Edgent, IEEE TWC 2020) knows of a machine.
    """
    known = problem.device.block_seconds
    device = known[FULL]
    square = sum((device * device).tolist())

    def seen(node: Node) -> Node:
        factor = sum((node.block_seconds[FULL] * device).tolist()) / square if square else 0.0
        factor = 1.0 if node.tier == "device" else factor
        blocks = {name: factor * seconds for name, seconds in known.items()}
        return replace(node, block_seconds=blocks, slowdown=1.0, queue_seconds=0.0)

    return problem.with_nodes(seen)
