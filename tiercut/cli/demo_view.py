"""What the demo shows: a live table for people, or a line of JSON per result for programs."""

from __future__ import annotations

import json
import re
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

from tiercut.errors import ExportError
from tiercut.plan import TIERS
from tiercut.protocol.nodes import StreamPlan
from tiercut.results.reading import headline_in

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

#: Rows that earlier plans leave room for, and rows and plans kept for a tall terminal.
ROWS, KEPT, PLANS = 12, 200, 5
#: Columns of a terminal from which on names are whole and cells apart.
WIDE = 110


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

    def trouble(self, said: Sequence[str]) -> None:
        """Show what is wrong, or what is short, now; nothing where all is well."""
        ...

    def result(self, payload: bytes) -> None:
        """Show a result."""
        ...


class JsonLines:
    """Results on standard output as they are, all else on standard error."""

    def __init__(self) -> None:
        self._said: Sequence[str] = ()

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

    def trouble(self, said: Sequence[str]) -> None:
        """On standard error, where it is another than the last."""
        if [figures_aside(each) for each in said] != [figures_aside(each) for each in self._said]:
            self.step(names_only("; ".join(said)) or "all is well again")
        self._said = said

    def result(self, payload: bytes) -> None:
        """One line."""
        print(payload.decode(), flush=True)


class LiveTable:
    """What runs, the last plans and the last results, drawn by rich to fit the terminal as it is now."""

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
        self._rows: deque[dict[str, Any]] = deque(maxlen=KEPT)
        self._plans: deque[str] = deque(maxlen=PLANS)
        self._trouble: Sequence[str] = ()
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

    def plan(self, message: StreamPlan) -> None:
        """One more plan above the table."""
        self._plans.append(_plan_words(message))
        self._draw()

    def trouble(self, said: Sequence[str]) -> None:
        """In red, until it is over."""
        self._trouble = said
        self._draw()

    def result(self, payload: bytes) -> None:
        """One more row."""
        if not self._rows:
            self._status.stop()
            self._live.start()
        self._rows.append(json.loads(payload))
        self._draw()

    def _draw(self) -> None:
        if self._about is not None and self._rows:
            shown = fitted(self._console, self._about, list(self._plans), list(self._rows), self._trouble)
            self._live.update(shown)


def fitted(
    console: Console, about: About, plans: list[str], rows: list[dict[str, Any]], trouble: Sequence[str] = ()
) -> RenderableType:
    """What runs, the last plan with its reason, what is wrong, and as many of the newest rows as there is room for.

    Earlier plans are shown where `ROWS` rows have room besides them. One line of the terminal stays free for the shell.
    """
    from rich.console import Group  # noqa: PLC0415 - only the demo has it
    from rich.text import Text  # noqa: PLC0415

    def lines(shown: list[str]) -> list[Text]:
        return [Text(text, style=style) for text, style in _above(about, shown, trouble)]

    def room(shown: list[str]) -> int:
        above = Group(*lines(shown), _table(console, rows[-1:]))
        return console.size.height - len(console.render_lines(above))

    shown = plans[-1:]
    while len(shown) < len(plans) and room(plans[-len(shown) - 1 :]) >= min(ROWS, len(rows)):
        shown = plans[-len(shown) - 1 :]
    return Group(*lines(shown), _table(console, rows[-max(1, room(shown)) :]))


def _above(about: About, plans: list[str], trouble: Sequence[str]) -> list[tuple[str, str]]:
    """The lines above the table, each with its style."""
    return [
        (f"{about.words} · times in ms", "italic"),
        (f"{about.link or 'real links of this machine'} · Ctrl-C ends", "bold yellow" if about.link else "dim"),
        *((plan, "dim") for plan in plans[:-1]),
        *((plan, "bold") for plan in plans[-1:]),
        *((names_only(each), "bold red") for each in trouble),
        (f"from outside: {about.hint}", "dim"),
    ]


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


def _plan_words(message: StreamPlan) -> str:
    plan = message.plan
    route = " → ".join(tier for tier in TIERS if plan.node(tier))
    codecs = ", ".join(plan.codecs) or "nothing is sent"
    cuts = f"cuts {plan.first_cut} and {plan.second_cut}"
    return f"plan {plan.epoch}: {route}, {cuts}, {codecs}: {names_only(message.reason)}"


def names_only(text: str) -> str:
    """A sentence for people with ``edge-1`` where it says ``edge/edge-1``."""
    return re.sub(rf"\b(?:{'|'.join(TIERS)})/(?=[A-Za-z0-9])", "", text)


def trouble_in(explanation: Mapping[str, Any]) -> list[str]:
    """Why a stream has no better plan, and what it is short of."""
    short = explanation.get("short")
    said = (explanation.get("trouble"), short["message"] if isinstance(short, dict) else None)
    return [str(each) for each in said if each]


def figures_aside(text: str) -> str:
    """A sentence without its figures: two that differ in nothing else say the same."""
    return re.sub(r"(?<![\w-])\d[\d.]*", "", text)


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
