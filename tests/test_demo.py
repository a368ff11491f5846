"""The demo, as a user runs it."""

from __future__ import annotations

import argparse
import json
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest

from tests.bundles import bundle_of
from tiercut.cli import demo, main
from tiercut.cli.demo import cuts_by_hand
from tiercut.errors import SettingsError

SENTENCE = re.compile(
    r"this site: ([\d.]+) frames/s, edge alone: [\d.]+, cloud alone: [\d.]+, devices alone: [\d.]+, bound:"
)


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
        ("--cameras", "0"),
        ("--cameras", "17"),
    ],
)
def test_wrong_flag_ends_the_demo_before_anything_starts(
    flags: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["demo", "--json", *flags]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"tiercut: {flags[0]} is not valid: expected ")
    assert said.count("\n") == 1


def test_several_cameras_are_not_cut_by_hand(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--json", "--cameras", "4", "--codec", "int8"]) == 2
    said = capsys.readouterr().err
    assert said.startswith(
        "tiercut: --cameras is not valid: expected one camera where a cut, a codec or a link is given"
    )


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
    """A demo that has shown a result of each camera, and all its processes."""
    command = [sys.executable, "-m", "tiercut", "demo", "--json", "--cameras", "2"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None
            missing = {"camera-1", "camera-2"}
            while missing:
                missing.discard(json.loads(process.stdout.readline())["stream"])
            yield process, psutil.Process(process.pid).children(recursive=True)
        finally:
            process.kill()


@pytest.mark.slow
def test_what_the_demo_says_of_its_site_is_what_comes() -> None:
    command = [sys.executable, "-m", "tiercut", "demo", "--json", "--cameras", "2", "--fps", "8"]
    began_s = time.monotonic()
    came_s: list[float] = []
    said: list[tuple[float, float]] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        out, err = process.stdout, process.stderr
        assert out is not None
        assert err is not None
        reading = threading.Thread(target=lambda: came_s.extend(time.monotonic() for _ in out))
        reading.start()
        try:
            for line in err:
                now_s = time.monotonic()
                if (sentence := SENTENCE.match(line)) and came_s:
                    said.append((now_s, float(sentence[1])))
                if now_s > began_s + 100 or (said and now_s - came_s[0] > 25):
                    break
        finally:
            process.kill()
            reading.join()
    last = [each for each in said if each[0] > came_s[0] + 15]
    assert last, "no sentence about the site came"
    measured = sum(rate for _, rate in last) / len(last)
    first_s, last_s = last[0][0] - 5, last[-1][0]
    counted = sum(first_s < at_s <= last_s for at_s in came_s) / (last_s - first_s)
    assert measured == pytest.approx(counted, rel=0.15)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_no_process_outlives_the_demo(number: signal.Signals) -> None:
    with running_demo() as (process, children):
        assert len(children) >= 6  # hub and its broker, cloud, edge, two cameras
        process.send_signal(number)
        ended = process.wait(60)  # it stops them one after the other
        _, alive = psutil.wait_procs(children, timeout=30)
    assert not alive
    assert ended == {signal.SIGTERM: 143, signal.SIGINT: 130, signal.SIGKILL: -9}[number]


@pytest.mark.slow
def test_node_that_dies_ends_the_demo_with_its_name() -> None:
    command = [sys.executable, "-m", "tiercut", "demo", "--json", "--cameras", "1"]
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
