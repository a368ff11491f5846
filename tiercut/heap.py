"""The heap of a program that runs for long on a small machine: glibc's, and that of Python's garbage collector."""

from __future__ import annotations

import ctypes
import functools
import gc
import threading
from pathlib import Path

#: `mallopt`'s number for the most arenas.
_M_ARENA_MAX = -8
#: Set once the heap is a program's own; that of who uses tiercut as a library is left as it is.
_settled = threading.Event()


def settle() -> None:
    """Called once all modules are there, before the first frame.

    One arena for all threads: each further one keeps what its thread has freed, and most of our threads take turns
    anyway. What lives as long as the process is not looked at by the garbage collector again.
    """
    if (mallopt := _libc("mallopt")) is not None:
        mallopt(_M_ARENA_MAX, 1)
    gc.collect()
    gc.freeze()
    _settled.set()


def give_back() -> None:
    """Memory that was used for a moment (building a segment, predicting a profile) goes back to the system.

    Only in a process that has settled. In any other nothing is frozen, and a collection looks at all of it: with
    torch there, that took 0.12 s of CPU for each segment (2026-11-30).
    """
    if not _settled.is_set():
        return
    gc.collect()
    if (malloc_trim := _libc("malloc_trim")) is not None:
        malloc_trim(0)


def resident_mb() -> float | None:
    """Resident memory of this process, MB (1e6 bytes); ``None`` where the system does not say."""
    try:
        text = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:  # not Linux
        return None
    return int(text.split("VmRSS:")[1].split()[0]) * 1024 / 1e6


@functools.cache
def _libc(name: str) -> ctypes._FuncPointer | None:
    """A function of glibc; ``None`` where the libc is another one."""
    try:
        return getattr(ctypes.CDLL(None), name, None)
    except (OSError, TypeError):  # no such library: not Linux
        return None
