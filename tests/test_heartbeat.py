"""The sign of life that a container's health check looks at."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tiercut.heartbeat import STALE_S, VARIABLE, Heartbeat, trouble


def check(path: Path) -> subprocess.CompletedProcess[str]:
    """The health check as a container runs it."""
    command = [sys.executable, "-m", "tiercut.heartbeat"]
    environment = os.environ | {VARIABLE: str(path)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=False)


def test_node_whose_status_was_taken_is_healthy(tmp_path: Path) -> None:
    path = tmp_path / "heartbeat"
    Heartbeat(path, "edge-3").beat()
    assert check(path).returncode == 0
    assert path.read_text() == "edge-3\n"


def test_node_that_never_reached_its_broker_is_not(tmp_path: Path) -> None:
    ended = check(tmp_path / "heartbeat")
    assert ended.returncode == 1
    assert "has not taken a status" in ended.stderr


def test_node_whose_statuses_stay_away_is_not(tmp_path: Path) -> None:
    path = tmp_path / "heartbeat"
    Heartbeat(path, "edge-3").beat()
    now_unix_s = time.time()
    assert trouble(path, now_unix_s=now_unix_s) is None
    assert "22 s ago" in (trouble(path, now_unix_s=now_unix_s + STALE_S + 2) or "")


def test_heartbeat_that_cannot_be_written_does_not_end_the_node(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    heartbeat = Heartbeat(tmp_path / "absent" / "heartbeat", "edge-3")
    heartbeat.beat()
    heartbeat.beat()
    assert [record.message for record in caplog.records] == ["no heartbeat"]


def test_check_does_not_import_what_nodes_need(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", "import tiercut.heartbeat, sys; print('numpy' in sys.modules)"],
        capture_output=True, text=True, cwd=tmp_path, check=True,
    )  # fmt: skip
    assert ended.stdout == "False\n"
