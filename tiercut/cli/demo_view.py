"""What the demo shows: a live table for people, or a line of JSON per result for programs."""

from __future__ import annotations

import json
import sys
from collections import deque
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, Self

from tiercut.errors import ExportError
from tiercut.messages import StreamPlan
from tiercut.plan import TIERS

ROWS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What runs.

    Attributes:
        model: Name of the bundle.
        cuts: First and second cut, ``None`` where the coordinator chooses.
        end: Last cut of the model.
        codec: Codec of both hops.
        link: A sentence about emulated links.
        hint: Command that shows the results from outside.
    """

    model: str
    cuts: tuple[int, int] | None
    end: int
    codec: str
    link: str | None
    hint: str

    @property
    def words(self) -> str:
        """What runs where."""
        if self.cuts is None:
            return f"{self.model}: the coordinator chooses two cuts of {self.end}"
        first, second = self.cuts
        parts = f"device [0, {first}) → edge [{first}, {second}) → cloud [{second}, {self.end})"
        return f"{self.model} · {parts} · {self.codec}"


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

    def plan(self, message: StreamPlan) -> None:
        """Show that the stream has a new plan."""
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
        self.step(f"{about.words}; {about.link or 'real links'}")
        self.step(f"see the results from outside: {about.hint}")

    def plan(self, message: StreamPlan) -> None:
        """On standard error."""
        self.step(_plan_words(message))

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
        self._plans: deque[str] = deque(maxlen=5)
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
        self._title = about.words
        self._caption = f"{about.link or 'real links of this machine'}\nCtrl-C ends · from outside: {about.hint}"
        self.step("waiting for the first result")

    def plan(self, message: StreamPlan) -> None:
        """One more line below the table."""
        self._plans.append(_plan_words(message))

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

        caption = "\n".join((self._caption, *self._plans))
        table = Table(title=self._title, caption=caption, caption_justify="left", title_justify="left")
        table.add_column("frame", justify="right")
        table.add_column("cuts", justify="right")
        table.add_column("photograph")
        table.add_column("top label")
        table.add_column("score", justify="right")
        for place in ("device", "wire", "edge", "wire", "cloud"):
            table.add_column(f"{place} ms", justify="right")
        table.add_column("total ms", justify="right")
        for row in self._rows:
            table.add_row(*_cells(row))
        return table


def _plan_words(message: StreamPlan) -> str:
    plan = message.plan
    route = " → ".join(tier for tier in TIERS if plan.node(tier))
    codecs = ", ".join(plan.codecs) or "nothing is sent"
    return f"plan {plan.epoch}: {route}, cuts {plan.first_cut} and {plan.second_cut}, {codecs}: {message.reason}"


def _cells(result: dict[str, Any]) -> list[str]:
    best = result["labels"][0]
    plan, stages = result["plan"], result["stages"]
    total = result["latency_ms"]
    return [
        str(result["seq"]),
        f"{plan['first_cut']}, {plan['second_cut']}",
        result["label"] or "",
        best["label"],
        f"{best['score']:.2f}",
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
