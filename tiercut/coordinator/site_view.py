"""What the coordinator knows of a site: its nodes, the hops between them, and what each result tells of them."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from msgspec import UNSET

from tiercut import __version__
from tiercut.coordinator.site.lines import Line, LineEstimators
from tiercut.estimate.capture_clock import CaptureClock
from tiercut.estimate.links import LinkChange, LinkEstimate, LinkEstimator, LinkSample
from tiercut.estimate.nodes import LoadEstimator
from tiercut.plan import Plan, Tier, node_id
from tiercut.profiling.profile import Profile, Span
from tiercut.protocol.frames import Stage
from tiercut.protocol.nodes import NodeStatus, Running, Transfer
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
#: A status from further in the future than this is a warning.
AHEAD_S = 10.0
#: Programs that are kept in mind per name, to tell a restart from two nodes with one name.
_INSTANCES = 4
#: Two nodes with one name stay a warning for this long after the last sign of them.
_TWICE_S = 60.0

#: A program that takes this much more than its models may is a warning: frames on their way take some too.
MEMORY_SLACK = 1.25

#: A node: names are unique within a tier only.
NodeKey = tuple[Tier, str]


@dataclass(slots=True)
class NodeView:
    """One node as the coordinator sees it.

    Attributes:
        tier: Its tier.
        node: Its name.
        site: Site of its topics.
        online: Its last word.
        models: Identities of the models it has, by name.
        profiles: Model identity → profile.
        load: Live correction of the profiles.
        busy: Part of its threads' time that was used lately, as it says.
        waiting: Frames that wait there, as it says.
        power_watts: Drawn while computing.
        reaches_cloud: It can send to cloud nodes itself.
        gateway: It is a device inside an edge.
        mixes: It follows several plans of one stream at once, and keeps to a rate; one of an older version does not.
        memory_mb: What models may take there; ``None`` without a limit.
        warnings: What is odd about it, by kind, for people.
    """

    tier: Tier
    node: str
    site: str
    online: bool = True
    models: Mapping[str, str] = field(default_factory=dict)
    profiles: dict[str, Profile] = field(default_factory=dict)
    load: LoadEstimator = field(default_factory=LoadEstimator)
    busy: float = 0.0
    waiting: float = 0.0
    power_watts: float = 0.0
    reaches_cloud: bool = True
    gateway: bool = False
    mixes: bool = True
    memory_mb: float | None = None
    warnings: dict[str, str] = field(default_factory=dict)
    _instances: deque[str] = field(default_factory=lambda: deque(maxlen=_INSTANCES))
    _twice_until_s: float = float("-inf")

    @property
    def key(self) -> NodeKey:
        """Tier and name."""
        return self.tier, self.node

    @property
    def id(self) -> str:
        """The same as one text: its id in planning problems."""
        return node_id(self.tier, self.node)

    def heard(self, status: NodeStatus, now_s: float, unix_s: float) -> None:
        """Its status; what is odd about it becomes a warning.

        Args:
            status: What it said.
            now_s: When, on the hub's monotonic clock.
            unix_s: When, on the hub's wall clock.
        """
        self.online = status.state == "online"
        if not self.online:
            return
        self.models = status.models
        self.power_watts = status.power_watts
        self.reaches_cloud, self.gateway = status.reaches_cloud, status.gateway
        self._check_mixes(follows=status.mixes or self.tier != "device")
        self.busy, self.waiting = status.load.get("busy", 0.0), status.load.get("waiting", 0.0)
        if "pace" in status.load:
            self.load.paced(now_s, status.load["pace"])
        self.memory_mb = None if status.memory_mb is UNSET else status.memory_mb
        self._check_memory(0.0 if status.memory_used_mb is UNSET else status.memory_used_mb)
        self._check_version(status.version)
        self._check_time(status.sent_unix_s - unix_s)
        self._check_instance(status.instance, now_s)

    def _check_version(self, version: str) -> None:
        if _release(version) == _release(__version__):
            self.warnings.pop("version", None)
            return
        self.warnings["version"] = (
            f"{self.id} runs tiercut {version[:20]}, the hub {__version__}: install the same version on both"
        )

    def _check_mixes(self, *, follows: bool) -> None:
        self.mixes = follows
        if follows:
            self.warnings.pop("mixes", None)
            return
        self.warnings["mixes"] = (
            f"{self.id} follows one plan at a time and keeps to no rate, so its streams are planned by themselves even "
            "where the site is full: install the hub's version there"
        )

    def _check_memory(self, used_mb: float) -> None:
        """What its models take is said by its profiles; that it takes more shows in the program's own size."""
        if self.memory_mb is None or used_mb <= MEMORY_SLACK * self.memory_mb:
            self.warnings.pop("memory", None)
            return
        self.warnings["memory"] = (
            f"{self.id} has grown by {used_mb:.0f} MB, its memory_mb is {self.memory_mb:g}: models need more than its "
            "profiles say; run 'tiercut profile' there, or change memory_mb"
        )

    def _check_time(self, ahead_s: float) -> None:
        if ahead_s <= AHEAD_S:
            self.warnings.pop("time", None)
            return
        self.warnings["time"] = (
            f"{self.id} sends status from the future: its wall clock is {ahead_s:.0f} s ahead; set the clocks"
        )

    def _check_instance(self, instance: str, now_s: float) -> None:
        """One that comes back after another has used its name has not been restarted."""
        known = self._instances
        if instance and (not known or known[-1] != instance):
            if instance in known:
                self._twice_until_s = now_s + _TWICE_S
                known.remove(instance)
            known.append(instance)
        if now_s < self._twice_until_s:
            self.warnings["twice"] = f"two programs are both called {self.id}: give one of them another name"
        else:
            self.warnings.pop("twice", None)


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


def along(plan: Plan, stages: Iterable[Stage]) -> Iterable[tuple[NodeKey, NodeKey | None, Stage]]:
    """Each stage with the node it belongs to, and for ``wire`` with the node that sent.

    Stages name nodes without their tier; where two tiers have a node of one name, the order of the route tells.
    """
    route: list[NodeKey] = [("device", plan.device)]
    route += [(to, name) for _, to in plan.hops if (name := plan.node(to)) is not None]
    at = 0
    for stage in stages:
        ahead = range(at + 1 if stage.kind == "wire" else at, len(route))
        found = next((index for index in ahead if route[index][1] == stage.where), None)
        if found is not None:
            at = found
            yield route[at], route[at - 1] if stage.kind == "wire" else None, stage


def route(plan: Plan) -> list[NodeKey]:
    """The nodes of a plan, in order."""
    stops: list[NodeKey] = [("device", plan.device)]
    for _, tier in plan.hops:
        name = plan.node(tier)
        if name is not None:
            stops.append((tier, name))
    return stops


def _sample(stage: Stage, heard_s: float, later_s: float) -> LinkSample:
    """A frame's transfer, which ended so long before the frame's result was heard of."""
    return LinkSample(
        at_s=heard_s - later_s, payload_bytes=stage.payload_bytes, seconds=stage.seconds, heard_later_s=later_s
    )


def _tiers(sender: NodeKey, receiver: NodeKey) -> tuple[Tier, Tier]:
    return sender[0], receiver[0]


def _release(version: str) -> list[str]:
    """What must be equal for two programs to understand each other: the first two numbers."""
    return version.split(".")[:2]


def _guess(sender: Tier, receiver: Tier) -> LinkEstimator:
    mbps, latency_s = FIRST_GUESS.get((sender, receiver), FIRST_GUESS["edge", "cloud"])
    return LinkEstimator(mbps=mbps, latency_seconds=latency_s, acknowledged=False)
