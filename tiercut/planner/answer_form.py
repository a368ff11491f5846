"""An answer of the planner in the form that JSON takes; apart from the planner, as nodes know it without planning."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

from tiercut.planner.answer import Answer, StageKind


class StageForm(msgspec.Struct, frozen=True):
    """A stage of a plan."""

    kind: Annotated[StageKind, Meta(description="return: the result's way back.")]
    where: Annotated[str, Meta(description="Id of a node, or those of a link's ends with an arrow.")]
    seconds: float


class ViolationForm(msgspec.Struct, frozen=True):
    """A limit that a plan does not keep."""

    constraint: str
    limit: int | float | str
    value: int | float | None
    node: Annotated[str | UnsetType, Meta(description="Id of the node whose memory it is.")] = UNSET


class AnswerForm(msgspec.Struct, frozen=True, kw_only=True):
    """What the planner says of one way to run the model; fields as 'tiercut plan --json' prints them."""

    feasible: Annotated[bool, Meta(description="It keeps all limits.")]
    variant: str | None = None
    device: str
    edge: str | None = None
    cloud: str | None = None
    first_cut: int | None = None
    second_cut: int | None = None
    codecs: Annotated[list[str], Meta(description="One per hop.")] = []
    latency_seconds: float | None = None
    accuracy: float | None = None
    energy_joules: float | None = None
    bottleneck_seconds: Annotated[float | None, Meta(description="The longest stage.")] = None
    stages: list[StageForm] = []
    violates: Annotated[list[ViolationForm] | UnsetType, Meta(description="Limits that it does not keep.")] = UNSET
    beside_seconds: Annotated[
        float | UnsetType, Meta(description="What every frame takes besides, whichever plan it follows.")
    ] = UNSET


def form_of(answer: Answer) -> AnswerForm:
    """An answer in the form that JSON takes: what is impossible is null there."""
    choice = answer.choice
    violates = [
        ViolationForm(each.constraint, each.limit, each.value, each.node or UNSET) for each in answer.violates
    ] or UNSET
    if choice is None:
        return AnswerForm(feasible=False, device=answer.device, violates=violates)
    return AnswerForm(
        feasible=answer.feasible,
        variant=choice.variant,
        device=answer.device,
        edge=choice.edge,
        cloud=choice.cloud,
        first_cut=choice.first_cut,
        second_cut=choice.second_cut,
        codecs=list(choice.codecs),
        latency_seconds=answer.latency_seconds,
        accuracy=answer.accuracy,
        energy_joules=answer.energy_joules,
        bottleneck_seconds=answer.longest_stage_seconds,
        stages=[StageForm(each.kind, each.where, each.seconds) for each in answer.stages],
        violates=violates,
    )
