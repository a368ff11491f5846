"""What a demo shows of its site, to people and to programs, and how its sentences are worded."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from tiercut.errors import ExportError
from tiercut.plan import TIERS, Plan
from tiercut.protocol.capacity import SiteCapacity
from tiercut.protocol.nodes import StreamPlan

if TYPE_CHECKING:
    from rich.console import Console

#: Columns of a terminal from which on names are whole and cells apart.
WIDE = 110


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What runs.

    Attributes:
        words: The model, and where it runs.
        emulated: A sentence about what is emulated, if anything is.
        hint: Command that shows the results from outside.
    """

    words: str
    emulated: str | None
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

    def began(self) -> None:
        """The edge is there: the story begins."""
        ...

    def plan(self, message: StreamPlan) -> None:
        """Show that a stream has a new plan."""
        ...

    def capacity(self, said: SiteCapacity) -> None:
        """Show what the site gives as a whole."""
        ...

    def trouble(self, stream: str, said: Sequence[str]) -> None:
        """Show what is wrong with a stream now; nothing where all is well."""
        ...

    def result(self, payload: bytes) -> None:
        """Show a result."""
        ...


class JsonLines:
    """Results on standard output as they are, all else on standard error."""

    def __init__(self) -> None:
        #: stream → what was said to be wrong with it; "": what the site is short of
        self._said: dict[str, list[str]] = {}

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
        self.step(f"{about.words}; {about.emulated or 'real links'}")
        self.step(f"see the results from outside: {about.hint}")

    def began(self) -> None:
        """On standard error."""
        self.step("the story begins")

    def plan(self, message: StreamPlan) -> None:
        """On standard error."""
        self.step(plan_words(message))

    def capacity(self, said: SiteCapacity) -> None:
        """On standard error; what is short, where it is another than the last."""
        self.step(said.message)
        self._say_new("", short_in(said))

    def trouble(self, stream: str, said: Sequence[str]) -> None:
        """On standard error, where it is another than the last."""
        self._say_new(f"{stream}: ", said)

    def result(self, payload: bytes) -> None:
        """One line."""
        print(payload.decode(), flush=True)

    def _say_new(self, whose: str, said: Sequence[str]) -> None:
        same = [figures_aside(each) for each in said]
        if same != self._said.get(whose, []):
            self.step(f"{whose}{names_only('; '.join(said)) or 'all is well again'}")
        self._said[whose] = same


def new_console() -> Console:
    """The terminal.

    Raises:
        ExportError: rich is not installed.
    """
    try:
        from rich.console import Console  # noqa: PLC0415 - only the demo has it
    except ImportError as error:
        raise ExportError(
            "the demo cannot draw its table", expected="rich", came=str(error), fix="pip install tiercut[demo]"
        ) from error
    return Console()


def plan_words(message: StreamPlan) -> str:
    """A stream's new plans, and why."""
    ways = ", ".join(f"{share:.0%} {_plan(plan)}" for plan, share in message.mix)
    one = _plan(message.plan) if len(message.mix) == 1 else ways
    room = f", {message.frames_per_second:.3g} frames/s" if isinstance(message.frames_per_second, float) else ""
    return f"{message.stream}, plan {message.plan.epoch}: {one}{room}: {names_only(message.reason)}"


def _plan(plan: Plan) -> str:
    route = " → ".join(tier for tier in TIERS if plan.node(tier))
    codecs = ", ".join(plan.codecs) or "nothing is sent"
    return f"{route}, cuts {plan.first_cut} and {plan.second_cut}, {codecs}"


def names_only(text: str) -> str:
    """A sentence for people with ``edge-1`` where it says ``edge/edge-1``."""
    return re.sub(rf"\b(?:{'|'.join(TIERS)})/(?=[A-Za-z0-9])", "", text)


def short_in(said: SiteCapacity) -> list[str]:
    """What a site is short of, each once, whatever each stream gets of it."""
    return sorted({re.sub(r", [^,]* of them for '[^']*'$", "", names_only(each)) for each in said.short})


def figures_aside(text: str) -> str:
    """A sentence without its figures: two that differ in nothing else say the same."""
    return re.sub(r"(?<![\w-])\d[\d.]*", "", text)
