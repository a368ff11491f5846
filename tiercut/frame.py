"""What happens to a frame next: the whole decision logic of a node, without async, MQTT or ONNX.

A node asks `decide` when a frame arrives and again after each thing it has done with it, until the answer is
`Forward`, `Finish` or `Drop`. The way of a frame through a tier is therefore::

    arrives ──▶ decide ──▶ Run(a, b) ──▶ decide ──▶ Forward to the next tier
                  │                        ├──────▶ Finish: publish the result
                  └──▶ Drop(reason)        └──────▶ Run(b, end): the next tier is gone, go on alone ──▶ Finish
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tiercut.plan import DeliveryMode, Plan, Tier

#: Why frames are dropped: the counters' names and what each means.
DROP_REASONS = {
    "past_deadline": "its deadline passed before the work on it was done",
    "newer_frame": "a newer frame of its stream came while it waited",
    "unknown_model": "the node has no bundle of that identity",
    "bad_cuts": "its plan does not fit the model",
    "misrouted": "it came to a node that its plan does not name, or behind that node's segment",
    "bad_tensors": "its tensors are not those of its cut",
    "segment_failed": "the model's segment raised an error",
    "unreachable": "the next node is not there and this one may not go on alone",
    "refused": "the broker does not take its message",
    "fault": "a fault of tiercut's, with a traceback in the log",
    "lost": "no result and no reason came back in time",
}


@dataclass(frozen=True, slots=True)
class Here:
    """What the node that asks knows of itself.

    Attributes:
        tier: Its tier.
        node: Its id.
        end: Last cut point of the frame's model; ``None`` when the node does not have the model.
        reachable: Whether a node of a tier can be sent to now.
        may_fall_back: Whether it may run the rest of the model when the next node is not reachable.
    """

    tier: Tier
    node: str
    end: int | None
    reachable: Callable[[Tier, str], bool]
    may_fall_back: bool = True


@dataclass(frozen=True, slots=True)
class FrameState:
    """Where a frame is now.

    Attributes:
        plan: The plan it carries.
        cut: Cut point its tensors are alive at.
        delivery: Its stream's delivery mode.
        age_s: Seconds since capture, ``None`` while the offset to the device's clock is unknown.
        deadline_s: Seconds after capture within which a result is of use.
    """

    plan: Plan
    cut: int
    delivery: DeliveryMode
    age_s: float | None = None
    deadline_s: float | None = None


@dataclass(frozen=True, slots=True)
class Run:
    """Run the segment ``[start, stop)``; ``fallback`` says why the node goes on beyond its own part."""

    start: int
    stop: int
    fallback: str | None = None


@dataclass(frozen=True, slots=True)
class Forward:
    """Send it to a node of the next tier, in a codec."""

    tier: Tier
    node: str
    codec: str


@dataclass(frozen=True, slots=True)
class Finish:
    """Its tensors are the model's outputs: publish the result."""


@dataclass(frozen=True, slots=True)
class Drop:
    """There will be no result; ``reason`` is one of `DROP_REASONS`."""

    reason: str
    message: str


Action = Run | Forward | Finish | Drop


def decide(frame: FrameState, here: Here) -> Action:
    """Say what to do next with a frame."""
    if here.end is None:
        return Drop("unknown_model", f"{here.tier} '{here.node}' has no such bundle; put it in its bundles folder")
    if refusal := _refuse(frame, here, here.end):
        return refusal
    if frame.cut == here.end:
        return Finish()
    stop = frame.plan.segment_end(here.tier, here.end)
    if frame.cut < stop:
        return Run(frame.cut, stop)
    return _hand_on(frame, here, here.end)


def _refuse(frame: FrameState, here: Here, end: int) -> Drop | None:
    """The reasons for which a frame goes no further here."""
    plan = frame.plan
    if frame.deadline_s is not None and frame.age_s is not None and frame.age_s > frame.deadline_s:
        return Drop("past_deadline", f"{frame.age_s * 1e3:.0f} ms old, deadline {frame.deadline_s * 1e3:.0f} ms")
    if plan.node(here.tier) != here.node:
        return Drop("misrouted", f"the plan sends it to {here.tier} {plan.node(here.tier)!r}, it came to {here.node!r}")
    if plan.second_cut > end or frame.cut > end:
        return Drop("bad_cuts", f"cuts {plan.first_cut}, {plan.second_cut}, now {frame.cut}; the model ends at {end}")
    if plan.segment_end(here.tier, end) < frame.cut < end:  # at the end it is finished, whoever ran the rest
        return Drop("misrouted", f"it is at cut {frame.cut}, behind the {here.tier}'s segment")
    return None


def _hand_on(frame: FrameState, here: Here, end: int) -> Action:
    """The tier's own part is done and the model is not: to the next tier, or on alone."""
    tier = next(to for start, to in frame.plan.hops if start == here.tier)
    node = frame.plan.node(tier)
    assert node is not None  # noqa: S101 - a hop leads to a tier that has a node
    if here.reachable(tier, node):
        return Forward(tier, node, frame.plan.codec_after(here.tier))
    if here.may_fall_back:
        return Run(frame.cut, end, fallback=f"{tier} '{node}' is not reachable")
    if frame.delivery == "every":  # wait in the bus rather than lose it
        return Forward(tier, node, frame.plan.codec_after(here.tier))
    return Drop("unreachable", f"{tier} '{node}' is not reachable")
