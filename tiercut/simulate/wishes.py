"""What a scenario's stream may give away: exits of its network, and what codecs cost in accuracy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Annotated

import msgspec
from msgspec import Meta

from tiercut.coordinator.stream_goal import StreamGoal
from tiercut.model.cuts import CutPoint
from tiercut.model.preprocess import FrameSpec
from tiercut.model.variants import ExitSpec, OutputSpec, Variant, exit_variant
from tiercut.plan import FULL, Plan
from tiercut.planner.problem import Amount, Share, Text
from tiercut.profiling.codec_table import CodecRow, CodecTable
from tiercut.profiling.profile import Profile
from tiercut.simulate.site import SimNode
from tiercut.simulate.traces import READER

#: Bytes of the answer of an exit.
ANSWER_BYTES = 4000


class ExitForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``exits[]``: a head behind a cut, on the device so slow and elsewhere as much faster as that node is."""

    name: Text
    cut: Annotated[int, Meta(ge=1, description="a whole number, at least 1")]
    accuracy: Share
    head_seconds: Amount = 0.0


class CodecForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``codecs[]``: what a codec of the profile costs, wherever it is used."""

    name: Text
    accuracy_drop: Share


def check_exits(exits: Sequence[ExitForm], end: int) -> None:
    """Refuse exits that a network with that last cut cannot have.

    Raises:
        SettingsError: names the field.
    """
    seen = {FULL}
    for index, each in enumerate(exits):
        READER.once(each.name, seen, f"exits[{index}].name")
        if each.cut >= end:
            READER.refuse(f"exits[{index}].cut", f"a cut of 1 to {end - 1}", each.cut)


def with_exits(nodes: Iterable[SimNode], exits: Sequence[ExitForm]) -> list[SimNode]:
    """The nodes with the seconds of each exit in their profiles."""
    nodes = list(nodes)
    device_s = next((node.profile.cut_seconds[-1] for node in nodes if node.tier == "device"), 0.0)

    def chain(profile: Profile, each: ExitForm) -> tuple[float, ...]:
        before = profile.cut_seconds[: each.cut + 1]
        slower = profile.cut_seconds[-1] / device_s if device_s else 1.0
        return *before, before[-1] + each.head_seconds * slower

    def profile_of(profile: Profile) -> Profile:
        return replace(profile, variants={each.name: chain(profile, each) for each in exits})

    return [replace(node, profile=profile_of(node.profile)) for node in nodes] if exits else nodes


def variants_of(cuts: tuple[CutPoint, ...], exits: Sequence[ExitForm], accuracy: float) -> tuple[Variant, ...]:
    """The exits as a model has them."""
    trunk = Variant(name=FULL, cuts=cuts, outputs=(), frame=FrameSpec(), accuracy=accuracy, graph="")
    return tuple(exit_variant(_spec(each), trunk) for each in exits)


def accuracy_of(goal: StreamGoal, plan: Plan) -> float:
    """What a result of a plan is worth: its variant's accuracy, without what its codecs cost."""
    variant = goal.variant(plan.exit)
    accuracy = goal.accuracy if variant is None or variant.accuracy is None else variant.accuracy
    rows = () if goal.table is None else goal.table.rows
    drops = {(row.codec, row.cut): row.accuracy_drop for row in rows}
    cuts = {"device": plan.first_cut, "edge": plan.second_cut}
    used = zip(plan.codecs, plan.hops, strict=True)
    return accuracy - sum(drops.get((codec, cuts[start]), 0.0) for codec, (start, _) in used)


def _spec(each: ExitForm) -> ExitSpec:
    output = OutputSpec(each.name, (ANSWER_BYTES,), "uint8", "as-is")
    return ExitSpec(name=each.name, cut=each.cut, output=output, after="", macs=0, parameters=0, accuracy=each.accuracy)


def table_of(profile: Profile, known: Mapping[str, float], said: Sequence[CodecForm]) -> CodecTable | None:
    """What codecs cost, as the hub would have measured it; ``None`` where none costs anything.

    Args:
        profile: Its codecs.
        known: What codecs cost, by name.
        said: The same in place of that.

    Raises:
        SettingsError: the profile has no such codec.
    """
    names, seen = sorted({point.codec for point in profile.codecs}), set[str]()
    for index, each in enumerate(said):
        READER.once(each.name, seen, f"codecs[{index}].name")
        if each.name not in names:
            READER.refuse(f"codecs[{index}].name", f"one of {', '.join(names) or 'none'}", each.name)
    drops = {**known, **{each.name: each.accuracy_drop for each in said}}
    if not any(drops.values()):
        return None
    rows = [
        CodecRow(
            codec=point.codec,
            cut=point.cut,
            bytes=point.bytes,
            encode_seconds=point.encode_seconds,
            decode_seconds=point.decode_seconds,
            accuracy_drop=drops.get(point.codec, 0.0),
        )
        for point in profile.codecs
    ]
    return CodecTable(
        model=profile.model,
        model_name=profile.model_name,
        rows=tuple(rows),
        frames=1,
        reference="agreement",
        accuracy=1.0,
        date="",
        machine=profile.machine,
    )
