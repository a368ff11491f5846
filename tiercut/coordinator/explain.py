"""Why a stream has its plan: one JSON document for people and ``tiercut watch``."""

from __future__ import annotations

import contextlib
from typing import Any

from tiercut.coordinator.problem import as_choice, hops
from tiercut.coordinator.site_view import SiteView
from tiercut.coordinator.stream import PlannedStream
from tiercut.errors import SettingsError
from tiercut.planner import alternatives, evaluate

#: Exits at which fewer leave are not shown.
MIN_SHARE = 0.001
#: Changes shown.
SHOWN = 5
#: Reason of a change that a person wants; ``under_way`` says it while nodes get ready.
BY_HAND = "given by hand"


def explanation(
    stream: PlannedStream, view: SiteView, problem: dict[str, Any] | None, best: dict[str, Any] | None, now_s: float
) -> dict[str, Any]:
    """What is known of a stream, its nodes and links, and what its plan is compared with.

    Args:
        stream: The stream.
        view: Its site.
        problem: The planning problem now, ``None`` while there is none.
        best: The planner's answer to it.
        now_s: When.
    """
    goal, plan = stream.goal, stream.plan
    document: dict[str, Any] = {
        "stream": goal.name,
        "objective": goal.objective,
        "control": stream.control.mode,
        "control_id": stream.control.id,
        "control_trouble": stream.trouble if stream.control.mode != "auto" and stream.pending is None else None,
        "under_way": None if stream.pending is None else stream.pending.reason,
        "plan": None if plan is None else as_choice(plan) | {"epoch": plan.epoch},
        "trouble": stream.trouble or stream.given_up,
        "warnings": _warnings(stream, view),
        "measured_ms": None if stream.measured_s is None else round(stream.measured_s * 1e3, 3),
        "frames_per_second": round(stream.rate(now_s), 2),
        "deadline": _deadline(stream),
        "exits": {name: round(share, 4) for name, share in sorted(stream.exits.items()) if share >= MIN_SHARE},
        "changes": stream.history[-SHOWN:],
    }
    if problem is None:
        return document
    document |= {"best": best, "alternatives": alternatives(problem)}
    document["links"] = [_link(link, view, now_s) for link in problem["links"]]
    document["nodes"] = [_node(node, view) for node in problem["nodes"]]
    if plan is not None:
        with contextlib.suppress(SettingsError):  # not possible any more: the reason of a change to come
            document["predicted"] = _predicted(evaluate(problem, as_choice(plan)), stream.beside_s or 0.0)
    return document


def _deadline(stream: PlannedStream) -> dict[str, Any] | None:
    """The stream's deadline, and how many frames of the plan have met it."""
    deadline_s, punctuality = stream.goal.deadline_s, stream.punctuality
    if deadline_s is None:
        return None
    return {
        "ms": round(deadline_s * 1e3, 3),
        "margin_ms": round(punctuality.margin_s(deadline_s) * 1e3, 3),
        "met_share": punctuality.met_share,
        "frames": punctuality.counted,
    }


def _predicted(answer: dict[str, Any], beside_s: float) -> dict[str, Any]:
    """What the plan promises and what every frame takes besides, whichever plan it follows."""
    return answer | {"latency_seconds": answer["latency_seconds"] + beside_s, "beside_seconds": beside_s}


def _link(link: dict[str, Any], view: SiteView, now_s: float) -> dict[str, Any]:
    """A link of the problem, with how sure its figures are."""
    sender, receiver = (_key(link[end]) for end in ("from", "to"))
    estimate = view.estimator(sender, receiver).estimate(now_s)
    return link | {
        "mbps_std": estimate.mbps_std,
        "latency_std": estimate.latency_std,
        "source": "measured" if estimate.samples else "guessed",
    }


def _node(node: dict[str, Any], view: SiteView) -> dict[str, Any]:
    known = view.nodes[_key(node["id"])]
    return {k: node[k] for k in ("id", "tier", "slowdown", "queue_seconds")} | {
        "busy": known.busy,
        "waiting": known.waiting,
    }


def _key(identity: str) -> Any:
    tier, _, name = identity.partition("/")
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
