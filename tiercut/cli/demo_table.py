"""A demo with cuts by hand, for people: a line per result, with what it spent where."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from tiercut.cli.demo_view import WIDE, About, new_console
from tiercut.protocol.capacity import SiteCapacity
from tiercut.protocol.nodes import StreamPlan
from tiercut.results.reading import headline_in

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

#: Rows kept for a tall terminal.
KEPT = 200


class LiveTable:
    """What runs and the last results, drawn by rich to fit the terminal as it is now."""

    def __init__(self) -> None:
        self._console = new_console()
        from rich.live import Live  # noqa: PLC0415 - only the demo has it

        self._live = Live(console=self._console, refresh_per_second=8, transient=False)
        self._status = self._console.status("starting")
        self._rows: deque[dict[str, Any]] = deque(maxlen=KEPT)
        self._about: About | None = None

    def __enter__(self) -> Self:
        self._status.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._status.stop()
        self._live.stop()

    def step(self, text: str) -> None:
        """A spinner with a text."""
        self._status.update(text)

    def about(self, about: About) -> None:
        """The lines above the table; the spinner goes on until the first result."""
        self._about = about
        self.step("waiting for the first result")

    def began(self) -> None:
        """There is no story."""

    def plan(self, message: StreamPlan) -> None:
        """It is the one given by hand, which is shown already."""

    def capacity(self, said: SiteCapacity) -> None:
        """Nothing is planned."""

    def trouble(self, stream: str, said: Sequence[str]) -> None:
        """Nothing is planned."""

    def result(self, payload: bytes) -> None:
        """One more row."""
        if not self._rows:
            self._status.stop()
            self._live.start()
        self._rows.append(json.loads(payload))
        if self._about is not None:
            self._live.update(fitted(self._console, self._about, list(self._rows)))


def fitted(console: Console, about: About, rows: list[dict[str, Any]]) -> RenderableType:
    """What runs, and as many of the newest rows as there is room for; one line stays free for the shell."""
    from rich.console import Group  # noqa: PLC0415 - only the demo has it
    from rich.text import Text  # noqa: PLC0415

    above = [
        Text(f"{about.words} · times in ms", style="italic"),
        Text(
            f"{about.emulated or 'real links of this machine'} · Ctrl-C ends",
            "bold yellow" if about.emulated else "dim",
        ),
        Text(f"from outside: {about.hint}", style="dim"),
    ]
    room = console.size.height - len(console.render_lines(Group(*above, _table(console, rows[-1:]))))
    return Group(*above, _table(console, rows[-max(1, room) :]))


def _table(console: Console, rows: list[dict[str, Any]]) -> RenderableType:
    """A line for each result; on a narrow terminal long names lose their ends."""
    from rich.box import SIMPLE_HEAD  # noqa: PLC0415 - only the demo has it
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    wide = console.size.width >= WIDE
    table = Table(box=SIMPLE_HEAD, show_edge=False, padding=(0, 1) if wide else 0, expand=not wide)
    table.add_column("frame" if wide else "no.", justify="right", no_wrap=True)
    table.add_column("cuts", justify="right", no_wrap=True)
    table.add_column("photograph", no_wrap=True, ratio=None if wide else 4)
    table.add_column("top label", no_wrap=True, ratio=None if wide else 5)
    for name in ("score", "device", "wire", "edge", "wire", "cloud", "total"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*map(Text, _cells(row)))
    return table


def _cells(result: dict[str, Any]) -> list[str]:
    what, figure = headline_in(result)
    plan, stages = result["plan"], result["stages"]
    total = result["latency_ms"]
    return [
        str(result["seq"]),
        f"{plan['first_cut']}, {plan['second_cut']}",
        result["label"] or "",
        what,
        figure,
        _spent(stages, plan["device"], wire=False),
        _spent(stages, plan["edge"], wire=True),
        _spent(stages, plan["edge"], wire=False),
        _spent(stages, plan["cloud"], wire=True),
        _spent(stages, plan["cloud"], wire=False),
        "?" if total is None else f"{total:.1f}",
    ]


def _spent(stages: list[dict[str, Any]], where: str | None, *, wire: bool) -> str:
    """Milliseconds at a node, or on the wire to it; a dash where it took no part."""
    matching = [stage["ms"] for stage in stages if stage["where"] == where and (stage["kind"] == "wire") == wire]
    return f"{sum(matching):.1f}" if matching else "-"
