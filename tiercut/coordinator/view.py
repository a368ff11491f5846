"""What the coordinator knows of a site: its nodes, the hops between them, and what each frame's result said of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tiercut.estimate.links import LinkEstimate, LinkEstimator, LinkSample
from tiercut.estimate.nodes import LoadEstimator
from tiercut.plan import Plan, Tier
from tiercut.profiles import Profile

#: What is expected of a hop that nothing has crossed yet: (Mbps, one-way seconds). LAN, an ordinary uplink, the same.
FIRST_GUESS: Mapping[tuple[Tier, Tier], tuple[float, float]] = {
    ("device", "edge"): (100.0, 0.002),
    ("edge", "cloud"): (20.0, 0.020),
    ("device", "cloud"): (20.0, 0.020),
}


@dataclass(slots=True)
class NodeView:
    """One node as the coordinator sees it.

    Attributes:
        tier: Its tier.
        node: Its id.
        site: Site of its topics.
        online: Its last word.
        profiles: Model identity → profile.
        load: Live correction of the profiles.
        power_watts: Drawn while computing.
        reaches_cloud: It can send to cloud nodes itself.
    """

    tier: Tier
    node: str
    site: str
    online: bool = True
    profiles: dict[str, Profile] = field(default_factory=dict)
    load: LoadEstimator = field(default_factory=LoadEstimator)
    power_watts: float = 0.0
    reaches_cloud: bool = True


class SiteView:
    """Nodes and hops, kept up to date by status, profiles and results."""

    def __init__(self) -> None:
        self.nodes: dict[tuple[Tier, str], NodeView] = {}
        self.links: dict[tuple[str, str], LinkEstimator] = {}

    def node(self, tier: Tier, name: str, *, site: str) -> NodeView:
        """The node, made known if it was not."""
        return self.nodes.setdefault((tier, name), NodeView(tier=tier, node=name, site=site))

    def online(self, tier: Tier, model: str) -> list[NodeView]:
        """Nodes of a tier that are there and have a profile of the model."""
        return [n for (t, _), n in sorted(self.nodes.items()) if t == tier and n.online and model in n.profiles]

    def link(self, sender: NodeView, receiver: NodeView, now_s: float) -> LinkEstimate:
        """The estimate of a hop; while nothing crossed it, that of a like one.

        Alike is another hop of the same sender, or any between the same tiers: a site's nodes share its uplink more
        often than not, and a guess would look better than what is known.
        """
        own = self.links.get((sender.node, receiver.node))
        if own is not None:
            return own.estimate(now_s)
        alike = [
            (start != sender.node, start, to)
            for start, to in self.links
            if (sender.tier, start) in self.nodes and (receiver.tier, to) in self.nodes
        ]
        if alike:
            _, start, to = min(alike)
            return self.links[start, to].estimate(now_s)
        return _guess(sender.tier, receiver.tier).estimate(now_s)

    def result_came(self, result: Mapping[str, Any], model_end: int, now_s: float) -> list[str]:
        """Learn from a result's stage times; returns what changed abruptly, in words.

        Args:
            result: The JSON of a result.
            model_end: Last cut of its model.
            now_s: When it came.
        """
        plan = plan_of(result)
        segments: dict[str, tuple[int, int]] = {plan.device: (0, plan.segment_end("device", model_end))}
        senders: dict[str, str] = {}
        for start, to in plan.hops:
            name, sender = plan.node(to), plan.node(start)
            if name is not None and sender is not None:
                senders[name] = sender
                segments[name] = (plan.segment_end(start, model_end), plan.segment_end(to, model_end))
        changes: list[str] = []
        queue_s = 0.0
        for stage in result["stages"]:
            where, kind, seconds = str(stage["where"]), stage["kind"], float(stage["ms"]) / 1e3
            if kind == "queue":
                queue_s = seconds
            elif kind == "compute" and result.get("fallback") is None and where in segments:
                changes += self._computed(
                    where, str(result["model"]["sha256"]), segments[where], seconds, queue_s, now_s
                )
            elif kind == "wire" and where in senders:
                changes += self._crossed(senders[where], where, int(stage.get("bytes", 0)), seconds, now_s)
        return changes

    def _computed(  # noqa: PLR0917 - one stage of a frame
        self, where: str, model: str, segment: tuple[int, int], seconds: float, queue_s: float, now_s: float
    ) -> list[str]:
        node = next((n for (_, name), n in self.nodes.items() if name == where), None)
        profile = None if node is None else node.profiles.get(model)
        if node is None or profile is None or segment[0] == segment[1]:
            return []
        change = node.load.observe(now_s, profile, *segment, seconds=seconds, queue_seconds=queue_s)
        return [] if change is None else [f"{where}: {change}"]

    def _crossed(self, sender: str, receiver: str, size: int, seconds: float, now_s: float) -> list[str]:
        estimator = self.links.get((sender, receiver))
        if estimator is None:
            tiers = {name: tier for tier, name in self.nodes}
            guess = _guess(tiers.get(sender, "edge"), tiers.get(receiver, "cloud"))
            estimator = self.links.setdefault((sender, receiver), guess)
        change = estimator.observe(LinkSample(at_s=now_s, payload_bytes=size, seconds=seconds))
        return [] if change is None else [f"{sender} → {receiver}: {change}"]


def plan_of(result: Mapping[str, Any]) -> Plan:
    """The plan that a result's frame has followed."""
    said = result["plan"]
    return Plan(
        epoch=said["epoch"],
        first_cut=said["first_cut"],
        second_cut=said["second_cut"],
        exit=said["exit"],
        device=said["device"],
        edge=said["edge"],
        cloud=said["cloud"],
        codecs=tuple(said["codecs"]),
    )


def _guess(sender: Tier, receiver: Tier) -> LinkEstimator:
    mbps, latency_s = FIRST_GUESS.get((sender, receiver), FIRST_GUESS["edge", "cloud"])
    return LinkEstimator(mbps=mbps, latency_seconds=latency_s, acknowledged=False)
