"""Policies that know what a hub knows: they are given a `Site` and what they hear, never a trace."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from tiercut.coordinator.actions import Action, Prepare, ProbeHop, PublishPlan
from tiercut.coordinator.core import Coordinator
from tiercut.coordinator.events import (
    ProfileHeard,
    ProgressHeard,
    ReadyHeard,
    ResultHeard,
    ResultPassed,
    SourceHeard,
    StatusHeard,
    StreamWanted,
    Tick,
)
from tiercut.coordinator.mix import Mix
from tiercut.coordinator.problem import build
from tiercut.coordinator.site_view import SiteView
from tiercut.coordinator.spans import spans
from tiercut.coordinator.way import along
from tiercut.plan import Plan, node_id
from tiercut.planner import Answer, Problem
from tiercut.planner.edgent import edgent
from tiercut.protocol.nodes import Progress, Ready
from tiercut.protocol.results import Journey
from tiercut.protocol.streams import SourceReport
from tiercut.simulate.policies import Quiet, followable, renewed
from tiercut.simulate.site import SimNode, Site
from tiercut.simulate.truth import one_server, regressed
from tiercut.simulate.world import TICK_S, World

#: How long a site has been up before the first frame: plans are made and segments loaded.
WARM_UP_S = 5.0


class Tiercut:
    """The coordinator itself, with nodes that load segments in ``load_s``.

    Args:
        site: What is there.
        load_s: What a segment takes to load.
        as_one: Plan all streams of a full site together.
    """

    def __init__(self, site: Site, *, load_s: float, as_one: bool = True) -> None:
        self.coordinator = Coordinator("simulated", lines=site.lines, as_one=as_one)
        self._site = site
        self._load_s = load_s
        self._mixes: dict[str, Mix] = {}
        self._loading: list[tuple[float, Ready]] = []
        self._last_tick_s = -WARM_UP_S - TICK_S
        for stream in site.streams:
            self.coordinator.handle(StreamWanted(stream.goal))
        self._world: World | None = None
        self._tiers = {node.id: node.tier for node in site.nodes}
        for node in site.nodes:
            self._status(node, online=True, now_s=-WARM_UP_S)
            self.coordinator.handle(ProfileHeard(tier=node.tier, node=node.id, profile=node.profile, site="simulated"))

    def see(self, world: World) -> None:
        """Its probes go into this world, where the site has been up for a while."""
        self._world = world
        self.passes(0.0)

    def presence(self, node: str, *, online: bool, now_s: float) -> None:
        """A node's status."""
        self._status(next(each for each in self._site.nodes if each.id == node), online=online, now_s=now_s)

    def pace(self, node: str, pace: float, now_s: float) -> None:
        """The same with what it says of its pace."""
        self.passes(now_s)
        known = next(each for each in self._site.nodes if each.id == node)
        online = self.coordinator.view.nodes[known.tier, node].online
        self._status(known, online=online, now_s=now_s, pace=pace)

    def _status(self, node: SimNode, *, online: bool, now_s: float, pace: float | None = None) -> None:
        status = self._site.status(node, online=online, pace=pace)
        self.coordinator.handle(StatusHeard(status=status, site="simulated", now_s=now_s, unix_s=0.0))

    def result(self, result: Journey, now_s: float) -> None:
        """A result: read or counted, as a hub would."""
        self.passes(now_s)
        read = self.coordinator.reads(result.stream, now_s)
        event = ResultHeard(result, now_s) if read else ResultPassed(result.stream, now_s)
        self._carry_out(self.coordinator.handle(event), now_s)

    def progress(self, node: str, progress: Progress, now_s: float) -> None:
        """A probe, or what is late."""
        self.passes(now_s)
        self._carry_out(self.coordinator.handle(ProgressHeard((self._tiers[node], node), progress, now_s)), now_s)

    def source(self, report: SourceReport, now_s: float) -> None:
        """How many frames a sensor gives, and how many get through."""
        self.passes(now_s)
        self._carry_out(self.coordinator.handle(SourceHeard(report, now_s)), now_s)

    def passes(self, now_s: float) -> None:
        """Ticks and answers of nodes, each at its time."""
        while True:
            tick_s = self._last_tick_s + TICK_S
            ready_s = min((time for time, _ in self._loading), default=float("inf"))
            if min(tick_s, ready_s) > now_s:
                return
            if ready_s <= tick_s:
                due = next(entry for entry in self._loading if entry[0] == ready_s)
                self._loading.remove(due)
                self._carry_out(self.coordinator.handle(ReadyHeard(due[1], ready_s)), ready_s)
            else:
                self._last_tick_s = tick_s
                self._carry_out(self.coordinator.handle(Tick(tick_s)), tick_s)

    def choose(self, stream: str, now_s: float) -> Mix | None:  # noqa: ARG002 - what was published last
        """The plans that were published last."""
        return self._mixes.get(stream)

    def _carry_out(self, actions: list[Action], now_s: float) -> None:
        for action in actions:
            match action:
                case Prepare():
                    message = action.message
                    ready = Ready(stream=message.stream, epoch=message.epoch, node=action.node, ok=True)
                    self._loading.append((now_s + self._load_s, ready))
                case ProbeHop():
                    assert self._world is not None  # noqa: S101 - `see` comes first
                    self._world.probe(action.node, action.message.node, action.message.sizes, now_s)
                case PublishPlan():
                    self._mixes[action.message.stream] = Mix.heard(action.message)
                case _:
                    pass


