"""What holds of the coordinator's state after every event; tests check it after each."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from tiercut.coordinator.site_view import SiteView
from tiercut.coordinator.stream import HISTORY, PlannedStream


def validate(streams: Mapping[str, PlannedStream], view: SiteView) -> None:
    """Check it.

    Raises:
        AssertionError: says what does not hold.
    """
    for name, stream in streams.items():
        for holds, rule in (*_of_plans(stream), *_of_figures(stream), (stream.goal.name == name, "kept by its name")):
            if not holds:
                raise AssertionError(f"stream '{name}': {rule}")
    for key, node in view.nodes.items():
        if node.key != key:
            raise AssertionError(f"node {key}: kept by its tier and name, not as {node.key}")


def _of_plans(stream: PlannedStream) -> Iterable[tuple[bool, str]]:
    pending, plan = stream.pending, stream.plan
    if pending is not None:
        epoch = 0 if plan is None else plan.epoch
        yield pending.plan.epoch > epoch, f"a change to plan {pending.plan.epoch} follows plan {epoch}"
        yield bool(pending.waiting) or pending.together_s is not None, "a change waits for somebody"
        yield (
            set(pending.waiting) <= pending.mix.nodes,
            f"a change waits for nodes of its plans: {set(pending.waiting)}",
        )
    if plan is None:
        yield stream.trial is None, "without a plan nothing is on trial"
        yield stream.proved is None, "without a plan none has proved itself"
        yield stream.short is None, "without a plan nothing is short of it"
    yield len(stream.history) <= HISTORY, f"at most {HISTORY} changes are kept"


def _of_figures(stream: PlannedStream) -> Iterable[tuple[bool, str]]:
    yield 0 <= stream.frames_per_second < math.inf, f"a rate, not {stream.frames_per_second}"
    for where, part in stream.taken.items():
        yield 0 <= part < math.inf, f"takes a part of {where}, not {part}"
    shares = sum(stream.exits.values())
    yield not stream.exits or abs(shares - 1) < 1e-6, f"shares of exits add up to 1, not {shares}"  # noqa: PLR2004 - rounding
