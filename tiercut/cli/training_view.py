"""How far a training is: a bar that rich draws on a terminal, or a line per epoch where there is none."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

if TYPE_CHECKING:
    from rich.console import Console

    from tiercut.exits.recipe import Progress


class TrainingView(Protocol):
    """Where the progress of a training goes."""

    def note(self, text: str) -> None:
        """Say what is being done."""
        ...

    def report(self, progress: Progress) -> None:
        """Say how far the training is."""
        ...


@contextlib.contextmanager
def open_view() -> Iterator[TrainingView]:
    """A bar if standard error is a terminal and rich is there, else lines; both on standard error."""
    try:
        from rich.console import Console  # noqa: PLC0415 - only the extra 'watch' has it

        console = Console(stderr=True)
    except ImportError:
        console = None
    if console is None or not console.is_terminal:
        yield Lines()
        return
    with Bar(console) as bar:
        yield bar


class Lines:
    """A line per epoch, and one for each thing that is being done."""

    def note(self, text: str) -> None:
        """A line of its own."""
        print(text, file=sys.stderr, flush=True)

    def report(self, progress: Progress) -> None:
        """At the end of an epoch."""
        if progress.accuracy:
            self.note(_epoch(progress))


class Bar:
    """A bar with loss and time left, lines of finished epochs above it."""

    def __init__(self, console: Console) -> None:
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn  # noqa: PLC0415 - as above

        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(None),
            TextColumn("{task.percentage:>3.0f} %"),
        )
        self._bar = Progress(*columns, console=console, expand=True, transient=True)
        self._task = self._bar.add_task("preparing", total=1.0)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def note(self, text: str) -> None:
        """Beside the bar, and kept above it."""
        self._bar.console.print(text, highlight=False, markup=False)

    def report(self, progress: Progress) -> None:
        """The bar moves; an epoch that is done leaves a line."""
        if progress.accuracy:
            self.note(_epoch(progress))
        words = f"epoch {progress.epoch}/{progress.epochs}  loss {progress.loss:.3f}  {_left(progress)}"
        self._bar.update(self._task, completed=progress.part, description=words)


def _epoch(progress: Progress) -> str:
    right = "  ".join(f"{name} {part:.1%}" for name, part in progress.accuracy.items())
    return f"epoch {progress.epoch}/{progress.epochs}  loss {progress.loss:.3f}  {right}  {_left(progress)}"


def _left(progress: Progress) -> str:
    minutes, seconds = divmod(round(progress.seconds_left), 60)
    return f"{minutes}:{seconds:02} left" if progress.part < 1 else f"done in {progress.seconds / 60:.1f} min"
