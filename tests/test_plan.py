"""A plan holds together, and knows who runs what."""

import math

import pytest

from tiercut.errors import SettingsError
from tiercut.plan import Deadline, Plan


def three_tiers(**changes: object) -> Plan:
    fields: dict[str, object] = {
        "epoch": 1,
        "first_cut": 3,
        "second_cut": 5,
        "device": "d",
        "edge": "e",
        "cloud": "c",
        "codecs": ("int8", "fp16"),
    }
    return Plan(**{**fields, **changes})  # type: ignore[arg-type]


def test_each_tier_runs_to_its_own_cut() -> None:
    plan = three_tiers()
    assert [plan.segment_end(tier, 9) for tier in ("device", "edge", "cloud")] == [3, 5, 9]


def test_codec_belongs_to_the_hop_that_leaves_a_tier() -> None:
    plan = three_tiers()
    assert plan.codec_after("device") == "int8"
    assert plan.codec_after("edge") == "fp16"


def test_edge_runs_to_the_end_when_no_cloud_takes_part() -> None:
    plan = three_tiers(cloud=None, second_cut=9, codecs=("raw",))
    assert plan.hops == (("device", "edge"),)
    assert plan.segment_end("edge", 9) == 9


def test_device_alone_has_no_hop_and_runs_everything() -> None:
    plan = three_tiers(edge=None, cloud=None, first_cut=9, second_cut=9, codecs=())
    assert plan.hops == ()
    assert plan.segment_end("device", 9) == 9


def test_device_may_send_straight_to_the_cloud() -> None:
    plan = three_tiers(edge=None, first_cut=4, second_cut=4, codecs=("raw",))
    assert plan.hops == (("device", "cloud"),)
    assert plan.segment_end("device", 9) == 4


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"first_cut": 6}, "first_cut <= second_cut"),
        ({"epoch": -1}, "epoch"),
        ({"codecs": ("raw",)}, "one codec per hop, 2"),
        ({"edge": None, "codecs": ("raw",)}, "no edge"),
    ],
)
def test_plan_that_does_not_hold_together_is_refused(changes: dict[str, object], word: str) -> None:
    with pytest.raises(SettingsError, match=word):
        three_tiers(**changes)


def test_plan_past_the_models_end_is_refused() -> None:
    with pytest.raises(SettingsError, match="<= 4"):
        three_tiers().check_fits(4, model="m")


def test_plan_without_a_cloud_must_reach_the_end_before_it() -> None:
    plan = three_tiers(cloud=None, codecs=("raw",))
    with pytest.raises(SettingsError, match="no cloud node takes part"):
        plan.check_fits(9, model="m")


@pytest.mark.parametrize(
    ("drop", "age_s", "due"),
    [
        (True, 0.0, 0.06),
        (True, 0.07, 0.06),  # it takes most of its time, and can make it yet
        (True, 0.15, math.inf),  # nobody can help it
        (False, 0.0, math.inf),  # results are published however late they are
    ],
)
def test_frame_is_in_a_hurry_until_it_cannot_make_its_deadline(drop: bool, age_s: float, due: float) -> None:
    deadline = Deadline(seconds=0.3, drop=drop, rest_s=(0.18, 0.16))
    plan = Plan(epoch=1, first_cut=0, second_cut=5, device="d", edge="e", codecs=("raw",), deadline=deadline)
    assert plan.due_still_s("edge", plan.due_s("edge", 0.3, 0.0), age_s) == pytest.approx(due)


def test_frame_that_only_passes_is_due_at_once_however_old() -> None:
    assert three_tiers().due_still_s("edge", -math.inf, 9.0) == -math.inf
