"""The plans of all streams of a site together: how many frames of each go which way.

First the rates are as fair as can be (`filling`), then as many frames as can be go through, then they take as little
time as can be: a site that is not full gives each stream its quickest plan, and a full one all it has.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from tiercut.errors import SettingsError
from tiercut.planner.answer import Choice
from tiercut.planner.costs import Ints
from tiercut.planner.objectives import Floats
from tiercut.planner.plan_cost import PlanIndex, price
from tiercut.planner.plan_lookup import index_of
from tiercut.planner.search import Bools
from tiercut.planner.site.columns import columns_of, latency_of
from tiercut.planner.site.filling import Filling
from tiercut.planner.site.master import Master, Solved
from tiercut.planner.site.memory import within_memory
from tiercut.planner.site.plan import SitePlan, StreamShare, Way
from tiercut.planner.site.pricing import Pricing
from tiercut.planner.site.problem import SiteProblem
from tiercut.planner.site.resources import Resources, resources_of
from tiercut.planner.site.tables import batches

Known = Mapping[str, Sequence[Choice]]

#: Ways that take a smaller part of a stream's frames are dropped, together no more than this part of them ...
LEAST_SHARE = 0.02

#: ... where that costs no more of all frames.
MOST_LOST = 0.01

#: A stream's frames go at most so many ways.
MOST_WAYS = 8

#: Frames/s of a stream that takes as many as it can get, at most: finite, so that the program is.
MOST_FRAMES = 1e6

#: What is a smaller part of what a stream asks for is no way.
CLOSE = 1e-6

#: A stream that has this part less has all it asks for.
FULL = 1e-4

#: Instead of 0 where it divides.
TINY = 1e-30


class Outcome(NamedTuple):
    """What was found out about the rates: (S) which streams have a plan, which have all they ask for; the bound."""

    possible: Bools
    full: Bools
    bound: float


def plan_site(problem: SiteProblem, *, known: Known | None = None, least_share: float = LEAST_SHARE) -> SitePlan:
    """The best plans for all streams: fair rates first, then most frames, then least latency.

    Args:
        problem: What is asked.
        known: Plans that are followed now, by stream: with them a small change is found sooner. What is not possible
            any more is ignored.
        least_share: Ways that take a smaller part of a stream's frames are dropped where that costs next to nothing;
            0 keeps them all.

    Returns:
        The ways of each stream, and what is short. A stream without a plan that keeps its constraints has no ways, and
        does not count as served unfairly.

    Raises:
        SettingsError: a figure or a name of the site is wrong.
    """
    return within_memory(problem, lambda site: _plan(site, known or {}, least_share, every_plan=True))


def plan_site_with(problem: SiteProblem, known: Known, *, least_share: float = LEAST_SHARE) -> SitePlan:
    """The same with known plans alone: what a site can still give without a change of plan.

    Returns:
        As `plan_site`; its bound is that of the known plans.

    Raises:
        SettingsError: a figure or a name of the site is wrong.
    """
    return within_memory(problem, lambda site: _plan(site, known, least_share, every_plan=False))


def _plan(problem: SiteProblem, known: Known, least_share: float, *, every_plan: bool) -> SitePlan:
    resources = resources_of(problem)
    asked = np.array([min(stream.frames_per_second, MOST_FRAMES) for stream in problem.streams], dtype=np.float64)
    weight = np.array([stream.weight for stream in problem.streams], dtype=np.float64)
    master = Master(resources.capacity, asked, weight)
    pricing = [Pricing(batch) for batch in batches(resources.problems, resources)] if every_plan else []
    filling = Filling(master, pricing, resources, asked, weight)
    possible = filling.start(columns_of(_possible(problem, resources, known), resources))
    level = filling.levels(possible)
    rates, bound = filling.most(level)
    solved = _few_ways(master, filling.quickest(rates), least_share)
    return _site_plan(problem, filling, solved, Outcome(possible, rates >= asked * (1 - FULL), bound))


def _possible(problem: SiteProblem, resources: Resources, known: Known) -> list[tuple[int, PlanIndex]]:
    """The known plans that keep the constraints of their streams' problems."""
    found: list[tuple[int, PlanIndex]] = []
    for index, stream in enumerate(problem.streams):
        for choice in known.get(stream.name, ()):
            try:
                plan = index_of(resources.problems[index], choice)
            except SettingsError:
                continue
            if price(resources.problems[index], plan).feasible:
                found.append((index, plan))
    return list(dict.fromkeys(found))


