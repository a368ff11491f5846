"""What happens to a frame next: events in, actions out."""

from collections.abc import Callable

import pytest
from msgspec import structs

from tiercut.pipeline.decide import Drop, Finish, Forward, FrameState, Here, Run, TryExit, decide
from tiercut.plan import Deadline, DeliveryMode, Plan, Tier
from tiercut.protocol.drop_reasons import DROP_REASONS

END = 9
PLAN = Plan(epoch=1, first_cut=3, second_cut=5, device="d", edge="e", cloud="c", codecs=("int8", "fp16"))


def everywhere(_tier: Tier, _node: str) -> bool:
    return True


def nowhere(_tier: Tier, _node: str) -> bool:
    return False


def at(
    tier: Tier,
    node: str,
    *,
    end: int | None = END,
    reachable: Callable[[Tier, str], bool] = everywhere,
    may_fall_back: bool = True,
) -> Here:
    return Here(tier=tier, node=node, end=end, reachable=reachable, may_fall_back=may_fall_back)


def frame(cut: int, *, plan: Plan = PLAN, delivery: DeliveryMode = "latest", age_s: float | None = None) -> FrameState:
    return FrameState(plan=plan, cut=cut, delivery=delivery, age_s=age_s, deadline_s=1.0)


def test_frame_passes_through_three_tiers() -> None:
    assert decide(frame(0), at("device", "d")) == Run(0, 3)
    assert decide(frame(3), at("device", "d")) == Forward("edge", "e", "int8")
    assert decide(frame(3), at("edge", "e")) == Run(3, 5)
    assert decide(frame(5), at("edge", "e")) == Forward("cloud", "c", "fp16")
    assert decide(frame(5), at("cloud", "c")) == Run(5, END)
    assert decide(frame(END), at("cloud", "c")) == Finish()


def test_device_with_nothing_to_run_forwards_the_raw_frame() -> None:
    plan = Plan(epoch=1, first_cut=0, second_cut=5, device="d", edge="e", cloud="c", codecs=("jpeg", "raw"))
    assert decide(frame(0, plan=plan), at("device", "d")) == Forward("edge", "e", "jpeg")


def test_edge_with_an_empty_segment_relays() -> None:
    plan = Plan(epoch=1, first_cut=3, second_cut=3, device="d", edge="e", cloud="c", codecs=("raw", "raw"))
    assert decide(frame(3, plan=plan), at("edge", "e")) == Forward("cloud", "c", "raw")


def test_frame_at_the_models_end_is_finished_wherever_it_is() -> None:
    plan = Plan(epoch=1, first_cut=END, second_cut=END, device="d", edge="e", cloud="c", codecs=("raw", "raw"))
    assert decide(frame(END, plan=plan), at("device", "d")) == Finish()


def test_node_goes_on_alone_when_the_next_one_is_gone() -> None:
    action = decide(frame(5), at("edge", "e", reachable=nowhere))
    assert action == Run(5, END, fallback="cloud 'c' is not reachable")
    assert decide(frame(END), at("edge", "e", reachable=nowhere)) == Finish()


def test_latest_frame_is_dropped_when_the_node_may_not_go_on_alone() -> None:
    action = decide(frame(5), at("edge", "e", reachable=nowhere, may_fall_back=False))
    assert isinstance(action, Drop)
    assert action.reason == "unreachable"


def test_every_frame_waits_for_the_next_node_rather_than_being_lost() -> None:
    action = decide(frame(5, delivery="every"), at("edge", "e", reachable=nowhere, may_fall_back=False))
    assert action == Forward("cloud", "c", "fp16")


@pytest.mark.parametrize(
    ("state", "here", "reason"),
    [
        (frame(3, age_s=1.5), at("edge", "e"), "past_deadline"),
        (frame(3), at("edge", "e", end=None), "unknown_model"),
        (frame(3), at("edge", "another"), "misrouted"),
        (frame(5), at("device", "d"), "misrouted"),
        (frame(3), at("edge", "e", end=4), "bad_cuts"),
    ],
)
def test_frame_is_dropped_with_its_reason(state: FrameState, here: Here, reason: str) -> None:
    action = decide(state, here)
    assert isinstance(action, Drop)
    assert action.reason == reason
    assert action.reason in DROP_REASONS
    assert action.message


