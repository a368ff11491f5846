"""What is compared: the coordinator, and three ways to fix a stream's plan from what is truly there.

The fixed ones know what no coordinator knows: the declared rates and slowdowns. Each is the best of its kind for
accuracy within the deadline; Edgent's is by its own rule (`tiercut.planner.edgent`).
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from bench.deadlines.site import NODES, SITE, STREAM, Prepared, Setup
from broker.coordination.goals import goal_of
from tiercut.coordinator.problem import ENVELOPE_BYTES, as_plan, build
from tiercut.coordinator.site_view import SiteView
from tiercut.plan import Plan, node_id
from tiercut.planner import Answer, Problem, solve
from tiercut.planner.alternatives import CLOUD_ONLY, DEVICE_ONLY, alternatives
from tiercut.planner.edgent import edgent
from tiercut.planner.problem import Link
from tiercut.protocol.stream_settings import StreamSettings

COORDINATOR, EDGENT = "tiercut", "edgent"
STRATEGIES = (COORDINATOR, DEVICE_ONLY, CLOUD_ONLY, EDGENT)
FIXED = STRATEGIES[1:]
#: What a hop costs whatever its rate: two MQTT hops over a broker and a node's handling, as `bench.overhead` has it.
HOP_S = 0.0015
#: Part of a deadline that the fixed plans keep free for what no profile tells; the coordinator begins with 15 %.
MARGIN = 0.10


def true_problem(prepared: Prepared, setup: Setup, mbps: float, deadline_s: float) -> Problem:
    """The planning problem with what is declared."""
    wanted = StreamSettings(
        name=STREAM,
        model=prepared.bundle.name,
        device=NODES["device"],
        objective="accuracy",
        deadline_ms=1e3 * deadline_s,
    )
    goal, view = goal_of(wanted, prepared.bundle), SiteView()
    for tier, name in NODES.items():
        node = view.node(tier, name, site=SITE)
        node.profiles[goal.model] = prepared.on(tier, setup)
        node.reaches_cloud = tier != "device"
    problem = build(goal, view, 0.0, margin_s=MARGIN * deadline_s)
    if problem is None:
        message = "the device is there, with its profile"
        raise AssertionError(message)
    latency_s = HOP_S + setup.delay_ms / 1e3 + ENVELOPE_BYTES * 8e-6 / mbps
    ids = [node_id(tier, name) for tier, name in NODES.items()]
    return replace(problem, links=dict.fromkeys(pairwise(ids), Link(latency_s, mbps)))


def fixed_answers(problem: Problem) -> dict[str, Answer]:
    """Strategy → the planner's answer for it."""
    others = alternatives(problem)
    return {DEVICE_ONLY: others[DEVICE_ONLY], CLOUD_ONLY: others[CLOUD_ONLY], EDGENT: edgent(problem)}


def best_answer(problem: Problem) -> Answer:
    """What the coordinator would choose if it knew all."""
    return solve(problem)


def plan_of(answer: Answer) -> Plan:
    """An answer as a plan without a deadline: its frames are judged by the clock alone."""
    return as_plan(answer, epoch=0)


def said(plan: Plan) -> str:
    """``exit2: d[0,5) int8+zstd e[5,end)``: variant, who runs what, and what crosses."""
    words = [f"{plan.exit}:"]
    starts = {"device": 0, "edge": plan.first_cut, "cloud": plan.second_cut}
    stops = {"device": plan.first_cut, "edge": plan.second_cut if plan.cloud else -1, "cloud": -1}
    for hop, tier in enumerate(tier for tier in NODES if plan.node(tier) is not None):
        start, stop = starts[tier], stops[tier] if plan.hops else -1
        part = "" if start == stop else f"[{start},{'end' if stop < 0 else stop})"
        words += [f"{plan.node(tier)}{part}", *plan.codecs[hop : hop + 1]]
    return " ".join(words)
