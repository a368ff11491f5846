"""What happens to a frame next: the whole decision logic of a node, without async, MQTT or ONNX.

A node asks `decide` when a frame arrives and again after each thing it has done with it, until the answer is
`Forward`, `Finish` or `Drop`. The way of a frame through a tier is therefore::

    arrives ──▶ decide ──▶ Run(a, b) ──▶ decide ──▶ Forward to the next tier
                  │                        ├──────▶ Finish: publish the result
                  │                        ├──────▶ TryExit(name) ──▶ decide: sure enough? Finish, else on
                  │                        └──────▶ Run(b, end): the next tier is gone, go on alone ──▶ Finish
                  ├──▶ LookUp ──▶ decide: is the answer known? Finish (or Wait for those before it), else Run
                  └──▶ Drop(reason)
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from tiercut.plan import DeliveryMode, Plan, Tier


class Here(Struct, frozen=True):
    """What the node that asks knows of itself.

    Attributes:
        tier: Its tier.
        node: Its id.
        end: Last cut point of the frame's variant; ``None`` when the node does not have the model.
        exits: Cuts and names of the early exits before that end, from the first to the last.
        variant_known: The model has the frame's variant.
        reachable: Whether a node of a tier can be sent to now.
        may_fall_back: Whether it may run the rest of the model when the next node is not reachable.
        remembers: It has cached answers, for frames that are like an earlier one.
    """

    tier: Tier
    node: str
    end: int | None
    reachable: Callable[[Tier, str], bool]
    may_fall_back: bool = True
    exits: tuple[tuple[int, str], ...] = ()
    variant_known: bool = True
    remembers: bool = False


class FrameState(Struct, frozen=True):
    """Where a frame is now.

    Attributes:
        plan: The plan it carries.
        cut: Cut point its tensors are alive at.
        delivery: Its stream's delivery mode.
        age_s: Seconds since capture, ``None`` while the offset to the device's clock is unknown, or where there is no
            deadline.
        deadline_s: Seconds after capture within which a result is of use.
        came_at: Cut at which it reached this node.
        tried: Cut of the last exit that was tried; where a frame arrives, its sender has tried.
        left: It leaves at an exit that was sure enough.
        alone: This node does more than its part, as the next one is gone.
        looked_up: This node has looked for a cached answer.
        known: It has one.
        overtakes: Earlier frames of its stream that this node has sent on have no outcome yet.
    """

    plan: Plan
    cut: int
    delivery: DeliveryMode
    age_s: float | None = None
    deadline_s: float | None = None
    came_at: int | None = None
    tried: int = 0
    left: bool = False
    alone: bool = False
    looked_up: bool = False
    known: bool = False
    overtakes: bool = False


class LookUp(Struct, frozen=True):
    """Look for the cached answer of a frame like it."""


class Wait(Struct, frozen=True):
    """Its cached answer may not be published before the outcomes of the frames ahead of it."""


class Run(Struct, frozen=True):
    """Run the segment ``[start, stop)``; ``fallback`` says why the node goes on beyond its own part."""

    start: int
    stop: int
    fallback: str | None = None


class TryExit(Struct, frozen=True):
    """Run the head of an early exit on the tensor alive now, and see whether it is sure enough."""

    name: str


class Forward(Struct, frozen=True):
    """Send it to a node of the next tier, in a codec."""

    tier: Tier
    node: str
    codec: str


class Finish(Struct, frozen=True):
    """Its tensors are the model's outputs, or those of the exit it leaves at, or its answer is known: publish it."""


class Drop(Struct, frozen=True):
    """There will be no result; ``reason`` is one of `drop_reasons.DROP_REASONS`."""

    reason: str
    message: str


Action = LookUp | Wait | Run | TryExit | Forward | Finish | Drop


def decide(frame: FrameState, here: Here) -> Action:
    """Say what to do next with a frame."""
    if here.end is None:
        return Drop("unknown_model", f"{here.tier} '{here.node}' has no such bundle; put it in its bundles folder")
    if refusal := _refuse(frame, here, here.end):
        return refusal
    if frame.known or frame.left or frame.cut == here.end:
        waits = frame.known and frame.overtakes and not _cut_off(frame, here)
        return Wait() if waits else Finish()
    return LookUp() if here.remembers and _may_look_up(frame, here) else _work_on(frame, here, here.end)


