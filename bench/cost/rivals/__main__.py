"""A process of a rival, or the whole model in one process; `bench.cost` starts it.

    python -m bench.cost.rivals {serve|call} NAME PORT FOLDER CUT CODEC FPS LEDGERS

``call`` reads a number of frames from each line of its standard input, takes them at the rate, and prints one line of
JSON: for each its seconds from the model's input to the answer, and those of work. ``whole`` is no rival: its call is
no call.
"""

from __future__ import annotations

import itertools
import json
import sys
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from bench.bare import Head, Part, at_rate
from bench.cost.rivals.table import RIVALS, Call
from bench.ledger import Ledger
from tiercut.model.bundle import Bundle


@dataclass(frozen=True, slots=True)
class Settings:
    """Of one process."""

    what: str
    name: str
    port: int
    folder: Path
    cut: int
    codec: str
    fps: float
    ledgers: Path

    @classmethod
    def of(cls, words: Sequence[str]) -> Settings:
        """From a command line."""
        what, name, port, folder, cut, codec, fps, ledgers = words
        return cls(what, name, int(port), Path(folder), int(cut), codec, float(fps), Path(ledgers))

    def part(self) -> Part:
        """The tail, made where it runs."""
        bundle = Bundle.load(self.folder)
        return Part(bundle, self.cut, bundle.end, self.codec, Ledger(self.ledgers / "server.work"))

    def head(self) -> Head:
        """The client's part."""
        return Head(Bundle.load(self.folder), self.cut, self.codec, Ledger(self.ledgers / "client.work"))


def take(head: Head, call: Call, count: int, fps: float) -> list[tuple[float, float]]:
    """Frames at a rate: for each, seconds from the model's input to the answer, and those of work."""
    taken: list[tuple[float, float]] = []
    for _ in itertools.islice(at_rate(fps), count):
        answer = call(head.next())
        now_s = time.time()
        _, work_s, captured_s = json.loads(answer)
        taken.append((now_s - captured_s, work_s))
    return taken


def run(settings: Settings) -> None:
    """Take as many frames as each line asks for."""
    head = settings.head()
    if settings.name == "whole":
        calling: AbstractContextManager[Call] = nullcontext(bytes)
    else:
        calling = RIVALS[settings.name].load().calling(settings.port, settings.part)
    with calling as call:
        for line in sys.stdin:
            print(json.dumps(take(head, call, int(line), settings.fps)), flush=True)


def main() -> None:
    """As a server or as a client."""
    settings = Settings.of(sys.argv[1:])
    if settings.what == "serve":
        RIVALS[settings.name].load().serve(settings.port, settings.part())
    else:
        run(settings)


if __name__ == "__main__":
    main()
