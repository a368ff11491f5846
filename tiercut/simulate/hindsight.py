"""Yardsticks that know a scenario's future: the best fixed plan, and an oracle that sees each frame to its end.

Both look for plans with `walk`, and judge them by replaying: what they say is what a world gave.
"""

from __future__ import annotations

import bisect
import itertools
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from msgspec.structs import replace

from tiercut.coordinator.mix import Mix
from tiercut.plan import Plan
from tiercut.planner.objectives import Floats
from tiercut.simulate.flights import Flight, cost_s
from tiercut.simulate.policies import Fixed, Myopic, Quiet
from tiercut.simulate.scenario import Scenario
from tiercut.simulate.truth import Truth
from tiercut.simulate.walk import Walked, Walker, Way, ways
from tiercut.simulate.world import Policy, World


@dataclass(frozen=True, slots=True)
class Price:
    """What counts of a frame beside its own time.

    Attributes:
        waits: Part of the time that the next frame waits for it.
        lost: Part of the timeout for each frame that comes to a node while it is there, and is replaced by a newer one.
    """

    waits: float
    lost: float


#: Fixed plans that are replayed: the best of all by `walk`.
REPLAYED = 12
#: How dear the oracle holds what a frame keeps others from (`Price`): each is tried.
PRICES = tuple(itertools.starmap(Price, [(0, 0), (1, 0), (0, 1), (1, 0.3)]))


def best_fixed(scenario: Scenario, others: Iterable[Plan] = ()) -> Policy | None:
    """The fixed plan that is the cheapest of all over the scenario; ``None`` where none is possible.

    Args:
        scenario: The scenario.
        others: Plans that are replayed besides those that the walk finds.
    """
    replays = _fixed(scenario, _known(scenario), others)
    return Recorded(replays[0]) if replays else None


def clairvoyant(scenario: Scenario, others: Iterable[Plan] = ()) -> Policy | None:
    """The cheapest way through a scenario that is known for someone who sees the future.

    Each frame takes the plan on which it is done soonest in the end, priced by what it keeps others from; or all take
    the best fixed plan, or each what looks best at the moment, where that is cheaper. It bounds what can be reached
    from above: nobody has looked for a better order of frames.

    Args:
        scenario: The scenario.
        others: As of `best_fixed`.
    """
    known = _known(scenario)
    replays = _fixed(scenario, known, others)[:1]
    if not replays:
        return None
    replays.append(_replayed(scenario, Myopic(Truth(scenario))))
    for price in PRICES:
        seer = Seer(scenario, *known, price)
        replays.append(_replayed(scenario, seer))
        if not seer.in_the_way:
            break  # what nobody takes from another has no price
    best = min(replays, key=lambda flights: cost_s(flights, scenario.timeout_s))
    return Recorded(best)


class Recorded(Quiet):
    """The plans of a replay, frame by frame.

    Args:
        flights: Its frames.
    """

    def __init__(self, flights: Iterable[Flight]) -> None:
        self._plans = {flight.seq: flight.plan for flight in flights}
        self._world: World | None = None

    def see(self, world: World) -> None:
        """The frames of a world from now on."""
        self._world = world

    def choose(self, stream: str, now_s: float) -> Mix | None:  # noqa: ARG002 - whenever
        """The plan that the frame had."""
        assert self._world is not None  # noqa: S101 - `see` comes first
        frame = self._world.sensors[stream].next
        plan = None if frame is None else self._plans[frame.seq]
        return None if plan is None else Mix.of(plan)


class Seer(Quiet):
    """Gives each frame the plan on which it is done soonest, by the traces to come and the frames on their way.

    Args:
        scenario: The scenario.
        walker: Through its traces.
        known: All plans.
        price: Of what a frame keeps others from.
    """

    def __init__(self, scenario: Scenario, walker: Walker, known: Iterable[Way], price: Price) -> None:
        self._scenario = scenario
        self._walker = walker
        self._ways = tuple(known)
        self._price = price
        #: a frame has taken a plan by which it kept others waiting
        self.in_the_way = False
        self._line = _Shared()
        self._plan: Plan | None = None
        self._world: World | None = None

    def see(self, world: World) -> None:
        """Look at a world from now on."""
        self._world = world

    def choose(self, stream: str, now_s: float) -> Mix | None:
        """The best for the frame that is next."""
        assert self._world is not None  # noqa: S101 - `see` comes first
        frame = self._world.sensors[stream].next
        if frame is None:
            return None
        self._line.forget(now_s)
        walked = [self._walker.walk(way, frame.seq, now_s, self._line) for way in self._ways]
        prices = [self._priced(each) for each in walked]
        costs = [self._own(each, frame) + price for each, price in zip(walked, prices, strict=True)]
        best = min(range(len(costs)), key=lambda index: costs[index].min())
        place = int(costs[best].argmin())
        self.in_the_way |= bool(walked[best].longest_s()[place] > 1 / self._scenario.fps)
        self._line.take(walked[best], place)
        self._plan = _renewed(self._plan, self._ways[best].plans[place])
        return Mix.of(self._plan)

    def _own(self, walked: Walked, frame: Flight) -> Floats:
        """(K) seconds until it is done; of plans that come too late, the one that is done soonest is the best."""
        timeout_s = self._scenario.timeout_s
        lasts_s = walked.done_s - frame.captured_s
        late = timeout_s + np.minimum(lasts_s, 1e6) * 1e-6
        return np.where(lasts_s <= _most_s(self._scenario), lasts_s, late)

    def _priced(self, walked: Walked) -> Floats:
        """(K) what it keeps others from, in seconds."""
        scenario, price = self._scenario, self._price
        waits_s = np.clip(walked.longest_s() - 1 / scenario.fps, 0.0, scenario.timeout_s)
        lost = np.clip(np.floor(walked.longest_s(nodes=True) * scenario.fps) - 1, 0.0, scenario.in_flight)
        return np.asarray(price.waits * waits_s + price.lost * scenario.timeout_s * lost)


