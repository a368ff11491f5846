"""The bench of accuracy against deadlines: what it makes of figures, and the corners of its grid live."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.deadlines.__main__ import main, parse
from bench.deadlines.claims import Fall, claims, fall
from bench.deadlines.frames import labelled_frames
from bench.deadlines.grid import take
from bench.deadlines.pictures import draw
from bench.deadlines.report import report
from bench.deadlines.site import Live, Prepared, Setup, prepare, tiers_of
from bench.deadlines.strategies import EDGENT, fixed_answers, plan_of, said, true_problem
from bench.testbed.log import Figures
from bench.testbed.watch import Seen, Watch
from broker.coordination.goals import goal_of
from tests.aio import async_test
from tests.bundles import exits_bundle, grey_frames
from tiercut.bus.mqtt import MqttBus
from tiercut.bus.settings import MqttSettings
from tiercut.clock import SystemClock
from tiercut.coordinator.problem import ENVELOPE_BYTES, HANDOVER_S, build
from tiercut.coordinator.site_view import FIRST_GUESS, SiteView
from tiercut.errors import DataError
from tiercut.launch.processes import Processes
from tiercut.model.bundle import Bundle
from tiercut.model.bundle_write import rewrite
from tiercut.planner import solve
from tiercut.planner.alternatives import CLOUD_ONLY, DEVICE_ONLY
from tiercut.protocol.stream_settings import StreamSettings
from tiercut.results.reading import class_in

SETUP = Setup(slowdown=tiers_of((200.0, 50.0, 1.0)), fps=10.0)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The bundle with exits, as if somebody had measured them."""
    bundle = exits_bundle()
    exits = tuple(replace(each, accuracy=0.6 + 0.1 * k) for k, each in enumerate(bundle.contents.exits))
    contents = replace(bundle.contents, name="small", accuracy=0.9, exits=exits)
    return rewrite(bundle, tmp_path_factory.mktemp("bundles") / "small", contents)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty frames with labels."""
    folder = tmp_path_factory.mktemp("data")
    np.save(folder / "test-frames.npy", np.stack(grey_frames(40)))
    np.save(folder / "test-labels.npy", np.arange(40) % 4)
    return folder


OUTPUT = {"name": "y", "shape": [1, 2], "dtype": "float32"}


@pytest.fixture
def prepared(bundle: Bundle, data: Path, tmp_path: Path) -> Prepared:
    frames = labelled_frames(bundle, data, tmp_path / "frames", 8)
    return prepare(tmp_path, bundle, frames, seconds=0.5)


def cell(strategy: str, mbps: float, deadline_ms: float, right: str, **more: Any) -> dict[str, Any]:
    """A cell whose frames are right in time where there is a 1, and all in time."""
    common = {"feasible": True, "possible": True, "plan": "p", "plans": 1, "predicted_ms": 1.0, "measured_ms": 1.0}
    share = right.count("1") / len(right)
    met = {"met": "1" * len(right), "met_share": 1.0, "no_result": {}, "frames": len(right)}
    place = {"strategy": strategy, "mbps": mbps, "deadline_ms": deadline_ms}
    return {**common, **met, **place, "right": right, "accuracy": share, **more}


def test_frames_are_the_same_in_every_run_and_are_judged_by_their_number(
    bundle: Bundle, data: Path, tmp_path: Path
) -> None:
    one, other = (labelled_frames(bundle, data, tmp_path / name, 12) for name in ("one", "other"))
    assert one.labels == other.labels
    assert sorted(path.name for path in one.folder.iterdir()) == [f"{k:05d}.png" for k in range(12)]
    result = {"seq": 12 + 5, "labels": [{"class": one.labels[5], "label": "x", "score": 0.9}]}
    assert one.is_right(result)
    assert not one.is_right({**result, "labels": [{"class": (one.labels[5] + 1) % 4, "label": "x", "score": 0.9}]})


def test_class_is_read_from_whatever_a_result_says_of_its_outputs() -> None:

    assert class_in({"outputs": [{**OUTPUT, "values": [0.1, 0.7, "nan", 0.2][:2]}]}) == 1
    assert class_in({"outputs": [{**OUTPUT, "argmax": 7}]}) == 7


def test_labels_of_another_model_are_refused(bundle: Bundle, tmp_path: Path) -> None:
    np.save(tmp_path / "test-frames.npy", np.stack(grey_frames(10)))
    np.save(tmp_path / "test-labels.npy", np.arange(10))
    with pytest.raises(DataError, match="labels from 0 to 3"):
        labelled_frames(bundle, tmp_path, tmp_path / "frames", 10)


def test_fixed_plans_are_of_their_kind(prepared: Prepared) -> None:
    problem = true_problem(prepared, SETUP, 1.0, 0.2)
    answers = fixed_answers(problem)
    plans = {name: plan_of(answer) for name, answer in answers.items()}
    assert plans[DEVICE_ONLY].hops == ()
    assert (plans[CLOUD_ONLY].first_cut, plans[CLOUD_ONLY].second_cut) == (0, 0)
    assert set(plans[EDGENT].codecs) <= {"raw"}
    best = solve(problem)
    assert all(best.accuracy >= answer.accuracy for answer in answers.values() if answer.feasible)


def test_true_problem_has_the_declared_links_and_slowdowns(prepared: Prepared) -> None:
    problem = true_problem(prepared, SETUP, 0.5, 0.1)
    assert [link.mbps for link in problem.links.values()] == [0.5, 0.5]
    assert {start for start, _ in problem.links} == {"device/d", "edge/e"}
    whole = [sum(node.block_seconds["full"]) for node in problem.nodes]
    assert whole[0] == pytest.approx(200 * whole[2], rel=1e-6)
    assert whole[1] == pytest.approx(50 * whole[2], rel=1e-6)
    assert problem.deadline_seconds == pytest.approx(0.09)


def test_coordinator_counts_what_a_message_has_besides_its_tensors(prepared: Prepared) -> None:
    wanted = StreamSettings(name="s", model=prepared.bundle.name, device="d")
    goal, view = goal_of(wanted, prepared.bundle), SiteView()
    for tier in ("device", "edge"):
        view.node(tier, tier[0], site="home").profiles[goal.model] = prepared.profile
    problem = build(goal, view, 0.0)
    assert problem is not None
    (link,) = problem.links.values()
    besides_s = link.latency_seconds - FIRST_GUESS["device", "edge"][1] - HANDOVER_S
    assert besides_s == pytest.approx(ENVELOPE_BYTES * 8e-6 / link.mbps)


def test_plan_is_said_by_who_runs_what(prepared: Prepared) -> None:
    problem = true_problem(prepared, SETUP, 1.0, 10.0)
    assert said(plan_of(fixed_answers(problem)[DEVICE_ONLY])) == "full: d[0,end)"
    assert said(plan_of(fixed_answers(problem)[CLOUD_ONLY])).endswith("c[0,end)")


def test_fall_of_a_frame_or_two_is_chance_and_one_of_twenty_is_not() -> None:
    ten = cell("tiercut", 1, 10, "1" * 60 + "0" * 40)
    assert not fall(ten, cell("tiercut", 1, 20, "0" + "1" * 60 + "0" * 39), "").beyond
    worse = fall(ten, cell("tiercut", 1, 20, "1" * 40 + "0" * 60), "")
    assert worse.beyond
    assert worse.chance < 1e-5
    assert Fall("", lost=3, won=3, frames=100).chance == pytest.approx(0.656, abs=1e-3)


def test_claims_call_a_fall_a_fall() -> None:
    cells = [cell("tiercut", 1, 10, "1" * 60 + "0" * 40), cell("tiercut", 1, 20, "1" * 30 + "0" * 70)]
    grown, wider, *_ = claims(cells)
    assert not grown.met
    assert "30 of 100 frames fewer (deadline_ms 10 → 20 at mbps 1)" in grown.came
    assert wider.met


def test_claims_compare_with_edgents_rule_frame_by_frame() -> None:
    theirs = cell(EDGENT, 1, 10, "1" * 80 + "0" * 20)
    for right, met in (("1" * 80 + "0" * 20, True), ("0" * 20 + "1" * 60 + "0" * 20, False)):
        found = {claim.asked: claim.met for claim in claims([theirs, cell("tiercut", 1, 10, right)])}
        assert found["accuracy is never below Edgent's rule"] is met


def test_deadline_counts_only_where_the_plan_promises_it() -> None:
    late = {"met": "0" * 100, "met_share": 0.0}
    promised = cell("tiercut", 1, 20, "1" * 100)
    for more, met in (({"feasible": False}, True), ({"feasible": True}, False)):
        found = claims([promised, cell("tiercut", 1, 10, "0" * 100, **late, **more)])
        assert [claim.met for claim in found if claim.asked.startswith("deadline met")] == [met]


def test_figures_become_tables_and_pictures(tmp_path: Path) -> None:
    figures = Figures({"machine": "a machine"})
    for strategy in ("tiercut", DEVICE_ONLY, CLOUD_ONLY, EDGENT):
        for mbps in (0.5, 2.0):
            figures.add("cells", cell(strategy, mbps, 10.0, "1100", feasible=mbps > 1))
    lines = "\n".join(report(figures))
    assert "| 0.5 | (50 %) |" in lines
    assert "| 2 | 50 % |" in lines
    assert all(path.stat().st_size > 5000 for path in draw(figures.of("cells"), tmp_path / "pictures"))


def test_measuring_needs_data_and_a_bundle_with_exits(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parse(["--data", str(data)])
    assert main(["--data", str(data), "--bundle", str(tmp_path)]) != 0
    assert main(["--again", str(tmp_path / "missing.json")]) == 2
    assert "that --out has kept" in capsys.readouterr().err


@async_test
async def test_frames_are_taken_from_the_next_outcome_on_and_once_each(
    prepared: Prepared, bundle: Bundle, data: Path, tmp_path: Path
) -> None:
    frames = labelled_frames(bundle, data, tmp_path / "more", 3)
    watch, bus = Watch(), MqttBus(MqttSettings(url="mqtt://127.0.0.1:1"), clock=SystemClock())
    live = Live(prepared, replace(SETUP, fps=100.0), 1.0, Processes(tmp_path, {}), {}, watch, bus)
    watch.dropped.append({"seq": 4, "where": "d", "reason": "past_deadline", "message": "late"})
    taking = asyncio.create_task(take(live, frames))
    await asyncio.sleep(0.01)
    for seq in (39, 40, 41, 42, 43):  # 40 was under way already; 41 is frame 2, 42 is frame 0
        label = frames.labels[frames.place(seq)] if seq != 42 else 99  # no class of the model
        watch.results.append(Seen({"seq": seq, "latency_ms": 10.0, "outputs": [OUTPUT | {"argmax": label}]}, 0.0, 0.0))
        watch._changed.set()
        await asyncio.sleep(0.01)
    assert [outcome.right for outcome in await taking] == [False, True, True]


@pytest.mark.slow
def test_corners_of_the_grid_are_measured_live(
    bundle: Bundle, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    sizes = ["--mbps", "0.5", "8", "--deadlines", "40", "80", "--device-ms", "30", "--edge-ms", "10", "--frames", "8"]
    assert main(["--data", str(data), "--bundle", str(bundle.folder), "--short", "--out", str(out), *sizes]) == 0
    cells = json.loads((out / "deadlines.json").read_text())["cells"]
    assert len(cells) == 16
    found = {(each["strategy"], each["mbps"], each["deadline_ms"]): each for each in cells}
    assert found[DEVICE_ONLY, 0.5, 80.0]["met_share"] > 0.5
    assert found["tiercut", 8.0, 80.0]["met_share"] > 0.5
    assert found["tiercut", 8.0, 80.0]["predicted_ms"] > 0
    assert "accuracy never falls as the deadline grows" in capsys.readouterr().out
    assert main(["--again", str(out / "deadlines.json")]) == 0
    assert "accuracy in time, edgent" in capsys.readouterr().out
