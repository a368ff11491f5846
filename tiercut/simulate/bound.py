"""What all streams of a scenario's site could give together: the planner's linear program on the true figures."""

from __future__ import annotations

from tiercut.planner.site import SharedLine, SitePlan, SiteProblem, SiteStream
from tiercut.planner.site.solve import plan_site
from tiercut.simulate.scenario import Scenario
from tiercut.simulate.truth import Truth


def bound_plan(scenario: Scenario) -> SitePlan:
    """The best plans of all streams by the traces' means, with nodes and lines used to the brim.

    Every frame takes what its plan takes, and waits for no other. Where traces change, plans that follow them may give
    more than plans for their means.
    """
    until_s = scenario.duration_s
    streams = tuple(
        SiteStream(name=stream.goal.name, problem=Truth(scenario.alone(stream)).mean(), frames_per_second=stream.fps)
        for stream in scenario.site.streams
    )
    rates = {traces.line: traces.mbps.mean(until_s) for traces in scenario.links.values()}
    lines = tuple(
        SharedLine(
            name=name,
            links=frozenset(ends for ends, traces in scenario.links.items() if traces.line == name),
            mbps=mbps,
        )
        for name, mbps in rates.items()
        if name is not None
    )
    return plan_site(SiteProblem(streams=streams, lines=lines, filled=1.0))
