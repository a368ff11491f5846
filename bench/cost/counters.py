"""What the kernel counts of other processes: CPU time, thread switches, memory, and bytes of their TCP sockets.

Nothing here disturbs what is counted. CPU time is the process's own clock (``clock_getcpuclockid(3)``): nanoseconds
of all its threads, those that have ended too. Switches are in ``/proc`` for living threads only, so those of a thread
that ends between two looks are not counted. Bytes are ``bytes_sent`` and ``bytes_received`` of TCP_INFO, as printed by
``ss``.
"""

from __future__ import annotations

import itertools
import re
import subprocess
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

#: Kernel: include/linux/posix-timers_types.h, CPUCLOCK_SCHED of a whole process.
_CPUCLOCK_SCHED = 2


def cpu_s(pid: int) -> float:
    """CPU seconds of a process so far.

    Raises:
        OSError: it has ended.
    """
    return time.clock_gettime_ns((~pid << 3) | _CPUCLOCK_SCHED) / 1e9


def switches_in(status: str) -> int:
    """Voluntary and involuntary switches that ``/proc/<pid>/task/<tid>/status`` tells of."""
    return sum(int(count) for count in re.findall(r"^(?:non)?voluntary_ctxt_switches:\s*(\d+)", status, re.MULTILINE))


def thread_switches(pid: int) -> dict[int, int]:
    """Switches of each thread so far."""
    counted: dict[int, int] = {}
    for status in Path(f"/proc/{pid}/task").glob("*/status"):
        try:
            counted[int(status.parent.name)] = switches_in(status.read_text(encoding="ascii"))
        except OSError:  # the thread has ended in between
            continue
    return counted


def resident_mb(pid: int) -> float:
    """Resident memory of a process, in MB of 10^6 bytes."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(status.split("VmRSS:")[1].split()[0]) * 1024 / 1e6


@dataclass(frozen=True, slots=True)
class Spent:
    """What processes have spent: seconds of CPU time, and switches of their threads."""

    cpu_s: float = 0.0
    switches: float = 0.0

    def __add__(self, other: Spent) -> Spent:
        return Spent(self.cpu_s + other.cpu_s, self.switches + other.switches)

    def per(self, count: float) -> Spent:
        """Divided: per frame, or per second."""
        return Spent(self.cpu_s / count, self.switches / count)


@dataclass(frozen=True, slots=True)
class Look:
    """The counters of one process at one time."""

    cpu_s: float
    switches: Mapping[int, int]

    @classmethod
    def at(cls, pid: int) -> Look:
        """As they are now."""
        return cls(cpu_s(pid), thread_switches(pid))

    def until(self, later: Look) -> Spent:
        """What was spent in between."""
        switches = sum(count - self.switches.get(thread, 0) for thread, count in later.switches.items())
        return Spent(later.cpu_s - self.cpu_s, switches)


Pids = Mapping[str, tuple[int, ...]]


def look(pids: Pids) -> dict[int, Look]:
    """Of all that live."""
    looks: dict[int, Look] = {}
    for pid in {pid for group in pids.values() for pid in group}:
        try:
            looks[pid] = Look.at(pid)
        except OSError:  # a short-lived helper of a rival has ended
            continue
    return looks


def spent(pids: Pids, before: Mapping[int, Look], after: Mapping[int, Look]) -> dict[str, Spent]:
    """By name, what its processes that lived at both looks have spent."""
    return {
        name: sum((before[pid].until(after[pid]) for pid in group if pid in before and pid in after), Spent())
        for name, group in pids.items()
    }


@dataclass(frozen=True, slots=True)
class Socket:
    """A TCP socket: whose, its local port, and the bytes it has carried."""

    pid: int
    port: int
    sent: int
    received: int


def sockets() -> list[Socket]:
    """All TCP sockets whose process may be seen; none where ``ss`` (iproute2) is missing."""
    try:
        listed = subprocess.run(["ss", "-tinpH"], capture_output=True, text=True, check=True)
    except FileNotFoundError:
        return []
    return sockets_in(listed.stdout)


def sockets_in(listed: str) -> list[Socket]:
    """What ``ss -tinpH`` prints: a line of addresses and processes, then an indented one of figures."""
    lines = listed.splitlines()
    found: list[Socket] = []
    for address, figures in itertools.pairwise(lines):
        if address[:1].isspace() or not figures[:1].isspace():
            continue
        port = int(address.split()[3].rpartition(":")[2])
        sent, received = (_figure(figures, name) for name in ("bytes_sent", "bytes_received"))
        found += [Socket(int(pid), port, sent, received) for pid in re.findall(r"pid=(\d+)", address)]
    return found


def carried(pids: Pids, all_sockets: Iterable[Socket]) -> dict[str, tuple[int, int]]:
    """By name, bytes sent and received by its processes' sockets so far."""
    listed = list(all_sockets)
    return {
        name: (
            sum(each.sent for each in listed if each.pid in group),
            sum(each.received for each in listed if each.pid in group),
        )
        for name, group in pids.items()
    }


def _figure(figures: str, name: str) -> int:
    found = re.search(rf"\b{name}:(\d+)", figures)
    return int(found.group(1)) if found else 0