def _work_on(frame: FrameState, here: Here, end: int) -> Action:
    """What is next for a frame that is not done."""
    if frame.plan.threshold is not None and frame.tried < frame.cut and (exits := dict(here.exits)).get(frame.cut):
        return TryExit(exits[frame.cut])
    stop = end if frame.alone else frame.plan.segment_end(here.tier, end)
    if frame.cut < stop:
        return Run(frame.cut, _next_exit(frame, here, stop))
    return _hand_on(frame, here, end)


def _next_exit(frame: FrameState, here: Here, stop: int) -> int:
    """Where to stop: at the end of the segment, or at an exit before it."""
    if frame.plan.threshold is None:
        return stop
    return min((cut for cut, _ in here.exits if frame.cut < cut < stop), default=stop)


def _refuse(frame: FrameState, here: Here, end: int) -> Drop | None:
    """The reasons for which a frame goes no further here."""
    plan = frame.plan
    if not here.variant_known:
        return Drop("unknown_variant", f"the model has no variant '{plan.exit}'; give all nodes the same bundle")
    if plan.node(here.tier) != here.node:
        return Drop("misrouted", f"the plan sends it to {here.tier} {plan.node(here.tier)!r}, it came to {here.node!r}")
    if frame.deadline_s is not None and (late := _late(frame, here)):
        return late
    if plan.second_cut > end or frame.cut > end:
        return Drop("bad_cuts", f"cuts {plan.first_cut}, {plan.second_cut}, now {frame.cut}; the model ends at {end}")
    if plan.segment_end(here.tier, end) < frame.cut < end and not frame.alone:
        return Drop("misrouted", f"it is at cut {frame.cut}, behind the {here.tier}'s segment")
    return None


def _late(frame: FrameState, here: Here) -> Drop | None:
    """Whether a frame has missed its deadline, or cannot make it any more: more work on it would be wasted."""
    if frame.deadline_s is None:
        return None
    keeps = frame.plan.deadline is None or frame.plan.deadline.drop
    if frame.age_s is None or not keeps:
        return None
    ages = f"{frame.age_s * 1e3:.0f} ms old, deadline {frame.deadline_s * 1e3:.0f} ms"
    if frame.age_s > frame.deadline_s:
        return Drop("past_deadline", ages)
    untouched = frame.cut == frame.came_at and not (frame.left or frame.known or _may_look_up(frame, here))
    rest_s = frame.plan.rest_s(here.tier) if untouched else 0.0
    if frame.age_s + rest_s > frame.deadline_s:
        return Drop("too_late", f"{ages}, at least {rest_s * 1e3:.0f} ms to go")
    return None


def _may_look_up(frame: FrameState, here: Here) -> bool:
    """A frame is looked up as it comes, once."""
    return here.remembers and not frame.looked_up and frame.cut == frame.came_at


def _cut_off(frame: FrameState, here: Here) -> bool:
    """Whether the next node is gone: when its frames will have outcomes is unknown."""
    return not all(here.reachable(*_named(frame, to)) for start, to in frame.plan.hops if start == here.tier)


def _named(frame: FrameState, tier: Tier) -> tuple[Tier, str]:
    """A tier that a hop of the plan leads to, and the node there."""
    node = frame.plan.node(tier)
    assert node is not None  # noqa: S101 - a hop leads to a tier that has a node
    return tier, node


def _hand_on(frame: FrameState, here: Here, end: int) -> Action:
    """The tier's own part is done and the model is not: to the next tier, or on alone."""
    tier, node = _named(frame, frame.plan.next_tier(here.tier))
    if here.reachable(tier, node):
        return Forward(tier, node, frame.plan.codec_after(here.tier))
    if here.may_fall_back:
        return Run(frame.cut, _next_exit(frame, here, end), fallback=f"{tier} '{node}' is not reachable")
    if frame.delivery == "every":  # wait in the bus rather than lose it
        return Forward(tier, node, frame.plan.codec_after(here.tier))
    return Drop("unreachable", f"{tier} '{node}' is not reachable")