def _few_ways(master: Master, solved: Solved, least_share: float) -> Solved:
    """Nearly the same rates without ways that take next to no frames."""
    stream = master.all_columns().stream
    rates = master.by_stream(solved.plans)
    dear = np.full(master.streams, -10 * (1 + float(master.latency.max(initial=0.0))))
    for _ in range(3):
        keep = _worth_keeping(stream, solved.plans, least_share)
        if keep is None:
            break
        kept = np.where(keep, solved.plans, 0.0)
        master.allow(kept)
        master.bound_rates(master.by_stream(kept) * (1 - CLOSE), rates)
        master.seek(dear, master.latency)
        fewer = master.solve()
        if fewer is None or fewer.plans.sum() < (1 - MOST_LOST) * rates.sum():
            break
        solved = fewer
    return solved


def _worth_keeping(stream: Ints, plans: Floats, least_share: float) -> Bools | None:
    """(P) which ways stay; ``None`` if all do."""
    keep = plans > 0
    ways: defaultdict[int, list[int]] = defaultdict(list)
    for plan in np.flatnonzero(keep).tolist():
        ways[int(stream[plan])].append(plan)
    dropped = False
    for mine in ways.values():
        mine.sort(key=lambda plan: plans[plan])
        may_lose = least_share * sum(plans[plan] for plan in mine)
        for nth, plan in enumerate(mine[:-1]):
            may_lose -= plans[plan]
            if may_lose < 0 and len(mine) - nth <= MOST_WAYS:
                break
            keep[plan], dropped = False, True
    return keep if dropped else None


def _site_plan(problem: SiteProblem, filling: Filling, solved: Solved, outcome: Outcome) -> SitePlan:
    resources, columns = filling.resources, filling.master.all_columns()
    load: defaultdict[str, float] = defaultdict(float, problem.taken)
    ways: list[list[Way]] = [[] for _ in problem.streams]
    many = filling.master.by_stream(solved.plans) / np.maximum(filling.asked, TINY)
    plans = solved.plans / np.maximum(1.0, many[columns.stream])  # the solver's last digits
    for index in np.flatnonzero(plans > CLOSE * filling.asked[columns.stream].clip(1e-3, 1.0)).tolist():
        at, plan, rate = int(columns.stream[index]), columns.plan[index], float(plans[index])
        seconds = latency_of(resources, at, plan)
        ways[at].append(
            Way(choice=plan.choice(resources.problems[at]), frames_per_second=rate, latency_seconds=seconds)
        )
        for where, busy in resources.busy_seconds(at, plan).items():
            load[where] += rate * busy
    shares, least = {}, np.inf
    for at, stream in enumerate(problem.streams):
        mine = tuple(sorted(ways[at], key=lambda way: -way.frames_per_second))
        rate = sum(way.frames_per_second for way in mine)
        short = () if outcome.full[at] else tuple(resources.names[row] for row in filling.short.get(at, ()))
        shares[stream.name] = StreamShare(ways=mine, asked_frames_per_second=stream.frames_per_second, short=short)
        if outcome.possible[at] and not outcome.full[at]:
            least = min(least, rate / stream.weight)
    return SitePlan(
        shares=shares,
        load={where: part for where, part in sorted(load.items()) if part > 0},
        least=least,
        bound_frames_per_second=max(outcome.bound, sum(share.frames_per_second for share in shares.values())),
    )
