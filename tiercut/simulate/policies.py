"""What policies have in common, and those that no hub runs: one plan forever, chance, and one that sees all."""

from __future__ import annotations

import random
from collections.abc import Mapping

from tiercut.coordinator.mix import Mix
from tiercut.coordinator.problem import as_plan
from tiercut.plan import Plan
from tiercut.planner import Answer, solve
from tiercut.protocol.nodes import Progress
from tiercut.protocol.results import Journey
from tiercut.protocol.streams import SourceReport
from tiercut.simulate.site import Site
from tiercut.simulate.truth import Truth
from tiercut.simulate.world import Policy, World

#: How often the random policy draws a new plan.
RANDOM_EVERY_S = 10.0


class Quiet:
    """A policy that hears nothing, the base of all."""

    def presence(self, node: str, *, online: bool, now_s: float) -> None:
        """Not of interest."""

    def result(self, result: Journey, now_s: float) -> None:
        """Not of interest."""

    def pace(self, node: str, pace: float, now_s: float) -> None:
        """Not of interest."""

    def progress(self, node: str, progress: Progress, now_s: float) -> None:
        """Not of interest."""

    def see(self, world: World) -> None:
        """Not of interest."""

    def source(self, report: SourceReport, now_s: float) -> None:
        """Not of interest."""

    def passes(self, now_s: float) -> None:
        """Not of interest."""


class Fixed(Quiet):
    """One plan forever."""

    def __init__(self, plan: Plan) -> None:
        self._mix = Mix.of(plan)

    def choose(self, stream: str, now_s: float) -> Mix | None:  # noqa: ARG002 - always
        """The plan."""
        return self._mix


class PerStream(Quiet):
    """A policy of its own for each stream, as if it were alone.

    Args:
        policies: By stream.
    """

    def __init__(self, policies: Mapping[str, Policy]) -> None:
        self._policies = policies

    def see(self, world: World) -> None:
        """All see the same world."""
        for policy in self._policies.values():
            policy.see(world)

    def presence(self, node: str, *, online: bool, now_s: float) -> None:
        """Each hears of nodes."""
        for policy in self._policies.values():
            policy.presence(node, online=online, now_s=now_s)

    def result(self, result: Journey, now_s: float) -> None:
        """Each hears of its own frames."""
        self._policies[result.stream].result(result, now_s)

    def choose(self, stream: str, now_s: float) -> Mix | None:
        """What the stream's own would take."""
        return self._policies[stream].choose(stream, now_s)


class Random(Quiet):
    """A plan drawn every `RANDOM_EVERY_S`: first the nodes, then the cuts."""

    def __init__(self, site: Site, *, seed: int) -> None:
        self._site = site
        self._draw = random.Random(f"{seed} random")  # noqa: S311 - a policy of chance, repeatable
        self._until_s = -1.0
        self._plan: Plan | None = None

    def choose(self, stream: str, now_s: float) -> Mix | None:  # noqa: ARG002 - of the only one
        """The plan drawn last."""
        if self._plan is None or now_s >= self._until_s:
            self._until_s = now_s + RANDOM_EVERY_S
            self._plan = self._drawn(1 if self._plan is None else self._plan.epoch + 1)
        return Mix.of(self._plan)

    def _drawn(self, epoch: int) -> Plan:
        site, draw, end = self._site, self._draw, self._site.goal.end
        edge = draw.choice([None, *(node.id for node in site.of_tier("edge"))])
        clouds = [node.id for node in site.of_tier("cloud")] if edge is not None or site.direct else []
        cloud = draw.choice([None, *clouds])
        last = end if edge is None and cloud is None else end - 1
        first = end if last == end else draw.randint(min(site.goal.min_first_cut, last), last)
        second = end if cloud is None else first if edge is None else draw.randint(first, end - 1)
        cuts = [*([first] if edge is not None else []), *([second] if cloud is not None else [])]
        codecs = tuple(draw.choice(["raw", *self._codecs(cut)]) for cut in cuts)
        return Plan(
            epoch=epoch,
            first_cut=first,
            second_cut=second,
            device=site.goal.device,
            edge=edge,
            cloud=cloud,
            codecs=codecs,
        )

    def _codecs(self, cut: int) -> list[str]:
        (device,) = self._site.of_tier("device")
        return [point.codec for point in device.profile.codecs if point.cut == cut]


class Myopic(Quiet):
    """Sees each moment's true state, what waits included, and changes at no cost: what is best without the future."""

    def __init__(self, truth: Truth) -> None:
        self._truth = truth
        self._plan: Plan | None = None
        self._world: World | None = None

    def see(self, world: World) -> None:
        """Look at a world from now on."""
        self._world = world

    def choose(self, stream: str, now_s: float) -> Mix | None:  # noqa: ARG002 - of the only one
        """The best for this frame."""
        world = self._world
        assert world is not None  # noqa: S101 - `see` comes first
        queues = {name: max(0.0, station.free_s - now_s) for name, station in world.stations.items()}
        backlogs = {ends: link.backlog_s(now_s) for ends, link in world.links.items()}
        answer = solve(self._truth.now(now_s, queues, backlogs))
        self._plan = renewed(self._plan, answer)
        return Mix.of(self._plan)


def followable(answer: Answer) -> bool:
    """Whether there is a plan that breaks no constraint but the deadline: then it is the fastest one."""
    return answer.choice is not None and all(each.constraint == "deadline_seconds" for each in answer.violates)


def renewed(plan: Plan | None, answer: Answer) -> Plan:
    """The answer as a plan: the one before if it is the same, else with the next epoch."""
    again = as_plan(answer, epoch=0 if plan is None else plan.epoch)
    return again if plan == again else as_plan(answer, epoch=again.epoch + 1)
