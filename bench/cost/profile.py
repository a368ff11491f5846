"""Where a frame's CPU time goes: py-spy beside each of tiercut's processes, by package.

py-spy reads other processes' stacks, which needs the right to trace them (root, or ``CAP_SYS_PTRACE``). It samples
threads that run, so its shares are shares of CPU time. It does not stop them for that: a thread that is stopped to be
looked at is no longer seen to wait.
"""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from bench.cost.counters import Pids
from bench.cost.measure import system
from bench.cost.systems import Job

RATE_HZ = 400
SECONDS = 12
MISSING = "--profile needs py-spy: pip install -c constraints.txt py-spy"


def py_spy() -> str | None:
    """The program: beside this interpreter, or on the path."""
    return shutil.which("py-spy", path=str(Path(sys.executable).parent)) or shutil.which("py-spy")


def package_of(frame: str) -> str:
    """What ``function (/path/file.py:12)`` belongs to; native frames and those without a file are the interpreter's."""
    path = frame.rpartition("(")[2].rpartition(":")[0].replace("\\", "/")
    for own in ("tiercut", "iot_node", "edge_node", "cloud_node", "broker"):
        _, found, inside = path.rpartition(f"/{own}/")
        if found and "site-packages" not in path:
            first, deeper, _ = inside.partition("/")
            return f"{own}.{first.removesuffix('.py')}" if own == "tiercut" or deeper else own
    _, found, inside = path.rpartition("/site-packages/")
    if found:
        return inside.partition("/")[0].removesuffix(".py")
    _, found, inside = path.rpartition("/python3.")
    if found:
        return inside.partition("/")[2].partition("/")[0].removesuffix(".py")
    return "interpreter"


def by_package(raw: str) -> dict[str, float]:
    """Shares of samples in py-spy's format ``raw`` by the package of the innermost frame, largest first."""
    counted: Counter[str] = Counter()
    for line in raw.splitlines():
        stack, _, samples = line.rpartition(" ")
        if samples.isdigit():
            counted[package_of(stack.rpartition(";")[2])] += int(samples)
    total = counted.total()
    return {package: samples / total for package, samples in counted.most_common()}


async def profile(job: Job, folder: Path) -> dict[str, dict[str, float]]:
    """Stacks of each process (``NAME.raw``: speedscope.app opens it) and a flame graph (``NAME.svg``) in a folder.

    Raises:
        RuntimeError: py-spy is missing, or may not.
    """
    program = py_spy()
    if program is None:
        raise RuntimeError(MISSING)
    shares: dict[str, dict[str, float]] = {}
    await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
    async with system("tiercut", _long(job)) as (running, _):
        await running.take(job.warm_up)
        pids = {name: group for name, group in running.pids().items() if name != "mosquitto"}
        for form, ending in (("raw", "raw"), ("flamegraph", "svg")):
            await _record(program, pids, folder, form, ending)
    for name in pids:
        shares[name] = by_package((folder / f"{name}.raw").read_text(encoding="utf-8"))
    return shares


def _long(job: Job) -> Job:

    return replace(job, frames=round(job.fps * (4 * SECONDS)))


async def _record(program: str, pids: Pids, folder: Path, form: str, ending: str) -> None:
    """All processes at once, so that they are under the same load."""
    common = ["--nonblocking", "--full-filenames", "--rate", str(RATE_HZ), "--duration", str(SECONDS), "--format", form]
    commands = [
        [program, "record", *common, "--pid", str(group[0]), "--output", str(folder / f"{name}.{ending}")]
        for name, group in pids.items()
    ]
    ended = await asyncio.gather(*(asyncio.to_thread(_spy, command) for command in commands))
    for message in ended:
        if message:
            raise RuntimeError(f"py-spy failed (it needs root or CAP_SYS_PTRACE): {message}")


def _spy(command: Iterable[str]) -> str:
    """Run it; returns what it says if it fails."""
    done = subprocess.run(list(command), capture_output=True, text=True, check=False)
    return done.stderr.strip()[-400:] if done.returncode else ""
