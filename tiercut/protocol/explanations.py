"""Why a stream has its plan: retained JSON for people and ``tiercut watch``, and what ``tiercut control`` waits for."""

from __future__ import annotations

import json
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from tiercut.plan import Tier
from tiercut.planner.answer_form import AnswerForm
from tiercut.planner.objectives import named
from tiercut.protocol.nodes import ControlMode

#: Reason of a change that a person wants; ``under_way`` holds it while nodes get ready.
BY_HAND = "given by hand"

#: What a site can be short of.
Resource = Literal["processor", "queue", "line"]

Count = Annotated[int, Meta(ge=0)]
Figure = Annotated[float, Meta(ge=0)]
Share = Annotated[float, Meta(ge=0, le=1)]


class FollowedPlan(msgspec.Struct, frozen=True, kw_only=True):
    """The plan that a stream follows, by the names of its planning problem."""

    variant: Annotated[str, Meta(description="The whole model is 'full', else an early exit or another input size.")]
    edge: str | None
    cloud: str | None
    first_cut: Count
    second_cut: Count
    codecs: Annotated[list[str], Meta(description="One per hop, each with '@' and the cut; 'raw' for none.")]
    epoch: Count


class MixedPlan(msgspec.Struct, frozen=True, kw_only=True):
    """One of several plans that a stream's frames follow at the same time."""

    plan: FollowedPlan
    share: Annotated[Share, Meta(description="Part of the stream's frames that follow it.")]
    latency_seconds: Annotated[Figure | None, Meta(description="What it promises; null where that is unknown.")]


class PlanChange(msgspec.Struct, frozen=True):
    """A change of plan."""

    epoch: Count
    reason: str


class DeadlineKept(msgspec.Struct, frozen=True, kw_only=True):
    """A stream's deadline, and how many frames of the plan have met it."""

    ms: Figure
    margin_ms: Annotated[float, Meta(ge=0, description="What plans keep free of it.")]
    met_share: Annotated[Share | None, Meta(description="Null before the first frame.")]
    frames: Annotated[Count, Meta(description="Frames that the share rests on.")]


class LinkFigures(msgspec.Struct, frozen=True, kw_only=True, rename={"start": "from", "end": "to"}):
    """A link."""

    start: Annotated[str, Meta(description="Id of the sender.")]
    end: Annotated[str, Meta(description="Id of the receiver.")]
    latency_seconds: Figure
    mbps: Figure
    mbps_std: Figure
    latency_std: Figure
    source: Annotated[Literal["measured", "guessed"], Meta(description="Whether anything has crossed it.")]


class NodeFigures(msgspec.Struct, frozen=True, kw_only=True):
    """A node."""

    id: str
    tier: Tier
    slowdown: Annotated[float, Meta(gt=0, description="Times as slow as its profile says.")]
    queue_seconds: Figure
    busy: Annotated[float, Meta(description="Part of its threads' time that was used lately.")]
    waiting: Annotated[float, Meta(description="Frames that wait there.")]


class Shortage(msgspec.Struct, frozen=True, kw_only=True):
    """What there is too little of for a stream, where no plan does without."""

    limit: Annotated[
        Literal["rate", "deadline", "latency"],
        Meta(description="What does not hold: the sensor's rate, the stream's deadline, or what its plan promised."),
    ]
    resource: Resource
    where: Annotated[str, Meta(description="Id of the node, or both ids of the line with an arrow.")]
    needed_seconds: Annotated[
        float, Meta(ge=0, description="Rate: what a frame takes of it. Deadline, latency: what the whole way takes.")
    ]
    available_seconds: Annotated[
        float,
        Meta(
            ge=0,
            description="Rate: the time between two frames. Deadline: what is left of it without the margin. Latency: "
            "what the plan promised.",
        ),
    ]
    factor: Annotated[float, Meta(ge=0, description="The first by the second.")]
    message: str


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """Why a stream has its plan, and what is known of its nodes and links."""

    stream: str
    objective: Annotated[str, Meta(description=f"{named()}.")]
    control: ControlMode
    control_id: Annotated[str, Meta(description="The id of the control that this follows.")]
    control_trouble: Annotated[str | None, Meta(description="Why the person's command is not carried out.")]
    under_way: Annotated[str | None, Meta(description="Reason of a change whose nodes get ready.")]
    plan: FollowedPlan | None
    trouble: Annotated[str | None, Meta(description="Why there is no plan, or no better one.")]
    warnings: list[str]
    measured_ms: Annotated[float | None, Meta(description="Typical latency of this plan's frames.")]
    frames_per_second: Figure
    deadline: DeadlineKept | None
    exits: Annotated[dict[str, Share], Meta(description="Share of frames that left at each exit.")]
    changes: list[PlanChange]
    short: Annotated[Shortage | UnsetType | None, Meta(description="Null while the plan does what it is to do.")] = (
        UNSET
    )
    asked_frames_per_second: Annotated[
        Figure | UnsetType | None, Meta(description="What the sensor gives; null where that is as many as are taken.")
    ] = UNSET
    mix: Annotated[
        list[MixedPlan] | UnsetType, Meta(description="All plans that its frames follow, where there are several.")
    ] = UNSET
    room_frames_per_second: Annotated[
        Figure | UnsetType, Meta(description="What a full site has room for; left out where that is all.")
    ] = UNSET
    best: AnswerForm | UnsetType = UNSET
    alternatives: Annotated[
        dict[str, AnswerForm] | UnsetType,
        Meta(description="Plainer ways to run the model, and what they would take."),
    ] = UNSET
    links: list[LinkFigures] | UnsetType = UNSET
    nodes: list[NodeFigures] | UnsetType = UNSET
    predicted: Annotated[
        AnswerForm | UnsetType, Meta(description="What the plan that is followed takes, by today's figures.")
    ] = UNSET


def encode_explanation(explanation: Explanation) -> bytes:
    """Its JSON.

    Raises:
        ValueError: a figure is not finite.
    """
    document = msgspec.to_builtins(explanation)
    return json.dumps(document, separators=(",", ":"), allow_nan=False).encode()
