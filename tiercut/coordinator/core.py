"""The coordinator's state machine: what was heard goes in, what is to be done comes out.

A new plan is made before the old one breaks::

    evaluate ──▶ worth a change ──▶ Prepare to each node ──▶ all ready ──▶ PublishPlan with the next epoch
                                          └── one is not, or says no ──▶ the last plan stays, and why is said
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tiercut.coordinator.problem import StreamGoal, as_choice, as_plan, build
from tiercut.coordinator.switching import Switching
from tiercut.coordinator.view import SiteView
from tiercut.errors import SettingsError
from tiercut.messages import NodeStatus, PrepareSegment, Ready, StreamPlan
from tiercut.plan import TIERS, Plan, Tier, known_tier
from tiercut.planner import alternatives, evaluate, solve
from tiercut.profiles import Profile

#: How long nodes may take to load a segment before a change is given up.
READY_S = 10.0
#: After a change that was given up, the same stream is left alone for so long.
PAUSE_S = 5.0


@dataclass(frozen=True, slots=True)
class Prepare:
    """Ask a node to load a segment before a plan needs it; it answers with `Ready`."""

    tier: Tier
    node: str
    site: str
    message: PrepareSegment


@dataclass(frozen=True, slots=True)
class PublishPlan:
    """Publish a stream's plan, retained."""

    message: StreamPlan


@dataclass(frozen=True, slots=True)
class Explain:
    """Publish what is known about a stream's plan, retained JSON for people and ``tiercut watch``."""

    stream: str
    document: dict[str, Any]


Action = Prepare | PublishPlan | Explain


@dataclass(slots=True)
class _Pending:
    plan: Plan
    reason: str
    waiting: set[str]
    until_s: float


@dataclass(slots=True)
class _Stream:
    goal: StreamGoal
    plan: Plan | None = None
    pending: _Pending | None = None
    switching: Switching = field(default_factory=Switching)
    paused_until_s: float = 0.0
    step: str | None = None
    trouble: str | None = None
    #: why the last change was given up, until one succeeds
    given_up: str | None = None
    history: list[dict[str, Any]] = field(default_factory=list)
    measured_ms: float | None = None


