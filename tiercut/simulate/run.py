"""Replaying a scenario with policies."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from tiercut.coordinator.problem import as_plan
from tiercut.errors import SettingsError
from tiercut.plan import Plan
from tiercut.planner import Answer, Problem, solve
from tiercut.planner.alternatives import alternatives
from tiercut.simulate.flights import RESULT, Flight, cost_s
from tiercut.simulate.hindsight import best_fixed, clairvoyant
from tiercut.simulate.live import Edgent, Live, Tiercut
from tiercut.simulate.policies import Fixed, Myopic, PerStream, Random, followable
from tiercut.simulate.scenario import Scenario
from tiercut.simulate.truth import Truth, one_server
from tiercut.simulate.world import Policy, World


@dataclass(frozen=True, slots=True)
class Replay:
    """What one policy made of a scenario.

    Attributes:
        policy: Its name.
        flights: All frames, those of one stream after the other, in order.
    """

    policy: str
    flights: Sequence[Flight]

    @property
    def latencies_s(self) -> list[float]:
        """Of the frames that have a result."""
        return [flight.latency_s for flight in self.flights if flight.latency_s is not None]

    def outcomes(self) -> dict[str, int]:
        """How many frames ended how; ``result`` first."""
        names = [flight.outcome or "none" for flight in self.flights]
        return {name: names.count(name) for name in sorted(set(names), key=lambda name: (name != RESULT, name))}

    def changes(self) -> int:
        """How often a stream's plan changed."""
        epochs = [(flight.stream, flight.plan.epoch) for flight in self.flights if flight.plan is not None]
        return sum(a != b for (one, a), (other, b) in itertools.pairwise(epochs) if one == other)

    def cost_s(self, timeout_s: float) -> float:
        """Mean latency over all frames; one without a result counts as the timeout, so that dropping is no gain."""
        return cost_s(self.flights, timeout_s)


def simulate(scenario: Scenario, policies: Iterable[str] | None = None) -> list[Replay]:
    """Replay a scenario with each policy, every one in a world of its own.

    Args:
        scenario: What happens.
        policies: Names of `POLICIES`; all of them that the scenario has nodes for by default.

    Raises:
        SettingsError: no such policy, or one that the scenario has no nodes for.
    """
    replays: list[Replay] = []
    for name in POLICIES if policies is None else policies:
        if name not in POLICIES:
            raise _bad(name, f"one of {', '.join(POLICIES)}")
        policy = policy_of(name, scenario)
        if policy is not None:
            world = World(scenario, policy)
            policy.see(world)
            replays.append(Replay(name, world.run()))
        elif policies is not None:
            raise _bad(name, "a policy that the scenario has nodes for, and that plans so many streams")
    return replays


def policy_of(name: str, scenario: Scenario) -> Policy | None:
    """A policy of the table for all streams of a scenario; ``None`` where it has no plan for one of them."""
    if len(scenario.site.streams) == 1:
        return None if name in FOR_SEVERAL else POLICIES[name](scenario)
    if name in TOGETHER:
        return POLICIES[name](scenario)
    if name in FOR_ONE:
        return None
    edges = [node.id for node in scenario.site.of_tier("edge")] if name in IN_TURN else []
    each = {
        stream.goal.name: POLICIES[name](scenario.alone(stream, without=_others(edges, index)))
        for index, stream in enumerate(scenario.site.streams)
    }
    found = {stream: policy for stream, policy in each.items() if policy is not None}
    return PerStream(found) if len(found) == len(each) else None


def _others(edges: Sequence[str], turn: int) -> set[str]:
    """All edges but the one whose turn it is."""
    return set(edges) - {edges[turn % len(edges)]} if edges else set()


def _bad(name: str, expected: str) -> SettingsError:
    return SettingsError("a policy", expected=expected, came=f"'{name}'", fix="choose another with --policies")


def _fixed(answer: Answer) -> Policy | None:
    return Fixed(as_plan(answer, epoch=1)) if followable(answer) else None


def _only(kind: str, scenario: Scenario) -> Policy | None:
    return _fixed(alternatives(Truth(scenario).mean())[kind])


def _usual(scenario: Scenario) -> list[Plan]:
    """The fixed plans of the table."""
    mean = Truth(scenario).mean()
    answers = [solve(mean), *alternatives(mean).values()]
    return [as_plan(answer, epoch=1) for answer in answers if followable(answer)]


def _neurosurgeon(problem: Problem) -> Answer:
    return solve(one_server(problem, "cloud"))


#: By name, in the order of the table.
POLICIES: Mapping[str, Callable[[Scenario], Policy | None]] = {
    "device-only": partial(_only, "device-only"),
    "edge-only": partial(_only, "edge-only"),
    "cloud-only": partial(_only, "cloud-only"),
    "static": lambda scenario: _fixed(solve(Truth(scenario).mean())),
    "best-fixed": lambda scenario: best_fixed(scenario, _usual(scenario)),
    "neurosurgeon": lambda scenario: Live(scenario.site, _neurosurgeon),
    "edgent": lambda scenario: Edgent(scenario.site),
    "random": lambda scenario: Random(scenario.site, seed=scenario.seed),
    "tiercut": lambda scenario: Tiercut(scenario.site, load_s=scenario.load_s),
    "one-by-one": lambda scenario: Tiercut(scenario.site, load_s=scenario.load_s, as_one=False),
    "myopic": lambda scenario: Myopic(Truth(scenario)),
    "oracle": lambda scenario: clairvoyant(scenario, _usual(scenario)),
}
#: Policies that plan all streams of a site; the others plan each as if it were alone.
TOGETHER = {"tiercut", "one-by-one"}
#: Policies that give the streams' frames to the edges in turn.
IN_TURN = {"edge-only"}
#: Policies that are another one where there is a single stream.
FOR_SEVERAL = {"one-by-one"}
#: Policies that know the future of one stream, not what others then do.
FOR_ONE = {"best-fixed", "oracle"}