@dataclass(slots=True)
class _Shared:
    """What all frames on their way have taken, by node and link: when they came there, and until when."""

    taken: defaultdict[object, list[tuple[float, float]]] = field(default_factory=lambda: defaultdict(list))

    def start(self, resource: object, came_s: Floats) -> Floats:
        """After all that came before."""
        begins_s = came_s
        for before_s, end_s in self.taken.get(resource, ()):
            begins_s = np.where(before_s <= came_s, np.maximum(begins_s, end_s), begins_s)
        return begins_s

    def take(self, walked: Walked, place: int) -> None:
        """A frame follows one of the plans that were walked."""
        for resource, (came_s, end_s) in walked.taken.items():
            if np.isfinite(came_s[place]):
                bisect.insort(self.taken[resource], (float(came_s[place]), float(end_s[place])))

    def forget(self, now_s: float) -> None:
        """What has ended makes nobody wait."""
        for resource, each in self.taken.items():
            self.taken[resource] = [span for span in each if span[1] > now_s]


@dataclass(slots=True)
class _Own:
    """The same where every plan is alone in a world of its own, and frames come in order."""

    free_s: dict[object, Floats] = field(default_factory=dict)

    def start(self, resource: object, came_s: Floats) -> Floats:
        """After the frame before."""
        free_s = self.free_s.get(resource)
        return came_s if free_s is None else np.maximum(came_s, free_s)

    def take(self, taken: Mapping[object, tuple[Floats, Floats]], sets_out: npt.NDArray[np.bool_]) -> None:
        """A frame has set out on some of the plans."""
        for resource, (_, end_s) in taken.items():
            before_s = self.free_s.get(resource, np.zeros(len(end_s)))
            self.free_s[resource] = np.where(sets_out, np.maximum(before_s, end_s), before_s)


def _known(scenario: Scenario) -> tuple[Walker, list[Way]]:
    """All plans of a scenario, and who walks them."""
    return Walker(scenario), ways(Truth(scenario).free)


def _fixed(scenario: Scenario, known: tuple[Walker, list[Way]], others: Iterable[Plan]) -> list[list[Flight]]:
    """Replays of fixed plans, the cheapest first: those that a walk of all frames finds cheapest, and others."""
    walker, all_ways = known
    rated: list[tuple[float, Plan]] = []
    for way in all_ways:
        rated += zip(_walked_costs(scenario, walker, way).tolist(), way.plans, strict=True)
    rated.sort(key=lambda each: each[0])
    plans = [*(plan for _, plan in rated[:REPLAYED]), *others]
    replays = [_replayed(scenario, Fixed(plan)) for plan in plans]
    return sorted(replays, key=lambda flights: cost_s(flights, scenario.timeout_s))


def _walked_costs(scenario: Scenario, walker: Walker, way: Way) -> Floats:
    """(K) mean seconds of a frame if all follow one plan."""
    line, device = _Own(), way.nodes[0]
    frames, count = int(np.ceil(scenario.duration_s * scenario.fps - 1e-9)), len(way.plans)
    total = np.zeros(count)
    done: deque[Floats] = deque([np.full(count, -np.inf)] * scenario.in_flight, maxlen=scenario.in_flight)
    most_s = _most_s(scenario)
    for seq in range(frames):
        captured_s = seq / scenario.fps
        # the oldest of a full window must be done, and this one not yet replaced while it waits for that
        out_s = np.maximum(captured_s, np.minimum(done[0], captured_s + scenario.timeout_s))
        sets_out = (out_s < captured_s + 1 / scenario.fps) & (line.start(device, out_s) < out_s + 1 / scenario.fps)
        walked = walker.walk(way, seq, out_s, line)
        line.take(walked.taken, sets_out)
        lasts_s = walked.done_s - captured_s
        total += np.where(sets_out & (lasts_s <= most_s), lasts_s, scenario.timeout_s)
        done.append(np.where(sets_out, np.minimum(walked.done_s, captured_s + scenario.timeout_s), done[-1]))
    return total / frames


def _most_s(scenario: Scenario) -> float:
    """The oldest that a result of use is."""
    return min(scenario.timeout_s, scenario.site.goal.deadline_s or np.inf)


def _replayed(scenario: Scenario, policy: Policy) -> list[Flight]:
    """What a world makes of a policy."""
    world = World(scenario, policy)
    policy.see(world)
    return world.run()


def _renewed(plan: Plan | None, new: Plan) -> Plan:
    """A plan with the epoch of the one before if it is the same, else with the next one."""
    epoch = 0 if plan is None else plan.epoch
    again = replace(new, epoch=epoch)
    return again if plan == again else replace(new, epoch=epoch + 1)
