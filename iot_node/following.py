"""From the plans of a message to the ways that a stream's frames take, with what is known of those that stay."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec import structs

from iot_node.sensor_frame import Outbound
from iot_node.ways import Way, Ways, Window
from tiercut.pipeline.window import InFlightWindow
from tiercut.plan import Plan
from tiercut.protocol.frames import MAX_LANES
from tiercut.protocol.stream_settings import StreamSettings


def follow(
    mix: Sequence[tuple[Plan, float]],
    before: Ways | Window,
    *,
    settings: StreamSettings,
    outbound: Callable[..., Outbound],
    reachable: Callable[[Plan], bool],
    now_s: float,
) -> Ways:
    """The plans of a stream from now on.

    What is known of a way that was there before is kept, and its window. A new plan takes over the window of one that
    is left, with its frames in flight, so that no more are in flight than before.

    Args:
        mix: The plans and their shares.
        before: Those before, or the window from before the first.
        settings: The stream's settings.
        outbound: Makes an `Outbound` of ``plan``, ``by_device`` and ``lane``.
        reachable: Whether a plan's nodes are there.
        now_s: Now.
    """
    every = settings.delivery == "every"
    by_device = (settings.ordered or every) if len(mix) > 1 else (settings.ordered and not every)
    left = list(before.ways) if isinstance(before, Ways) else []
    windows = [] if isinstance(before, Ways) else [before]
    same: dict[int, Way] = {}
    for place, (plan, _) in enumerate(mix):
        known = next((each for each in left if same_way(each.plan, plan)), None)
        if known is not None:
            left.remove(known)
            same[place] = known
    windows += [each.window for each in left]
    lanes = {each.lane for each in same.values()}
    free = iter([lane for lane in range(MAX_LANES) if lane not in lanes])
    ways = []
    for place, (plan, share) in enumerate(mix):
        limit = _limit(plan, settings)
        known = same.get(place)
        lane = 0 if len(mix) == 1 else known.lane if known is not None else next(free)
        if known is not None:
            window = known.window
            window.relimit(limit)
        elif windows:
            window = windows.pop(0)
            window.new_way(limit, now_s)
        else:
            window = InFlightWindow(limit=limit, timeout_s=settings.patience_s)
        made = outbound(plan, by_device=by_device, lane=lane)
        way = Way(made, share, lane, window)
        if known is not None and known.is_still_silent:
            way.silent, way.pause_s, way.trial_s = known.silent, known.pause_s, known.trial_s
        ways.append(way)
    leaving = [*(before.leaving if isinstance(before, Ways) else []), *windows]
    return Ways(ways, in_turn=every, reachable=reachable, leaving=[each for each in leaving if len(each)])


def _limit(plan: Plan, settings: StreamSettings) -> int:
    """How many frames of a plan may be in flight: more would wait for each other."""
    most = settings.in_flight
    if plan.deadline is not None and plan.deadline.in_flight is not None:
        most = min(most, plan.deadline.in_flight)
    return most


def same_way(one: Plan, other: Plan) -> bool:
    """Whether frames of both take the same way, so that what is known of one holds for the other."""
    return structs.replace(one, epoch=0, deadline=None) == structs.replace(other, epoch=0, deadline=None)
