"""Other programs that keep every core busy, at normal priority."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator

#: Stays on its core, and ends when who started it is gone.
SPIN = """
import os, sys
os.sched_setaffinity(0, {int(sys.argv[1])})
parent = os.getppid()
while os.getppid() == parent:
    for _ in range(1_000_000):
        pass
"""


@contextlib.contextmanager
def busy_cores() -> Iterator[None]:
    """A process that computes without end on each core that this one may use."""
    spinning = [
        subprocess.Popen([sys.executable, "-S", "-c", SPIN, str(core)]) for core in sorted(os.sched_getaffinity(0))
    ]
    try:
        yield
    finally:
        for process in spinning:
            process.kill()
            process.wait()
