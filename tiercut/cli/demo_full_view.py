"""A full site, for people: what it gives, what it is short of, a row per camera, and the last changes of plans."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self

from tiercut.cli.demo_full import STORY
from tiercut.cli.demo_seen import CameraSeen, Change, Seen, way_words
from tiercut.cli.demo_view import WIDE, About, new_console
from tiercut.protocol.capacity import SiteCapacity
from tiercut.protocol.nodes import StreamPlan

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.text import Text

#: Sentences about what is short or wrong that are shown, and parts of the site whose load is.
SENTENCES, PARTS = 2, 5
#: A camera that has less than this part of its room is not well.
LITTLE = 0.8


class FullView:
    """The site as it is now, drawn by rich to fit the terminal as it is now.

    Args:
        cameras: Names of the cameras.
        fps: What each asks for, frames per second.
    """

    def __init__(self, cameras: Sequence[str], fps: float) -> None:
        self._console = new_console()
        from rich.live import Live  # noqa: PLC0415 - only the demo has it

        self._status = self._console.status("starting")
        self._seen = Seen({name: CameraSeen() for name in cameras})
        self._fps = fps
        self._about: About | None = None
        #: rich draws from a thread of its own
        self._lock = threading.Lock()
        self._live = Live(console=self._console, refresh_per_second=4, get_renderable=self._now)

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
        """The lines on top; from now on the site is shown."""
        self._about = about
        self._status.stop()
        self._live.start()

    def began(self) -> None:
        """The clock of the story starts."""
        with self._lock:
            self._seen.began_s = time.monotonic()

    def plan(self, message: StreamPlan) -> None:
        """The ways of a camera's frames are other ones."""
        with self._lock:
            self._seen.plan(message, time.monotonic())

    def capacity(self, said: SiteCapacity) -> None:
        """The site's sentence."""
        with self._lock:
            self._seen.capacity = said

    def trouble(self, stream: str, said: Sequence[str]) -> None:
        """In red, until it is over."""
        with self._lock:
            if stream in self._seen.cameras:
                self._seen.cameras[stream].trouble = said

    def result(self, payload: bytes) -> None:
        """It counts."""
        with self._lock:
            self._seen.result(payload, time.monotonic())

    def _now(self) -> RenderableType:
        if self._about is None:
            return ""
        with self._lock:
            return screen(self._console, self._about, self._seen, self._fps, time.monotonic())


def screen(console: Console, about: About, seen: Seen, fps: float, now_s: float) -> RenderableType:
    """The site, with as many of its last changes as there is room for; one line stays free for the shell."""
    from rich.console import Group  # noqa: PLC0415 - only the demo has it
    from rich.text import Text  # noqa: PLC0415

    first, more = _above(about, seen, now_s)
    table = _table(console, seen, fps, now_s)
    while more and len(console.render_lines(Group(*first, *more, table))) >= console.size.height:
        more.pop()
    above = Group(*first, *more, table)
    hint = Text(f"from outside: {about.hint}", style="dim", no_wrap=True)
    room = console.size.height - 2 - len(console.render_lines(above))
    below = [hint] if room >= 0 else []
    shown: list[Text] = []
    for change in reversed(seen.changes):
        line = _change(change, newest=change is seen.changes[-1])
        room -= len(console.render_lines(line))
        if room < 0:
            break
        shown.append(line)
    return Group(above, *shown, *below)


def _above(about: About, seen: Seen, now_s: float) -> tuple[list[Text], list[Text]]:
    """The lines above the table, and those that may be missing there, the last first."""
    from rich.text import Text  # noqa: PLC0415 - only the demo has it

    first = [
        Text(f"{about.words} · Ctrl-C ends", style="italic"),
        Text(about.emulated or "", style="yellow"),
        Text(story_words(seen.elapsed_s(now_s)), style="bold yellow"),
    ]
    if seen.capacity is None:
        return [*first, Text("waiting for the first plans", style="dim")], []
    first.append(Text(seen.capacity.message, style="bold"))
    more = [Text(each, style="bold red") for each in seen.troubles()[:SENTENCES]]
    more += [Text(each, style="yellow") for each in seen.short()[:SENTENCES]]
    if busy := seen.busy()[:PARTS]:
        more.append(Text("busy: " + ", ".join(f"{name} {part * 100:.0f} %" for name, part in busy), style="dim"))
    return first, more


def story_words(elapsed_s: float) -> str:
    """Where the story is, and what comes next."""
    chapter = max((each for each in STORY if each.at_s <= elapsed_s), key=lambda each: each.at_s)
    later = [each for each in STORY if each.at_s > elapsed_s]
    more = f"; the story goes on at {later[0].at_s:.0f} s" if later else ""
    return f"{elapsed_s:.0f} s: {chapter.words}{more}"


def _table(console: Console, seen: Seen, fps: float, now_s: float) -> RenderableType:
    """A row for each camera; on a narrow terminal nodes have the names of their tiers."""
    from rich.box import SIMPLE_HEAD  # noqa: PLC0415 - only the demo has it
    from rich.table import Table  # noqa: PLC0415

    wide = console.size.width >= WIDE
    table = Table(box=SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0), expand=True)
    table.add_column("camera", no_wrap=True)
    table.add_column("frames/s" if wide else "fps", justify="right", no_wrap=True)
    table.add_column("of", justify="right", no_wrap=True)
    table.add_column("room", justify="right", no_wrap=True)
    table.add_column("who computes its frames" if wide else "computed by", no_wrap=True, ratio=3)
    table.add_column("ms", justify="right", no_wrap=True)
    if wide:
        table.add_column("photograph", no_wrap=True)
    table.add_column("top label", no_wrap=True, ratio=2 if wide else 1)
    for name, camera in seen.cameras.items():
        table.add_row(*_row(name, camera, seen, fps, now_s, wide=wide))
    return table


def _row(name: str, camera: CameraSeen, seen: Seen, fps: float, now_s: float, *, wide: bool) -> list[Text]:
    from rich.text import Text  # noqa: PLC0415 - only the demo has it

    rate, latency_ms = seen.per_second(name, now_s), seen.latency_ms(name)
    stream = None if seen.capacity is None else seen.capacity.streams.get(name)
    room = None if stream is None else stream.room
    label, figure = camera.headline
    cells = [
        Text(name),
        Text(f"{rate:.1f}", style="green" if rate >= LITTLE * min(fps, room or fps) else "yellow"),
        Text(f"{fps:g}"),
        Text("all" if room is None else f"{room:.1f}"),
        Text(way_words(camera.ways, whole_names=wide) if camera.ways else "no plan yet", style="cyan"),
        Text("-" if latency_ms is None else f"{latency_ms:.0f}"),
        Text(f"{label} {figure}".strip() if wide else label),
    ]
    if wide:
        cells.insert(-1, Text(camera.label))
    return cells


def _change(change: Change, *, newest: bool) -> Text:
    from rich.text import Text  # noqa: PLC0415 - only the demo has it

    words = f"{change.at_s:3.0f} s  {change.who}: {change.reason}"
    return Text(words, "bold") if newest else Text(words, "dim", no_wrap=True, overflow="ellipsis")