class Live(Quiet):
    """A policy that solves the problem for each frame, with the coordinator's estimates.

    It needs no loading: those that are modelled here keep the whole network on both sides.

    Args:
        site: What is there.
        rule: What it makes of the problem.
    """

    def __init__(self, site: Site, rule: Callable[[Problem], Answer]) -> None:
        self._site = site
        self._view = SiteView()
        self._rule = rule
        self._plan: Plan | None = None
        for node in site.nodes:
            self._view.node(node.tier, node.id, site="simulated").profiles[node.profile.model] = node.profile
        device = next(node for node in site.nodes if node.tier == "device")
        self._view.node("device", device.id, site="simulated").reaches_cloud = site.direct

    def presence(self, node: str, *, online: bool, now_s: float) -> None:  # noqa: ARG002 - it holds until the next
        """A node's status."""
        known = next(each for each in self._site.nodes if each.id == node)
        self._view.node(known.tier, node, site="simulated").online = online

    def result(self, result: Journey, now_s: float) -> None:
        """A result corrects estimates."""
        self._view.result_came(result, spans(result.plan, result.exit, self._site.goal), now_s)

    def choose(self, stream: str, now_s: float) -> Mix | None:  # noqa: ARG002 - of the only one
        """The best now."""
        problem = build(self._site.goal, self._view, now_s)
        if problem is not None:
            answer = self._rule(problem)
            if followable(answer):
                self._plan = renewed(self._plan, answer)
        return None if self._plan is None else Mix.of(self._plan)


class Edgent(Live):
    """One cut between device and edge, with a profile of long ago and the bandwidth of the last transfer.

    With a deadline it takes the most accurate exit that meets it (right-sizing).
    """

    def __init__(self, site: Site) -> None:
        super().__init__(site, self._chosen)
        self._mbps: dict[tuple[str, str], float] = {}

    def result(self, result: Journey, now_s: float) -> None:
        """The last transfer is all it knows of a link."""
        del now_s
        for receiver, sender, stage in along(result.plan, result.stages):
            if stage.kind == "wire" and sender is not None and stage.seconds > 0 and stage.payload_bytes:
                self._mbps[node_id(*sender), node_id(*receiver)] = stage.payload_bytes * 8e-6 / stage.seconds

    def _chosen(self, problem: Problem) -> Answer:
        links = {
            ends: replace(link, mbps=self._mbps[ends], latency_seconds=0.0) if ends in self._mbps else link
            for ends, link in problem.links.items()
        }
        return edgent(one_server(regressed(replace(problem, links=links)), "edge"), coded=True)
