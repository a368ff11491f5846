"""What a process has worked so far, in a file that others may read while it runs.

Work is the CPU time of sensor, segments and codecs. A process's CPU time beyond that, divided by the frames that it has
handled itself, does not depend on how many frames wait elsewhere.
"""

from __future__ import annotations

import mmap
import struct
import threading
from dataclasses import dataclass
from pathlib import Path

_FORM = struct.Struct("=dd")


@dataclass(frozen=True, slots=True)
class Worked:
    """CPU seconds of work, and the frames handled."""

    cpu_s: float
    frames: float

    def __sub__(self, earlier: Worked) -> Worked:
        return Worked(self.cpu_s - earlier.cpu_s, self.frames - earlier.frames)


def read(path: Path) -> Worked:
    """As it stands; nothing yet if the process has not begun."""
    return Worked(*_FORM.unpack(path.read_bytes())) if path.exists() else Worked(0.0, 0)


class Ledger:
    """The sums of one process, of any threads."""

    def __init__(self, path: Path) -> None:
        new = path.with_suffix(".new")
        new.write_bytes(bytes(_FORM.size))
        with new.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), _FORM.size)
        new.rename(path)  # never seen half made
        self._cpu_s = 0.0
        self._frames = 0
        self._lock = threading.Lock()

    def add(self, cpu_s: float, *, frames: int = 0) -> None:
        """More work, and the frames that it has finished here."""
        with self._lock:
            self._cpu_s += cpu_s
            self._frames += frames
            _FORM.pack_into(self._memory, 0, self._cpu_s, self._frames)
