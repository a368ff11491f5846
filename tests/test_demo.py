"""The demo, as a user runs it."""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from typing import Any

import psutil
import pytest

from tests.bundles import bundle_of
from tiercut.cli import demo, main
from tiercut.cli.demo import cuts_by_hand
from tiercut.cli.demo_view import About, JsonLines, fitted, trouble_in
from tiercut.errors import SettingsError


@pytest.mark.slow
def test_demo_names_the_cat_and_the_coffee() -> None:
    command = [sys.executable, "-m", "tiercut", "demo", "--json", "--frames", "6", "--fps", "20", "--first", "20%"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)
    assert ended.returncode == 0, ended.stderr
    results = [json.loads(line) for line in ended.stdout.splitlines()]
    best = {result["label"]: result["labels"][0]["class"] for result in results}
    assert best["chelsea.png"] == 285
    assert best["coffee.png"] == 967
    assert [result["seq"] for result in results] == list(range(6))
    assert {result["finished_by"] for result in results} == {"cloud-1"}
    assert "mosquitto_sub" in ended.stderr


def test_demo_with_an_impossible_cut_says_where_to_look() -> None:
    command = [sys.executable, "-m", "tiercut", "demo", "--json", "--first", "9999"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)
    assert ended.returncode == 4
    assert "tiercut inspect" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    "flags",
    [
        ("--codec", "int7"),
        ("--frames", "0"),
        ("--fps", "0"),
        ("--fps", "nan"),
        ("--mbps", "0"),
        ("--delay-ms", "-1"),
    ],
)
def test_wrong_flag_ends_the_demo_before_anything_starts(
    flags: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["demo", "--json", *flags]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"tiercut: {flags[0]} is not valid: expected ")
    assert said.count("\n") == 1


def arguments(*flags: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    demo.add_parser(parser.add_subparsers())
    return parser.parse_args(["demo", *flags])


def test_first_cut_behind_the_second_is_refused() -> None:
    with pytest.raises(SettingsError, match="--first is not valid: expected a cut up to --second, 1, got 2"):
        cuts_by_hand(bundle_of("chain"), arguments("--first", "2", "--second", "1"))
    with pytest.raises(SettingsError, match="by default"):
        cuts_by_hand(bundle_of("chain"), arguments("--first", "100%"))


@contextmanager
def running_demo() -> Iterator[tuple[subprocess.Popen[str], list[psutil.Process]]]:
    """A demo that has shown a result, and all its processes."""
    command = [sys.executable, "-m", "tiercut", "demo", "--json", "--first", "20%"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None
            assert json.loads(process.stdout.readline())["finished_by"] == "cloud-1"
            yield process, psutil.Process(process.pid).children(recursive=True)
        finally:
            process.kill()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_no_process_outlives_the_demo(number: signal.Signals) -> None:
    with running_demo() as (process, children):
        assert len(children) >= 5
        process.send_signal(number)
        ended = process.wait(20)
        _, alive = psutil.wait_procs(children, timeout=10)
    assert not alive
    assert ended == {signal.SIGTERM: 143, signal.SIGINT: 130, signal.SIGKILL: -9}[number]


@pytest.mark.slow
def test_node_that_dies_ends_the_demo_with_its_name() -> None:
    command = [sys.executable, "-m", "tiercut", "demo", "--json", "--first", "20%"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        until_s = time.monotonic() + 60
        edges: list[psutil.Process] = []
        while not edges and time.monotonic() < until_s:
            children = psutil.Process(process.pid).children()
            edges = [child for child in children if "edge_node" in child.cmdline()]
            time.sleep(0.05)  # there is no event for a grandchild
        edges[0].kill()
        _, said = process.communicate(timeout=30)
    assert process.returncode == 5
    assert "edge-1 ended by itself: expected a running program, got exit status -9" in said


HINT = "mosquitto_sub -p 52681 -V 5 -t tiercut/v1/demo/stream/+/result"
NOTICE = "EMULATED: slow nodes and links that change; at 20 s the device's link narrows to 1.1 Mbit/s"
REASON = "latency 199.9 → 91.3 ms; device-1 → edge-1: 51.5 → 3.49 Mbps, 5.29 → 5.64 ms"


def result(seq: int) -> dict[str, Any]:
    return {
        "seq": seq,
        "label": "motorcycle_left.png",
        "labels": [{"class": 670, "label": "motor scooter", "score": 0.47}],
        "plan": {"first_cut": 14, "second_cut": 98, "device": "device-1", "edge": "edge-1", "cloud": None},
        "stages": [
            {"where": "device-1", "kind": "compute", "ms": 137.04},
            {"where": "edge-1", "kind": "wire", "ms": 9},
        ],
        "latency_ms": 286.166,
    }


def drawn(width: int, height: int, trouble: tuple[str, ...] = ()) -> list[str]:
    console = pytest.importorskip("rich.console").Console(file=StringIO(), width=width, height=height)
    about = About(model="net", cuts=None, end=98, codec="raw", link=NOTICE, hint=HINT)
    plans = [f"plan {epoch}: device → edge, cuts 14 and 98, int8+zstd: {REASON}" for epoch in range(1, 6)]
    console.print(fitted(console, about, plans, [result(seq) for seq in range(100)], trouble))
    lines: list[str] = console.file.getvalue().splitlines()
    return lines


def test_small_terminal_shows_notice_last_plan_hint_and_newest_rows() -> None:
    lines = drawn(80, 24)
    text = " ".join(" ".join(lines).split())
    assert len(lines) == 23
    for wanted in (NOTICE, f"plan 5: device → edge, cuts 14 and 98, int8+zstd: {REASON}"):
        assert wanted in text
    assert f"from outside: {HINT}" in lines
    assert lines[-1].startswith(" 99 14, 98 ")
    assert lines[-1].endswith(" 286.2")


def test_what_is_short_is_shown_by_the_names_of_nodes() -> None:
    lines = drawn(80, 24, ("the processor of device/device-1 is short by a factor of 1.8",))
    assert "the processor of device-1 is short by a factor of 1.8" in lines
    assert len(lines) == 23
    assert lines[-1].endswith(" 286.2")


def test_json_lines_say_what_is_short_once_and_when_it_is_over(capsys: pytest.CaptureFixture[str]) -> None:
    view = JsonLines()
    for said in ((), ("edge/e is short by 1.8",), ("edge/e is short by 2.1",), (), ()):
        view.trouble(said)
    assert capsys.readouterr().err.splitlines() == ["e is short by 1.8", "all is well again"]


def test_explanation_has_its_trouble_and_what_is_short() -> None:
    assert trouble_in({"trouble": None, "short": None}) == []
    assert trouble_in({"trouble": "no edge", "short": {"message": "a line is short"}}) == ["no edge", "a line is short"]


def test_tall_terminal_shows_earlier_plans_and_more_rows() -> None:
    lines = drawn(140, 50)
    assert len(lines) == 49
    assert any(line.startswith("plan 1: ") for line in lines)
    assert sum("motorcycle_left.png" in line for line in lines) > 30


def test_tiny_terminal_shows_the_newest_row() -> None:
    assert drawn(80, 6)[-1].endswith(" 286.2")
