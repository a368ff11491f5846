"""What the coordinator knows of a site: its nodes, the hops between them, and what each result tells of them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import replace

from tiercut.coordinator.node_view import NodeKey, NodeView
from tiercut.coordinator.site.lines import Line, LineEstimators
from tiercut.coordinator.way import along, route
from tiercut.estimate.capture_clock import CaptureClock
from tiercut.estimate.links import LinkChange, LinkEstimate, LinkEstimator, LinkSample
from tiercut.plan import Plan, Tier, node_id
from tiercut.profiling.profile import Span
from tiercut.protocol.frames import Stage
from tiercut.protocol.nodes import Running, Transfer
from tiercut.protocol.results import Journey

#: What is expected of a hop that nothing has crossed yet: (Mbps, one-way seconds). LAN, an ordinary uplink, the same.
FIRST_GUESS: Mapping[tuple[Tier, Tier], tuple[float, float]] = {
    ("device", "edge"): (100.0, 0.002),
    ("edge", "cloud"): (20.0, 0.020),
    ("device", "cloud"): (20.0, 0.020),
}
#: What hops are compared by before their rates are known: a frame as JPEG.
TYPICAL_BYTES = 20_000
#: How long a change of plan waits for the measurement of hops that are only assumed to be as bad as another.
DOUBT_S = 0.2
#: This many slow probes in a row have not all waited for others: the quickest of them counts.
DOUBTFUL = 6
#: A probe that takes this much longer than expected may have waited for frames on a shared line.
PROBE_SLACK_S = 0.003
#: Changes that follow each other within this time count as one: nobody waits for each of them.
DOUBT_AGAIN_S = 5.0


class SiteView:
    """Nodes and hops, kept up to date by status, profiles and results.

    Args:
        lines: Lines that several hops share.

    Attributes:
        nodes: All that were heard of.
        links: Estimates of hops.
        lines: Estimates of lines that several hops share.
        uplink: The way to the cloud's broker is there; without it nobody knows of cloud nodes.
        crossed: The links that the last frame has crossed.
        suspects: What that frame said of nodes and links may be the beginning of a change.
    """

    def __init__(self, lines: Iterable[Line] = ()) -> None:
        self.uplink = True
        self.lines = LineEstimators(lines)
        self.nodes: dict[NodeKey, NodeView] = {}
        self.links: dict[tuple[NodeKey, NodeKey], LinkEstimator] = {}
        self.crossed: list[LinkEstimator] = []
        self.suspects = False
        #: device → its wall clock, as results tell
        self._clocks: dict[str, CaptureClock] = {}
        #: hop → probes in a row that took so long that they may have waited for others
        self._doubtful: dict[tuple[NodeKey, NodeKey], list[LinkSample]] = {}
        #: since when hops are doubted
        self._doubted_s = float("-inf")
        #: hops whose figures are assumed: since when, and what they were
        self._doubted: dict[tuple[NodeKey, NodeKey], tuple[float, LinkEstimate]] = {}

    def node(self, tier: Tier, name: str, *, site: str) -> NodeView:
        """The node, made known if it was not."""
        return self.nodes.setdefault((tier, name), NodeView(tier=tier, node=name, site=site))

    def is_there(self, key: NodeKey) -> bool:
        """Whether plans may use a node."""
        node = self.nodes.get(key)
        return node is not None and node.online and (self.uplink or key[0] != "cloud")

    def gone(self, plan: Plan) -> str | None:
        """Which node of a plan is not there, for people."""
        return next((f"{key[0]} '{key[1]}' is gone" for key in route(plan) if not self.is_there(key)), None)

    def online(self, tier: Tier, model: str) -> list[NodeView]:
        """Nodes of a tier that are online and have a profile of the model."""
        there = (node for key, node in sorted(self.nodes.items()) if key[0] == tier and self.is_there(key))
        return [node for node in there if model in node.profiles]

    def estimator(self, sender: NodeKey, receiver: NodeKey) -> LinkEstimator:
        """That of a hop, made if there was none."""
        found = self.links.get((sender, receiver))
        if found is None:
            found = self.links[sender, receiver] = _guess(sender[0], receiver[0])
        return found

    def link(self, sender: NodeView, receiver: NodeView, now_s: float) -> LinkEstimate:
        """The estimate of a hop; while nothing crossed it, that of a like one.

        Alike is another hop of the same sender, or any between the same tiers: a site's nodes share its uplink more
        often than not, and a guess would look better than what is known. Before anything large has crossed it, it
        is taken to be no quicker than the slowest known way to that tier. A declared line carries what it carries of
        all of its hops together.
        """
        found = self._hop(sender, receiver, now_s)
        shared = [self.lines.mbps(line, now_s) for line in self.lines.of(sender.id, receiver.id)]
        if not shared:
            return found
        latency_s = self.lines.latency_s(sender.id, receiver.id, now_s)
        least_s = found.latency_seconds if latency_s is None else min(latency_s, found.latency_seconds)
        return replace(found, mbps=min(shared), latency_seconds=least_s)

    def crosses_line(self, plan: Plan) -> bool:
        """Whether frames of a plan cross a line that is declared."""
        return bool(self.lines.lines) and any(
            self.lines.of(node_id(*start), node_id(*end)) for start, end in itertools.pairwise(route(plan))
        )

    def _hop(self, sender: NodeView, receiver: NodeView, now_s: float) -> LinkEstimate:
        own = self.estimator(sender.key, receiver.key)
        found = self._own_or_alike(sender, receiver, own, now_s)
        if not own.unrated:
            return found
        known = [
            estimator.estimate(now_s)
            for ends, estimator in self.links.items()
            if ends[1][0] == receiver.tier and not estimator.guessed
        ]
        return max([found, *known], key=lambda each: each.transfer_seconds(TYPICAL_BYTES))

    def _own_or_alike(self, sender: NodeView, receiver: NodeView, own: LinkEstimator, now_s: float) -> LinkEstimate:
        if not own.guessed:
            return own.estimate(now_s)
        alike = [
            (start != sender.key, start, to)
            for (start, to), estimator in self.links.items()
            if not estimator.guessed and _tiers(start, to) == (sender.tier, receiver.tier)
        ]
        if alike:
            _, start, to = min(alike)
            return self.links[start, to].estimate(now_s)
        return own.estimate(now_s)

    def result_came(self, journey: Journey, ran: Mapping[NodeKey, Span], now_s: float) -> list[str]:
        """Learn from a result's stage times; returns what changed abruptly, in words.

        Args:
            journey: The way of its frame.
            ran: What each node has run for it.
            now_s: When it came.
        """
        clock = self._clocks.setdefault(journey.plan.device, CaptureClock())
        ended_unix_s = journey.captured_unix_s + sum(stage.seconds for stage in journey.stages)
        ran = ran if journey.fallback is None else {}
        return self.went(journey.plan, journey.model, journey.stages, ran, clock.heard(ended_unix_s, now_s))

    def went(
        self, plan: Plan, model: str, stages: Iterable[Stage], ran: Mapping[NodeKey, Span], now_s: float
    ) -> list[str]:
        """Learn from the stages of a frame's way, however far it came, which ended at ``now_s``."""
        changes: list[str] = []
        self.crossed, self.suspects = [], False
        queue_s = 0.0
        way = list(along(plan, stages))
        left_s = sum(stage.seconds for *_, stage in way)
        for key, sender, stage in way:
            left_s -= stage.seconds
            if stage.kind == "queue":
                queue_s = stage.seconds
            elif stage.kind == "compute" and key in ran:
                changes += self._computed(key, model, ran[key], stage.seconds, queue_s, now_s)
            elif stage.kind == "wire" and sender is not None:
                changes += self._crossed(sender, key, _sample(stage, now_s, max(0.0, left_s)))
                link = self.links[sender, key]
                self.crossed.append(link)
                self.suspects |= link.suspects
        return changes

    def transferred(self, sender: NodeKey, transfer: Transfer, now_s: float) -> list[str]:
        """Learn from a probe, or from a frame that is late; returns what changed abruptly, in words."""
        receiver: NodeKey = (transfer.tier, transfer.node)
        if sender not in self.nodes or receiver not in self.nodes or (sender[0], receiver[0]) not in FIRST_GUESS:
            return []
        size, seconds = transfer.payload_bytes, transfer.seconds
        if not transfer.arrived:
            return self._stepped(sender, receiver, self.estimator(sender, receiver).waits(size, seconds, now_s), now_s)
        sample = LinkSample(at_s=now_s, payload_bytes=size, seconds=seconds, probe=True)
        self.lines.observe(node_id(*sender), node_id(*receiver), sample)
        ends = sender, receiver
        if self._has_waited(sender, receiver, size, seconds, now_s):
            doubtful = [*self._doubtful.get(ends, ()), sample]
            if len(doubtful) < DOUBTFUL:
                self._doubtful[ends] = doubtful
                return []
            sample = min(doubtful, key=lambda each: each.seconds / max(1, each.payload_bytes))  # all cannot have waited
        self._doubtful.pop(ends, None)
        return self._stepped(
            sender, receiver, self.estimator(sender, receiver).observe(replace(sample, at_s=now_s)), now_s
        )

    def runs_long(self, key: NodeKey, running: Running, now_s: float) -> list[str]:
        """Learn from a segment that a node has been running for long; returns what changed abruptly, in words."""
        node = self.nodes.get(key)
        profile = None if node is None else node.profiles.get(running.model)
        span = Span(running.start, running.stop, running.variant)
        if node is None or profile is None or not profile.has(span):
            return []
        change = node.load.runs(now_s, profile, span, seconds=running.seconds)
        return [f"{node.id}: {change}"] if change is not None and change.matters else []

    def _computed(  # noqa: PLR0917 - one stage of a frame
        self, key: NodeKey, model: str, ran: Span, seconds: float, queue_s: float, now_s: float
    ) -> list[str]:
        node = self.nodes.get(key)
        profile = None if node is None else node.profiles.get(model)
        if node is None or profile is None or ran.empty or not profile.has(ran):
            return []
        change = node.load.observe(now_s, profile, ran, seconds=seconds, queue_seconds=queue_s)
        self.suspects |= node.load.suspects
        return [f"{node.id}: {change}"] if change is not None and change.matters else []

    def _crossed(self, sender: NodeKey, receiver: NodeKey, sample: LinkSample) -> list[str]:
        self.lines.observe(node_id(*sender), node_id(*receiver), sample)
        return self._stepped(sender, receiver, self.estimator(sender, receiver).observe(sample), sample.at_s)

    def _stepped(self, sender: NodeKey, receiver: NodeKey, change: LinkChange | None, now_s: float) -> list[str]:
        """A hop has got worse: others of its sender, and others to that tier, may share what has.

        They are taken to be as bad until they are measured again, which is asked for at once.
        """
        if change is None or not change.matters or self.lines.of(node_id(*sender), node_id(*receiver)):
            return []  # of a shared line a single hop says little: the others' frames are on it
        if change.after.mbps < change.before.mbps:
            for ends in self._alike(sender, receiver):  # frames that cross it now say that it has not changed
                if self.links[ends].carries_frames(now_s):
                    continue
                was = self.links[ends].estimate(now_s)
                if self.links[ends].assume(change.after.line):
                    self._doubted[ends] = now_s, was
            if now_s - self._doubted_s > DOUBT_AGAIN_S:
                self._doubted_s = now_s
        return [f"{node_id(*sender)} → {node_id(*receiver)}: {change}"]

    def doubts(self, now_s: float) -> bool:
        """Whether hops are being measured again whose figures are only assumed; not for long."""
        return bool(self.before_doubts(now_s))

    def before_doubts(self, now_s: float) -> dict[tuple[NodeKey, NodeKey], LinkEstimate]:
        """What those hops were before."""
        for ends, (since_s, _) in list(self._doubted.items()):
            if self.links[ends].measured_since(since_s) or now_s - since_s > DOUBT_S:
                del self._doubted[ends]
        soon = now_s - self._doubted_s <= DOUBT_S
        return {ends: was for ends, (_, was) in self._doubted.items()} if soon else {}

    def _alike(self, sender: NodeKey, receiver: NodeKey) -> list[tuple[NodeKey, NodeKey]]:
        """Other hops that may share a line with this one: the sender's, or the way to that tier."""
        this = sender, receiver
        return [ends for ends in self.links if ends != this and (ends[0] == sender or ends[1][0] == receiver[0])]

    def stalls_s(self, sender: NodeKey, receiver: NodeKey, now_s: float) -> float:
        """What a frame waits on a hop on average because of stalls."""
        return self.estimator(sender, receiver).stalls.cost_s(now_s)

    def line_in_use(self, sender: NodeKey, receiver: NodeKey, now_s: float) -> bool:
        """Whether frames cross a hop that may share a line with this one."""
        return any(self.links[ends].carries_frames(now_s) for ends in self._alike(sender, receiver))

    def _has_waited(self, sender: NodeKey, receiver: NodeKey, size: int, seconds: float, now_s: float) -> bool:
        """Whether a probe took long because of frames on a line that its hop shares: it says nothing then."""
        own = self.estimator(sender, receiver)
        if own.guessed:
            return False
        expected_s = own.estimate(now_s).transfer_seconds(size)
        return self.line_in_use(sender, receiver, now_s) and seconds > expected_s + PROBE_SLACK_S


def _sample(stage: Stage, heard_s: float, later_s: float) -> LinkSample:
    """A frame's transfer, which ended so long before the frame's result was heard of."""
    return LinkSample(
        at_s=heard_s - later_s, payload_bytes=stage.payload_bytes, seconds=stage.seconds, heard_later_s=later_s
    )


def _tiers(sender: NodeKey, receiver: NodeKey) -> tuple[Tier, Tier]:
    return sender[0], receiver[0]


def _guess(sender: Tier, receiver: Tier) -> LinkEstimator:
    mbps, latency_s = FIRST_GUESS.get((sender, receiver), FIRST_GUESS["edge", "cloud"])
    return LinkEstimator(mbps=mbps, latency_seconds=latency_s, acknowledged=False)
