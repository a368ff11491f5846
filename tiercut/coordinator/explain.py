"""Why a stream has its plan: what is known of it, of its nodes and links, and what its plan is compared with."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
from msgspec import UNSET, UnsetType

from tiercut.coordinator.node_view import NodeKey
from tiercut.coordinator.problem import as_choice, hops
from tiercut.coordinator.site_view import SiteView
from tiercut.coordinator.standing import Compared
from tiercut.coordinator.stream import PlannedStream
from tiercut.errors import SettingsError
from tiercut.plan import Plan, known_tier
from tiercut.planner import Answer, Problem, evaluate
from tiercut.planner.answer_form import AnswerForm, form_of
from tiercut.protocol.explanations import DeadlineKept, Explanation, FollowedPlan, LinkFigures, MixedPlan, NodeFigures

#: Exits at which fewer leave are not shown.
MIN_SHARE = 0.001
#: Changes shown.
SHOWN = 5


def explanation(
    stream: PlannedStream, view: SiteView, problem: Problem | None, best: Answer | None, now_s: float
) -> Explanation:
    """What is known of a stream.

    Args:
        stream: The stream.
        view: Its site.
        problem: The planning problem now, ``None`` while there is none.
        best: The planner's answer to it.
        now_s: When.
    """
    goal, plan = stream.goal, stream.plan
    said = Explanation(
        stream=goal.name,
        objective=goal.objective,
        control=stream.control.mode,
        control_id=stream.control.id,
        control_trouble=stream.trouble if stream.control.mode != "auto" and stream.pending is None else None,
        under_way=None if stream.pending is None else stream.pending.reason,
        plan=None if plan is None else _followed(plan),
        trouble=stream.trouble or stream.given_up,
        short=stream.short,
        warnings=_warnings(stream, view),
        measured_ms=None if stream.measured_s is None else round(stream.measured_s * 1e3, 3),
        frames_per_second=round(stream.rate(now_s), 2),
        asked_frames_per_second=None
        if stream.kept.offered.asked_fps is None
        else round(stream.kept.offered.asked_fps, 2),
        deadline=_deadline(stream),
        exits={name: round(share, 4) for name, share in sorted(stream.exits.items()) if share >= MIN_SHARE},
        changes=stream.history[-SHOWN:],
        mix=_mix(stream),
        room_frames_per_second=_room(stream),
    )
    if problem is None or best is None:
        return said
    stream.compared = Compared.of(problem, stream.compared, now_s)
    return msgspec.structs.replace(
        said,
        best=form_of(best),
        alternatives=dict(stream.compared.answers),
        links=list(_links(problem, view, now_s)),
        nodes=list(_nodes(problem, view)),
        predicted=_predicted(stream, problem),
    )


def _followed(plan: Plan) -> FollowedPlan:
    choice = as_choice(plan)
    return FollowedPlan(
        variant=choice.variant,
        edge=choice.edge,
        cloud=choice.cloud,
        first_cut=choice.first_cut,
        second_cut=choice.second_cut,
        codecs=list(choice.codecs),
        epoch=plan.epoch,
    )


def _mix(stream: PlannedStream) -> list[MixedPlan] | UnsetType:
    """All plans that it follows, where there are several."""
    if stream.mix is None or len(stream.mix.plans) == 1:
        return UNSET
    return [
        MixedPlan(plan=_followed(plan), share=round(share, 3), latency_seconds=stream.predicted_s.get(as_choice(plan)))
        for plan, share in stream.mix.plans
    ]


def _room(stream: PlannedStream) -> float | UnsetType:
    fps = None if stream.mix is None else stream.mix.frames_per_second
    return UNSET if fps is None else round(fps, 2)


def _deadline(stream: PlannedStream) -> DeadlineKept | None:
    deadline_s, punctuality = stream.goal.deadline_s, stream.punctuality
    if deadline_s is None:
        return None
    return DeadlineKept(
        ms=round(deadline_s * 1e3, 3),
        margin_ms=round(punctuality.margin_s(deadline_s) * 1e3, 3),
        met_share=punctuality.met_share,
        frames=punctuality.counted,
    )


def _predicted(stream: PlannedStream, problem: Problem) -> AnswerForm | UnsetType:
    """What the plan promises and what every frame takes besides, whichever plan it follows."""
    if stream.plan is None:
        return UNSET
    try:
        answer = evaluate(problem, as_choice(stream.plan))
    except SettingsError:  # not possible any more: the reason of a change to come
        return UNSET
    overhead_s = stream.overhead_s or 0.0
    latency_seconds = answer.latency_seconds + overhead_s
    return msgspec.structs.replace(form_of(answer), latency_seconds=latency_seconds, beside_seconds=overhead_s)


def _links(problem: Problem, view: SiteView, now_s: float) -> Iterable[LinkFigures]:
    """The links of the problem, with how sure their figures are."""
    for (start, end), link in problem.links.items():
        estimate = view.estimator(_key(start), _key(end)).estimate(now_s)
        yield LinkFigures(
            start=start,
            end=end,
            latency_seconds=link.latency_seconds,
            mbps=link.mbps,
            mbps_std=estimate.mbps_std,
            latency_std=estimate.latency_std,
            source="measured" if estimate.samples else "guessed",
        )


def _nodes(problem: Problem, view: SiteView) -> Iterable[NodeFigures]:
    for node in problem.nodes:
        known = view.nodes[_key(node.id)]
        yield NodeFigures(
            id=node.id,
            tier=node.tier,
            slowdown=node.slowdown,
            queue_seconds=node.queue_seconds,
            busy=known.busy,
            waiting=known.waiting,
        )


def _key(identity: str) -> NodeKey:
    tier_name, _, name = identity.partition("/")
    tier = known_tier(tier_name)
    assert tier is not None  # noqa: S101 - an id of the coordinator's own problem
    return tier, name


def _warnings(stream: PlannedStream, view: SiteView) -> list[str]:
    """What is odd about nodes, and profiles that are not what is measured."""
    goal = stream.goal
    said = [warning for _, node in sorted(view.nodes.items()) for warning in node.warnings.values()]
    for node in (node for _, node in sorted(view.nodes.items()) if node.online and goal.model in node.profiles):
        said += [f"{node.id}: {each}" for each in node.load.contradictions(node.profiles[goal.model])]
    if not any(True for _ in hops(goal, view)):
        said.append(f"no edge or cloud node has the model '{goal.model_name}': give one its bundle")
    return said