def test_age_that_is_not_known_drops_nothing() -> None:
    assert decide(frame(3, age_s=None), at("edge", "e")) == Run(3, 5)


EXITS = ((2, "early"), (3, "middle"), (7, "late"))
LEAVING = structs.replace(PLAN, threshold=0.9)


def with_exits(tier: Tier, node: str, *, reachable: Callable[[Tier, str], bool] = everywhere) -> Here:
    return structs.replace(at(tier, node, reachable=reachable), exits=EXITS)


def test_exits_on_the_way_are_tried_where_their_tensor_is_made() -> None:
    device, state = with_exits("device", "d"), frame(0, plan=LEAVING)
    assert decide(state, device) == Run(0, 2)
    assert decide(structs.replace(state, cut=2), device) == TryExit("early")
    assert decide(structs.replace(state, cut=2, tried=2), device) == Run(2, 3)
    assert decide(structs.replace(state, cut=3, tried=2), device) == TryExit("middle")
    assert decide(structs.replace(state, cut=3, tried=3), device) == Forward("edge", "e", "int8")


def test_exit_that_the_sender_has_tried_is_not_tried_again() -> None:
    assert decide(structs.replace(frame(3, plan=LEAVING), tried=3), with_exits("edge", "e")) == Run(3, 5)


def test_frame_that_leaves_is_finished_wherever_it_is() -> None:
    assert decide(structs.replace(frame(2, plan=LEAVING), left=True), with_exits("device", "d")) == Finish()


def test_without_a_threshold_no_exit_is_tried() -> None:
    assert decide(frame(0), with_exits("device", "d")) == Run(0, 3)


def test_node_that_goes_on_alone_tries_the_exits_behind_its_segment() -> None:
    edge = with_exits("edge", "e", reachable=nowhere)
    assert decide(structs.replace(frame(5, plan=LEAVING), tried=3), edge) == Run(
        5, 7, fallback="cloud 'c' is not reachable"
    )
    alone = structs.replace(frame(7, plan=LEAVING), alone=True, tried=3)
    assert decide(alone, edge) == TryExit("late")
    assert decide(structs.replace(alone, tried=7), edge) == Run(7, END)


DUE = structs.replace(PLAN, deadline=Deadline(seconds=1.0, rest_s=(0.6, 0.4, 0.1)))


@pytest.mark.parametrize(("age_s", "reason"), [(0.5, None), (0.65, "too_late"), (1.1, "past_deadline")])
def test_frame_that_cannot_make_it_any_more_is_dropped_when_it_arrives(age_s: float, reason: str | None) -> None:
    state = structs.replace(frame(3, plan=DUE, age_s=age_s), came_at=3)
    action = decide(state, at("edge", "e"))
    assert action == Run(3, 5) if reason is None else isinstance(action, Drop) and action.reason == reason


def test_work_that_was_done_counts_no_more_to_what_is_left() -> None:
    state = structs.replace(frame(5, plan=DUE, age_s=0.65), came_at=3)
    assert decide(state, at("edge", "e")) == Forward("cloud", "c", "fp16")


def test_plan_that_cannot_make_it_delivers_late_results() -> None:
    late = structs.replace(PLAN, deadline=Deadline(seconds=1.0, drop=False))
    assert decide(frame(3, plan=late, age_s=5.0), at("edge", "e")) == Run(3, 5)


def test_unknown_variant_is_dropped_with_its_name() -> None:
    action = decide(
        frame(0, plan=structs.replace(PLAN, exit="early")), structs.replace(at("device", "d"), variant_known=False)
    )
    assert isinstance(action, Drop)
    assert action.reason == "unknown_variant"
    assert "'early'" in action.message
