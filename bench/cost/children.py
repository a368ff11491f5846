"""Modules of the benchmarks as processes."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import psutil

LISTENS_S = 30.0
STOP_S = 5.0


@contextmanager
def started(module: str, *words: str, reads: bool = False) -> Iterator[subprocess.Popen[str]]:
    """``python -m MODULE …`` with pipes to it; ended by SIGTERM, after 5 s by SIGKILL, and its children with it.

    Args:
        module: The module.
        words: Its arguments.
        reads: It ends by itself at the end of its input, and is given 5 s for that.
    """
    command = [sys.executable, "-m", module, *words]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        children = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
        _end(process, reads=reads)
        for child in children:
            if child.is_running():
                child.kill()


def _end(process: subprocess.Popen[str], *, reads: bool) -> None:
    if process.stdin is not None:
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
    if not reads:
        process.terminate()
    for stronger in (process.terminate, process.kill, None):
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_S)
            return
        if stronger is not None:
            stronger()


def ask(process: subprocess.Popen[str], line: str) -> str:
    """Write a line to it, and read one.

    Raises:
        RuntimeError: it has ended.
    """
    if process.stdin is None or process.stdout is None:
        raise TypeError("a process without pipes")
    try:
        process.stdin.write(f"{line}\n")
        process.stdin.flush()
        answer = process.stdout.readline()
    except BrokenPipeError:
        answer = ""
    if not answer:
        raise RuntimeError(f"a process has ended; standard error says why: {process.args!r}")
    return answer


async def listens(port: int, process: subprocess.Popen[str]) -> None:
    """Wait until somebody answers at a port of the loopback.

    Raises:
        RuntimeError: the process that should has ended.
    """
    async with asyncio.timeout(LISTENS_S):
        while process.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return
            await asyncio.sleep(0.05)
    raise RuntimeError(f"a server has ended ({process.returncode}); standard error says why: {process.args!r}")
