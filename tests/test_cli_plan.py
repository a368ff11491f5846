"""``tiercut plan`` as a person and as a program use it."""

import io
import json
from pathlib import Path
from typing import Any

import pytest

from tiercut.cli import main

DATA = Path(__file__).parent / "data" / "plan"


def bare(tmp_path: Path, name: str, **changes: Any) -> str:
    """A file with the problem alone."""
    problem = json.loads((DATA / f"{name}.json").read_text())["problem"]
    path = tmp_path / "problem.json"
    path.write_text(json.dumps({**problem, **changes}))
    return str(path)


def test_json_is_one_object_with_the_answer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", bare(tmp_path, "two-cuts-win"), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    wanted = json.loads((DATA / "two-cuts-win.json").read_text())["answer"]
    assert {name: answer[name] for name in wanted} == wanted
    assert answer["feasible"] is True
    assert [stage["kind"] for stage in answer["stages"]] == ["compute", "transfer", "compute", "transfer", "compute"]


def test_person_sees_route_stages_and_alternatives(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", str(DATA / "two-cuts-win.json")]) == 0
    shown = capsys.readouterr().out
    assert "raspi4 [0, 1) ──packed──▶ vm2Core [1, 6) ──packed──▶ 6700k(GPU) [6, end)" in shown
    assert "vm2Core -> 6700k(GPU)      92.53 ms" in shown
    for row in ("this plan", "device only", "edge only", "cloud only", "best single cut"):
        assert f"\n{row}" in shown


def test_exit_status_3_says_what_the_nearest_plan_misses(capsys: pytest.CaptureFixture[str]) -> None:
    path = str(DATA / "nothing-meets-the-deadline.json")
    assert main(["plan", path]) == 3
    shown = capsys.readouterr().out
    assert "nothing meets the deadline of 83 ms: this is the fastest plan, 211.33 ms over" in shown
    assert "(misses deadline_seconds)" in shown
    assert main(["plan", path, "--json"]) == 3
    answer = json.loads(capsys.readouterr().out)
    assert answer["feasible"] is False
    assert answer["violates"][0]["constraint"] == "deadline_seconds"


def test_nearest_plan_says_all_that_it_misses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    limits = {"min_first_cut": 9, "deadline_seconds": 0.083}
    assert main(["plan", bare(tmp_path, "nothing-meets-the-deadline", constraints=limits)]) == 3
    assert "the nearest misses min_first_cut 5 against 9, deadline_seconds 0.4715" in capsys.readouterr().out


def test_person_sees_the_exit_and_what_codecs_take_of_its_accuracy(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", str(DATA / "early-exit-meets-the-deadline.json")]) == 0
    shown = capsys.readouterr().out
    assert "variant exit0   accuracy 0.6365 = 0.6370 - 0.0005 (codec1)" in shown
    assert "0.8090   exit2     device0 [0, 2)   (misses deadline_seconds)" in shown


def test_exit_status_3_where_nothing_runs_the_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = bare(tmp_path, "least-energy", nodes=[{"id": "d", "tier": "device"}], links=[])
    assert main(["plan", path]) == 3
    assert "no node that can be reached runs the model" in capsys.readouterr().out


def test_exit_status_2_names_the_field(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", bare(tmp_path, "least-energy", objective="speed")]) == 2
    message = capsys.readouterr().err
    assert "'objective'" in message
    assert "latency, accuracy, energy, throughput" in message


@pytest.mark.parametrize("text", ["", "{", "[1]", "null", "3", '{"problem": 1}', "\x00", "[" * 100_000])
def test_exit_status_2_for_what_is_no_problem(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str) -> None:
    path = tmp_path / "file.json"
    path.write_text(text)
    assert main(["plan", str(path)]) == 2
    assert main(["plan", str(tmp_path / "missing.json")]) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_top_lists_different_plans_best_first(capsys: pytest.CaptureFixture[str]) -> None:
    path = str(DATA / "cloud-wins.json")
    assert main(["plan", path, "--json", "--top", "4"]) == 0
    answer = json.loads(capsys.readouterr().out)
    top = answer.pop("top")
    assert top[0] == answer
    assert [plan["latency_seconds"] for plan in top] == sorted(plan["latency_seconds"] for plan in top)
    assert main(["plan", path, "--top", "4"]) == 0
    assert "rank 4" in capsys.readouterr().out


def test_problem_may_come_from_standard_input(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO((DATA / "device-only-wins.json").read_text()))
    assert main(["plan", "-"]) == 0
    assert "raspi4 [0, 16)" in capsys.readouterr().out


def test_top_wants_a_positive_number(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["plan", "file", "--top", "0"])
    assert caught.value.code == 2
    assert "at least 1" in capsys.readouterr().err
