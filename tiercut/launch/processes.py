"""Programs of tiercut as child processes: for the demo, the benchmarks and the tests."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tiercut.errors import BusError

STOP_S = 5.0
LOG_TAIL_LINES = 8
CHILD = "tiercut.launch.child"

#: Settings of a program as its file says them: scalars, lists, and lists of tables.
ProgramSettings = Mapping[str, Any]


def free_port() -> int:
    """A TCP port of 127.0.0.1 that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Processes:
    """Programs to be started by name; those that run are stopped on exit, the last started first.

    Args:
        folder: Where their settings and logs go: ``<name>.toml`` and ``<name>.log``.
        programs: Name → (program such as ``edge_node``, its settings).
        child: The module that runs a program in its process; it ends with its parent.
    """

    def __init__(
        self, folder: Path, programs: Mapping[str, tuple[str, ProgramSettings]], *, child: str = CHILD
    ) -> None:
        self._folder = folder
        self._child = child
        self._programs = programs
        self._running: dict[str, asyncio.subprocess.Process] = {}
        #: what notices the end of each running program
        self._watchers: dict[str, asyncio.Task[None]] = {}
        #: (name, exit status) of programs that ended by themselves
        self._ended: asyncio.Queue[tuple[str, int]] = asyncio.Queue()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stop_all()

    async def start(self, name: str) -> None:
        """Start a program (again); it ends with this process, however that ends."""
        program, settings = self._programs[name]
        path = self._folder / f"{name}.toml"
        path.write_text(to_toml(settings), encoding="utf-8")
        with (self._folder / f"{name}.log").open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", self._child, program, "--settings", str(path),
                stdin=asyncio.subprocess.PIPE, stdout=log, stderr=log,
                start_new_session=True,  # Ctrl-C is for this process, which stops them in order
            )  # fmt: skip
        self._running[name] = process
        self._watchers[name] = asyncio.create_task(self._notice_end(name, process), name=f"end of {name}")

    def set(self, name: str, program: tuple[str, ProgramSettings]) -> None:
        """What a program, new or stopped, is started with from now on."""
        self._programs = {**self._programs, name: program}

    async def stop(self, name: str) -> int:
        """SIGTERM, then SIGKILL after 5 s; returns the exit status."""
        process = await self._let_go(name)
        if process.returncode is None:
            process.terminate()
        try:
            async with asyncio.timeout(STOP_S):
                return await process.wait()
        except TimeoutError:
            process.kill()
            return await process.wait()

    async def kill(self, name: str) -> None:
        """SIGKILL: no goodbye."""
        process = await self._let_go(name)
        if process.returncode is None:
            process.kill()
        await process.wait()

    def pid(self, name: str) -> int:
        """Process id of a running program."""
        return self._running[name].pid

    async def watch(self) -> None:
        """Wait until a program ends by itself, which none should; those started later are watched too.

        Raises:
            BusError: one has; with the end of its log.
        """
        name, status = await self._ended.get()
        raise BusError(
            f"{name} ended by itself",
            expected="a running program",
            came=f"exit status {status}",
            fix=f"see the end of its log:\n{self.tail(name)}",
        )

    def tail(self, name: str) -> str:
        """The last lines of a program's log; nothing before its start."""
        log = self._folder / f"{name}.log"
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else []
        return "\n".join(lines[-LOG_TAIL_LINES:])

    def tails(self) -> str:
        """The last lines of every program's log."""
        return "\n".join(f"--- {name}\n{self.tail(name)}" for name in self._programs)

    async def _notice_end(self, name: str, process: asyncio.subprocess.Process) -> None:
        self._ended.put_nowait((name, await process.wait()))

    async def _let_go(self, name: str) -> asyncio.subprocess.Process:
        """No longer watch a program; its end is wanted."""
        watcher = self._watchers.pop(name)
        watcher.cancel()
        await asyncio.gather(watcher, return_exceptions=True)
        return self._running.pop(name)

    async def _stop_all(self) -> None:
        for name in reversed(list(self._running)):
            await self.stop(name)


def to_toml(settings: ProgramSettings) -> str:
    """Settings as TOML: scalars and lists first, then lists of tables (JSON's scalars and lists are TOML's too)."""
    tables = {name: value for name, value in settings.items() if _is_tables(value)}
    lines = [f"{name} = {json.dumps(value)}" for name, value in settings.items() if name not in tables]
    for name, rows in tables.items():
        for row in rows:
            lines += ["", f"[[{name}]]", *(f"{key} = {json.dumps(value)}" for key, value in row.items())]
    return "\n".join(lines) + "\n"


def _is_tables(value: object) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)
