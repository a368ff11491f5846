"""The planning problem as it truly is: at a moment for the oracle, on average for plans that never change."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tiercut.coordinator.problem import FORMAT
from tiercut.plan import FULL
from tiercut.profiling.profile import block_seconds, codec_rows
from tiercut.simulate.scenario import Scenario
from tiercut.simulate.site import SimNode

#: A link that is down is left out of a problem.
_MIN_MBPS = 1e-6


class Truth:
    """Problems from a scenario's traces; built once, filled in per moment."""

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        goal = scenario.site.goal
        device = next(node for node in scenario.site.nodes if node.tier == "device")
        rows = [row | {"name": f"{row['name']}@{row['cuts'][0]}"} for row in codec_rows(device.profile)]
        self._fixed: dict[str, Any] = {
            "format": FORMAT,
            "model": {
                "name": goal.model_name,
                "variants": [{"name": FULL, "cut_bytes": list(device.profile.cut_bytes)}],
            },
            "codecs": rows,
            "objective": goal.objective,
            "constraints": {"min_first_cut": goal.min_first_cut},
        }
        self._blocks = {node.id: list(block_seconds(node.profile)) for node in scenario.site.nodes}

    def mean(self) -> dict[str, Any]:
        """The problem with every trace's mean over the scenario."""
        scenario, until_s = self._scenario, self._scenario.duration_s
        slowdowns = {name: trace.mean(until_s) for name, trace in scenario.slowdowns.items()}
        links = {
            ends: (traces.mbps.mean(until_s), traces.latency_seconds.mean(until_s))
            for ends, traces in scenario.links.items()
        }
        return self._problem(slowdowns, {}, links)

    def now(
        self, now_s: float, queues: Mapping[str, float], backlogs: Mapping[tuple[str, str], float]
    ) -> dict[str, Any]:
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
    ) -> dict[str, Any]:
        return self._fixed | {
            "nodes": [self._node(node, slowdowns, queues) for node in self._scenario.site.nodes],
            "links": [
                {"from": ends[0], "to": ends[1], "mbps": mbps, "latency_seconds": latency_s}
                for ends, (mbps, latency_s) in links.items()
                if mbps > _MIN_MBPS and latency_s < self._scenario.timeout_s
            ],
        }

    def _node(self, node: SimNode, slowdowns: Mapping[str, float], queues: Mapping[str, float]) -> dict[str, Any]:
        return {
            "id": node.id,
            "tier": node.tier,
            "block_seconds": {FULL: self._blocks[node.id]},
            "slowdown": slowdowns[node.id],
            "queue_seconds": queues.get(node.id, 0.0),
            "power_watts": node.power_watts,
        }


def one_server(problem: Mapping[str, Any], tier: str) -> dict[str, Any]:
    """The problem with one cut, between the device and one kind of server: others relay at most."""
    nodes = [
        node if node["tier"] in {"device", tier} else node | {"block_seconds": {}}
        for node in problem["nodes"]
        if node["tier"] in {"device", tier} or tier == "cloud"
    ]
    names = {node["id"] for node in nodes}
    links = [link for link in problem["links"] if {link["from"], link["to"]} <= names]
    return {**problem, "nodes": nodes, "links": links}


def regressed(problem: Mapping[str, Any]) -> dict[str, Any]:
    """The problem with blocks from a regression, without live load.

    Each node's blocks are those of the device times one factor, by least squares: what a regression of layer times
    that was fitted once (Edgent, IEEE TWC 2020) knows of a machine.
    """
    device = next(node for node in problem["nodes"] if node["tier"] == "device")["block_seconds"][FULL]
    square = sum(each * each for each in device)
    nodes = []
    for node in problem["nodes"]:
        own = node["block_seconds"][FULL]
        factor = sum(a * b for a, b in zip(own, device, strict=True)) / square if square else 0.0
        blocks = own if node["tier"] == "device" else [factor * each for each in device]
        nodes.append(node | {"block_seconds": {FULL: blocks}, "slowdown": 1.0, "queue_seconds": 0.0})
    return {**problem, "nodes": nodes}
