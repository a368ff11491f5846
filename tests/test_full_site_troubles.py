"""What goes wrong in a full site, and whatever happens: every stream has plans that hold together."""

from __future__ import annotations

import random

import pytest

from tests.coordinating import Checked, Told, goal
from tests.full_sites import FULL, crowd, rates, works
from tiercut.coordinator.actions import Action, Prepare
from tiercut.coordinator.changes import TOGETHER_S
from tiercut.coordinator.events import ControlHeard, StreamUnwanted, StreamWanted
from tiercut.coordinator.site.lines import line_of
from tiercut.protocol.nodes import ControlMode, StatusTier, StreamControl


def check_mixes(told: Told) -> None:
    """What holds of them whatever happens."""
    for name, mix in told.mixes.items():
        assert sum(share for _, share in mix.plans) == pytest.approx(1)
        assert len({plan.epoch for plan, _ in mix.plans}) == 1
        assert {plan.device for plan, _ in mix.plans} == {f"d{name[3:]}"}
        assert mix.frames_per_second is None or mix.frames_per_second > 0


@pytest.mark.parametrize("seed", range(3))
def test_whatever_happens_every_stream_has_plans_that_hold_together(
    seed: int, caplog: pytest.LogCaptureFixture
) -> None:
    draw = random.Random(seed)  # noqa: S311 - a course of events, repeatable
    uplink = line_of("uplink", ["device -> cloud", "edge -> cloud"], 2.0)
    told = crowd(4, told=Told(coordinator=Checked(lines=[uplink])), cloud=True)
    told.node("edge", "f", 0.2)
    there: dict[StatusTier, set[str]] = {"edge": {"e", "f"}, "cloud": {"c"}}
    for _ in range(40):
        happens = draw.choice(["frames"] * 4 + ["gone", "back", "slow", "line", "refuses", "hand", "auto", "silence"])
        tier: StatusTier = draw.choice(["edge", "cloud"])
        node = draw.choice(sorted(there[tier]))
        if happens == "frames":
            works(told, draw.choice([0.5, 2.0]), 4, asked_fps=draw.choice([1.0, 10.0, 40.0]))
        elif happens in {"gone", "back"}:
            told.status(tier, node, state="offline" if happens == "gone" else "online")
        elif happens == "slow":
            told.slow = {node: draw.choice([1.0, 3.0, 12.0])}
        elif happens == "line":
            told.mbps[node, "c"] = draw.choice([0.1, 2.0, 50.0])
        elif happens == "refuses":
            told.unready = {} if told.unready else {node: "no room"}
        elif happens == "silence":
            told.passes(draw.choice([1.0, 12.0]))
        else:
            mode: ControlMode = "freeze" if happens == "hand" else "auto"
            told.coordinator.handle(ControlHeard(f"cam{draw.randrange(4)}", StreamControl(mode=mode)))
        told.passes(0.5)
        check_mixes(told)
    assert not [record for record in caplog.records if record.levelname == "ERROR"], caplog.text
    assert not any("fault" in str(said["trouble"]) for said in told.explained.values())
    assert all(said["plan"] for said in told.explained.values())


def test_part_of_a_mix_that_fails_is_left() -> None:
    told = crowd()
    works(told, 12)
    mix = told.mixes["cam0"]
    assert {plan.edge for plan, _ in mix.plans} == {"e", None}
    told.fails = {"e"}
    works(told, 6)
    assert {plan.edge for mix in told.mixes.values() for plan, _ in mix.plans} == {None}
    assert any("edge/e said ready and failed" in reason for reason in told.reasons)


def test_node_that_never_answers_does_not_hold_up_what_must_change() -> None:
    told = crowd()
    told.node("edge", "f", 0.1)
    told.silent = {"f"}
    works(told, 15)
    told.status("edge", "e", state="offline")
    works(told, 14)
    assert {plan.edge for mix in told.mixes.values() for plan, _ in mix.plans} == {None}


@pytest.mark.parametrize("silent", [set(), {"d0"}])
def test_new_plans_of_all_streams_come_together_and_wait_for_no_node_for_ever(
    silent: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    told = crowd()
    told.silent = silent
    before = {name: plan.epoch for name, plan in told.plans.items()}
    asked_s: list[float] = []
    adopted_s: dict[str, float] = {}
    do = told.do

    def noted(actions: list[Action]) -> None:
        asked_s.extend(told.now_s for each in actions if isinstance(each, Prepare))
        do(actions)
        for name, plan in told.plans.items():
            if plan.epoch > before[name]:
                adopted_s.setdefault(name, told.now_s)

    monkeypatch.setattr(told, "do", noted)
    works(told, 9)
    others = [at_s for name, at_s in adopted_s.items() if name != "cam0"]
    assert len(others) == 5
    assert max(others) == min(others)
    if silent:
        assert "cam0" not in adopted_s
        assert min(others) >= asked_s[0] + TOGETHER_S
    else:
        assert adopted_s["cam0"] == others[0] < asked_s[0] + TOGETHER_S


def test_weight_that_is_changed_while_the_site_is_full_counts() -> None:
    told = crowd()
    works(told, 12)
    told.coordinator.handle(StreamWanted(goal("cam0", device="d0", weight=1.5)))
    works(told, 12)
    first, *others = rates(told)
    assert first == pytest.approx(1.5 * others[0], rel=0.1)


def test_site_whose_cameras_all_fall_silent_or_are_removed_is_planned_one_by_one(
    caplog: pytest.LogCaptureFixture,
) -> None:
    told = crowd()
    works(told, 12)
    told.passes(30)
    for index in range(6):
        told.coordinator.handle(StreamUnwanted(f"cam{index}"))
    told.passes(5)
    assert not [record for record in caplog.records if record.levelname == "ERROR"], caplog.text


def test_stream_whose_deadline_nothing_meets_does_not_keep_the_others_from_what_there_is() -> None:
    told = crowd()
    told.coordinator.handle(StreamWanted(goal("late", device="d5", deadline_s=0.001)))
    told.passes(3)
    works(told, 15, 6)
    assert sum(rates(told)[:6]) > 0.9 * FULL * 37.5


def test_other_plans_are_found_while_shares_follow_the_figures() -> None:
    told = crowd()
    works(told, 12)
    told.node("edge", "f", 0.1)
    for index in range(8):
        told.slow = {"e": 1.0 + 0.3 * (index % 2)}
        works(told, 4)
    assert "f" in {plan.edge for mix in told.mixes.values() for plan, _ in mix.plans}


def test_frozen_mix_counts_with_each_of_its_plans() -> None:
    told = crowd()
    works(told, 12)
    told.coordinator.handle(ControlHeard("cam0", StreamControl(mode="freeze")))
    works(told, 6)
    stream = told.coordinator._streams["cam0"]
    share = {plan.edge: part for plan, part in told.mixes["cam0"].plans}["e"]
    assert 0 < share < 1
    assert stream.taken["edge/e"] == pytest.approx(share * stream.rate(told.now_s) * 0.04, rel=0.2)
    assert stream.taken["device/d0"] > 0
