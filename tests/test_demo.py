"""The demo, as a user runs it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest


@pytest.mark.slow
def test_demo_names_the_cat_and_the_coffee() -> None:
    command = [sys.executable, "-m", "tiercut", "demo", "--json", "--frames", "6", "--fps", "20"]
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
