"""Which machine a time was measured on: times of one machine say little about another."""

from __future__ import annotations

import hashlib
import os
import platform
import re
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from tiercut.errors import SettingsError

#: Where Linux names its processor: x86 has "model name", boards "Model" or "Hardware", some ARM servers only a part.
_CPU_FIELDS = ("model name", "Model", "Hardware", "CPU part")
_SLUG_LENGTH = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """All that a time depends on and that stays the same from start to start.

    Attributes:
        cpu: Name of the processor.
        cores: Cores this process may use; a fraction where a container's quota is less than a core.
        arch: Instruction set, ``x86_64`` or ``aarch64``.
        runtime: Version of ONNX Runtime.
        threads: Threads per segment.
    """

    cpu: str
    cores: float
    arch: str
    runtime: str
    threads: int

    def __post_init__(self) -> None:
        if not (self.cores > 0 and self.threads >= 1):
            raise SettingsError(
                "a machine's description is not valid",
                expected="cores > 0 and threads >= 1",
                came=f"cores {self.cores}, threads {self.threads}",
                fix="correct the number of threads",
            )

    @property
    def id(self) -> str:
        """Stable name, fit for a file: readable, with a digest so that two machines never share one."""
        digest = hashlib.sha256(str(self).encode()).hexdigest()
        slug = re.sub(r"[^a-z0-9]+", "-", self.cpu.lower()).strip("-")[:_SLUG_LENGTH].strip("-") or "cpu"
        return f"{slug}-{self.cores:g}c-t{self.threads}-{digest[:8]}"

    def __str__(self) -> str:
        threads = "1 thread" if self.threads == 1 else f"{self.threads} threads"
        return f"{self.cpu}, {self.cores:g} cores, {self.arch}, ONNX Runtime {self.runtime}, {threads}"


def this_machine(threads: int = 1, *, root: Path = Path("/")) -> Machine:
    """The machine this process runs on.

    Args:
        threads: Threads per segment.
        root: Where ``proc`` and ``sys`` are.
    """
    return Machine(
        cpu=_cpu(root / "proc/cpuinfo"),
        cores=min(_allowed_cores(), _quota(root / "sys/fs/cgroup/cpu.max")),
        arch=platform.machine() or "unknown",
        runtime=package_version("onnxruntime"),
        threads=threads,
    )


def machine_id(threads: int = 1) -> str:
    """`Machine.id` of the machine this process runs on."""
    return this_machine(threads).id


def package_version(name: str) -> str:
    """Version of an installed package, ``"none"`` where it is not."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "none"


def _cpu(path: Path) -> str:
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # not Linux
        lines = []
    fields = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    named = next((fields[name] for name in _CPU_FIELDS if fields.get(name)), "")
    return named or platform.processor() or platform.machine() or "unknown"


def _allowed_cores() -> float:
    if hasattr(os, "sched_getaffinity"):
        return float(len(os.sched_getaffinity(0)))
    return float(os.cpu_count() or 1)


def _quota(path: Path) -> float:
    """Cores that a container's quota allows (cgroup v2: "quota period" in µs), infinite without one."""
    try:
        quota, period = path.read_text(encoding="ascii").split()
        return int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):  # no cgroup v2, or "max"
        return float("inf")
