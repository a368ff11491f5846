"""A sign of life for health checks: a file that is touched whenever the node's broker has taken its status.

Its age says two things at once: the node's tasks run, and its broker is reached and lets it in. What a container runs
as its health check is ``python -m tiercut.heartbeat``: status 1 and a sentence when the file is too old.
It imports next to nothing, as it runs every few seconds on devices with little to spare (35 ms, measured 2026-11-21).
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path

log = logging.getLogger(__name__)

#: The node's setting, as it stands in the environment of its container.
VARIABLE = "TIERCUT_HEARTBEAT"
#: Older than this it is no sign of life: four times as long as nodes wait between statuses.
STALE_S = 20.0


class Heartbeat:
    """A node's side.

    Args:
        path: The file; ``None``: nobody looks.
        node: The node's id, which stands in the file.
    """

    def __init__(self, path: Path | None, node: str) -> None:
        self._path = path
        self._node = node

    def beat(self) -> None:
        """The broker has taken a status."""
        if self._path is None:
            return
        try:
            self._path.write_text(self._node + "\n", encoding="utf-8")
        except OSError as error:  # the health check says so too, and the node has better things to do than to end
            log.warning("no heartbeat", extra={"path": str(self._path), "reason": str(error)})
            self._path = None


def trouble(path: Path, *, now_unix_s: float, stale_s: float = STALE_S) -> str | None:
    """Why a node is not healthy, in a sentence; ``None`` when it is.

    Args:
        path: The file.
        now_unix_s: Time of day, as the file system counts it.
        stale_s: Age from which on it is no sign of life.
    """
    try:
        age_s = now_unix_s - path.stat().st_mtime
    except OSError as error:
        return f"no heartbeat at {path} ({error.strerror}): the broker has not taken a status of this node yet"
    if age_s > stale_s:
        return (
            f"the broker took the last status {age_s:.0f} s ago, expected less than {stale_s:.0f} s: see the node's log"
        )
    return None


def main(environment: Mapping[str, str]) -> int:
    """The health check; returns the exit status."""
    path = environment.get(VARIABLE)
    said = trouble(Path(path), now_unix_s=time.time()) if path else f"the variable {VARIABLE} is not set"
    if said is not None:
        print(said, file=sys.stderr)  # noqa: T201 - what `docker inspect` shows
    return 0 if said is None else 1


if __name__ == "__main__":
    sys.exit(main(os.environ))