class Coordinator:
    """Plans of one site's streams.

    Args:
        site: Its name.
    """

    HISTORY = 20

    def __init__(self, site: str) -> None:
        self.view = SiteView()
        self._site = site
        self._streams: dict[str, _Stream] = {}

    # ------------------------------------------------------------------ events

    def stream_wanted(self, goal: StreamGoal) -> None:
        """A stream is to be planned (again, with another goal)."""
        known = self._streams.get(goal.name)
        self._streams[goal.name] = _Stream(goal, plan=known.plan if known else None)

    def plan_heard(self, message: StreamPlan) -> None:
        """A retained plan from before the coordinator started: the stream follows it, and so do we."""
        stream = self._streams.get(message.stream)
        if stream is None or message.model != stream.goal.model:
            return
        if stream.plan is None or message.plan.epoch >= stream.plan.epoch:
            stream.plan = message.plan

    def status_heard(self, status: NodeStatus, *, site: str) -> None:
        """A node's presence."""
        tier = known_tier(status.tier)
        if tier is not None:
            node = self.view.node(tier, status.node, site=site)
            node.online = status.state == "online"
            node.power_watts = status.power_watts
            node.reaches_cloud = status.reaches_cloud

    def profile_heard(self, tier_name: str, node: str, profile: Profile, *, site: str) -> None:
        """A node's profile of a model."""
        tier = known_tier(tier_name)
        if tier is not None:
            self.view.node(tier, node, site=site).profiles[profile.model] = profile

    def result_heard(self, result: Mapping[str, Any], now_s: float) -> None:
        """A result: its stage times correct what is known of nodes and links."""
        stream = self._streams.get(str(result.get("stream")))
        if stream is None:
            return
        changes = self.view.result_came(result, stream.goal.end, now_s)
        if result.get("latency_ms") is not None:
            before = stream.measured_ms
            came = float(result["latency_ms"])
            stream.measured_ms = came if before is None else before + 0.2 * (came - before)
        if changes:  # every stream may be touched by it
            for each in self._streams.values():
                each.step = "; ".join(changes)

    def ready_heard(self, ready: Ready, now_s: float) -> list[Action]:
        """A node has loaded a segment, or says that it will not."""
        stream = self._streams.get(ready.stream)
        pending = None if stream is None else stream.pending
        if stream is None or pending is None or pending.plan.epoch != ready.epoch or ready.node not in pending.waiting:
            return []
        if not ready.ok:
            return [self._give_up(stream, f"{ready.node} refuses: {ready.message}", now_s)]
        pending.waiting.discard(ready.node)
        return self._adopt(stream, pending) if not pending.waiting else []

    def tick(self, now_s: float) -> list[Action]:
        """Evaluate all streams; call it a few times a second."""
        actions: list[Action] = []
        for stream in self._streams.values():
            pending = stream.pending
            if pending is not None:
                if now_s > pending.until_s:
                    late = ", ".join(sorted(pending.waiting))
                    actions.append(self._give_up(stream, f"{late} did not get ready within {READY_S:.0f} s", now_s))
                continue
            actions += self._evaluate(stream, now_s)
        return actions

    # ------------------------------------------------------------------ inside

    def _evaluate(self, stream: _Stream, now_s: float) -> list[Action]:
        problem = build(stream.goal, self.view, now_s)
        if problem is None:
            stream.trouble = f"waiting for device '{stream.goal.device}' and its profile"
            return [self._explain(stream, None, None)]
        best = solve(problem)
        if not best["feasible"]:
            stream.trouble = f"no plan satisfies the constraints: {best.get('violates')}"
            return [self._explain(stream, problem, best)]
        stream.trouble = None
        reason = self._reason(stream, problem, best)
        if now_s < stream.paused_until_s:
            return [self._explain(stream, problem, best)]
        step, stream.step = stream.step, None
        if reason is None:
            return [self._explain(stream, problem, best)]
        if step is not None:
            reason = f"{reason}; {step}"
        return [*self._prepare(stream, best, reason, now_s), self._explain(stream, problem, best)]

    def _reason(self, stream: _Stream, problem: dict[str, Any], best: dict[str, Any]) -> str | None:
        """Why to change now; ``None`` to stay."""
        if stream.plan is None:
            return "the stream's first plan"
        gone = self._gone(stream.plan)
        if gone is not None:
            return gone
        try:
            current = evaluate(problem, as_choice(stream.plan))
        except SettingsError as error:  # a node without the model, a codec that its cut does not have any more
            return f"the plan is not possible any more: {error.came}"
        if not current["feasible"]:
            return f"the plan breaks a constraint: {current.get('violates')}"
        return stream.switching.worth_it(current, best, stream.goal.objective, step=stream.step is not None)

    def _gone(self, plan: Plan) -> str | None:
        for tier in TIERS:
            name = plan.node(tier)
            node = None if name is None else self.view.nodes.get((tier, name))
            if name is not None and (node is None or not node.online):
                return f"{tier} '{name}' is gone"
        return None

    def _prepare(self, stream: _Stream, best: dict[str, Any], reason: str, now_s: float) -> list[Action]:
        goal = stream.goal
        epoch = 1 if stream.plan is None else stream.plan.epoch + 1
        plan = as_plan(best, epoch=epoch)
        asked: list[Prepare] = []
        start = 0
        for tier in TIERS:
            node = plan.node(tier)
            if node is not None:
                stop = plan.segment_end(tier, goal.end)
                message = PrepareSegment(
                    site=self._site, stream=goal.name, epoch=epoch, model=goal.model, start=start, stop=stop
                )
                asked.append(Prepare(tier, node, self.view.nodes[tier, node].site, message))
                start = stop
        stream.pending = _Pending(plan, reason, {each.node for each in asked}, now_s + READY_S)
        return list(asked)

    def _adopt(self, stream: _Stream, pending: _Pending) -> list[Action]:
        goal = stream.goal
        stream.plan, stream.pending, stream.given_up = pending.plan, None, None
        stream.history.append({"epoch": pending.plan.epoch, "reason": pending.reason})
        del stream.history[: -self.HISTORY]
        message = StreamPlan(
            stream=goal.name, model=goal.model, model_name=goal.model_name, plan=pending.plan, reason=pending.reason
        )
        return [PublishPlan(message)]

    def _give_up(self, stream: _Stream, why: str, now_s: float) -> Action:
        stream.pending = None
        stream.paused_until_s = now_s + PAUSE_S
        stream.given_up = f"the last plan stays: {why}"
        return self._explain(stream, None, None)

    def _explain(self, stream: _Stream, problem: dict[str, Any] | None, best: dict[str, Any] | None) -> Explain:
        document: dict[str, Any] = {
            "stream": stream.goal.name,
            "objective": stream.goal.objective,
            "plan": None if stream.plan is None else as_choice(stream.plan) | {"epoch": stream.plan.epoch},
            "trouble": stream.trouble or stream.given_up,
            "measured_ms": stream.measured_ms,
            "changes": stream.history[-5:],
        }
        if problem is not None:
            document["best"] = best
            document["alternatives"] = alternatives(problem)
            document["links"] = problem["links"]
            document["nodes"] = [
                {k: n[k] for k in ("id", "tier", "slowdown", "queue_seconds")} for n in problem["nodes"]
            ]
            if stream.plan is not None and self._gone(stream.plan) is None:
                with contextlib.suppress(SettingsError):  # the reason of a change to come, see `_reason`
                    document["predicted"] = evaluate(problem, as_choice(stream.plan))
        return Explain(stream.goal.name, document)
