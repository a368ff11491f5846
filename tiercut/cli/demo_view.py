"""What the demo shows: a live table for people, or a line of JSON per result for programs."""

from __future__ import annotations

import json
import sys
from collections import deque
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, Self

from tiercut.errors import ExportError

ROWS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What runs.

    Attributes:
        model: Name of the bundle.
        cuts: First cut, second cut, end of the model.
        codec: Codec of both hops.
        link: A sentence about emulated links.
        hint: Command that shows the results from outside.
    """

    model: str
    cuts: tuple[int, int, int]
    codec: str
    link: str | None
    hint: str


class View(Protocol):
    """Where the demo's progress and results go."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def step(self, text: str) -> None:
        """Say what is being prepared."""
        ...

    def about(self, about: About) -> None:
        """Say what runs, and how to see its results from outside."""
        ...

    def result(self, payload: bytes) -> None:
        """Show a result."""
        ...


class JsonLines:
    """Results on standard output as they are, all else on standard error."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def step(self, text: str) -> None:
        """On standard error."""
        print(text, file=sys.stderr, flush=True)

    def about(self, about: About) -> None:
        """On standard error."""
        first, second, end = about.cuts
        self.step(f"{about.model}: cuts {first} and {second} of {end}, {about.codec}; {about.link or 'real links'}")
        self.step(f"see the results from outside: {about.hint}")

    def result(self, payload: bytes) -> None:
        """One line."""
        print(payload.decode(), flush=True)


class LiveTable:
    """The last results as a table that moves, drawn by rich."""

    def __init__(self) -> None:
        try:
            import rich.console  # noqa: PLC0415 - only the demo has it
            import rich.live  # noqa: PLC0415
        except ImportError as error:
            raise ExportError(
                "the demo cannot draw its table", expected="rich", came=str(error), fix="pip install tiercut[demo]"
            ) from error
        self._console = rich.console.Console()
        self._live = rich.live.Live(console=self._console, refresh_per_second=8, transient=False)
        self._status = self._console.status("starting")
        self._rows: deque[dict[str, Any]] = deque(maxlen=ROWS)
        self._count = 0
        self._title = ""
        self._caption = ""

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
        """Title and caption of the table; the spinner goes on until the first result."""
        first, second, end = about.cuts
        self._title = f"{about.model} · device [0, {first}) → edge [{first}, {second}) → cloud [{second}, {end})"
        self._caption = f"{about.codec} on both hops · {about.link or 'real links of this machine'} · Ctrl-C ends\n"
        self._caption += f"from outside: {about.hint}"
        self.step("waiting for the first result")

    def result(self, payload: bytes) -> None:
        """One more row."""
        if not self._count:
            self._status.stop()
            self._live.start()
        self._count += 1
        self._rows.append(json.loads(payload))
        self._live.update(self._table())

    def _table(self) -> Any:
        from rich.table import Table  # noqa: PLC0415 - only the demo has it

        table = Table(title=self._title, caption=self._caption, caption_justify="left", title_justify="left")
        table.add_column("frame", justify="right")
        table.add_column("photograph")
        table.add_column("top label")
        table.add_column("score", justify="right")
        for place in ("device", "wire", "edge", "wire", "cloud"):
            table.add_column(f"{place} ms", justify="right")
        table.add_column("total ms", justify="right")
        for row in self._rows:
            table.add_row(*_cells(row))
        return table


def _cells(result: dict[str, Any]) -> list[str]:
    best = result["labels"][0]
    plan, stages = result["plan"], result["stages"]
    places = [plan["device"], plan["edge"], plan["cloud"]]
    spent = {place: _spent(stages, place, wire=False) for place in places}
    total = result["latency_ms"]
    return [
        str(result["seq"]),
        result["label"] or "",
        best["label"],
        f"{best['score']:.2f}",
        spent[plan["device"]],
        _spent(stages, plan["edge"], wire=True),
        spent[plan["edge"]],
        _spent(stages, plan["cloud"], wire=True),
        spent[plan["cloud"]],
        "?" if total is None else f"{total:.1f}",
    ]


def _spent(stages: list[dict[str, Any]], where: str, *, wire: bool) -> str:
    """Milliseconds at a node, or on the wire to it; a dash where it took no part."""
    matching = [stage["ms"] for stage in stages if stage["where"] == where and (stage["kind"] == "wire") == wire]
    return f"{sum(matching):.1f}" if matching else "-"
