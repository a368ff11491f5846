"""A program of tiercut with meters around sensor, segments and codecs: CPU seconds of exactly these calls.

`bench.cost` starts it in place of `tiercut.launch.child`. The bare version counts the same calls (`bench.bare.Meter`).
The program's ledger (`bench.ledger`) is ``NAME.work`` beside its settings.
"""

from __future__ import annotations

import functools
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from bench.ledger import Ledger
from tiercut.launch import child


def ledger_file(settings: Path) -> Path:
    """Where the ledger of a program with this settings file is."""
    return settings.with_suffix(".work")


class Meters:
    """Puts meters around functions."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._inside = threading.local()

    def around(self, work: Callable[..., Any], *, frames: int = 0) -> Callable[..., Any]:
        """The same function, metered; what it calls of other metered ones is part of it.

        Args:
            work: The function.
            frames: How many frames each call finishes.
        """

        @functools.wraps(work)
        def metered(*args: Any, **named: Any) -> Any:
            if getattr(self._inside, "now", False):
                return work(*args, **named)
            self._inside.now = True
            start_s = time.thread_time()
            try:
                return work(*args, **named)
            finally:
                self._ledger.add(time.thread_time() - start_s, frames=frames)
                self._inside.now = False

        return metered


def meter_nodes(meters: Meters) -> None:
    """Segments and codecs, which every node has."""
    from tiercut.codecs.table import CODECS  # noqa: PLC0415 - the hub has none of these, and shall not import them
    from tiercut.model.segments import Segment  # noqa: PLC0415 - the same

    _replace(Segment, "run", meters, frames=1)
    for kind in {type(each) for each in CODECS.values()}:
        _replace(kind, "encode", meters)
        _replace(kind, "decode", meters)


def meter_device(meters: Meters) -> None:
    """Sensor and preparation."""
    from tiercut.model.bundle import Bundle  # noqa: PLC0415 - only the device needs them
    from tiercut.sensors.pictures import Noise  # noqa: PLC0415 - the same

    _replace(Bundle, "to_inputs", meters)
    drawn = Noise._items  # noqa: SLF001 - a generator: each step is metered

    def items(sensor: Noise) -> Iterator[Any]:
        step = meters.around(functools.partial(next, drawn(sensor)))
        while True:
            yield step()

    Noise._items = items  # type: ignore[assignment,method-assign]  # noqa: SLF001 - as above


def _replace(owner: type, name: str, meters: Meters, *, frames: int = 0) -> None:
    """Where the class itself defines it: what it inherits is replaced once, at its origin."""
    origin = next(each for each in owner.__mro__ if name in vars(each))
    if not hasattr(vars(origin)[name], "__wrapped__"):
        setattr(origin, name, meters.around(vars(origin)[name], frames=frames))


def main() -> None:
    """As `tiercut.launch.child` does, with the meters on."""
    program, settings = sys.argv[1], Path(sys.argv[sys.argv.index("--settings") + 1])
    meters = Meters(Ledger(ledger_file(settings)))
    if program != "broker":
        meter_nodes(meters)
    if program == "iot_node":
        meter_device(meters)
    child.main()


if __name__ == "__main__":
    main()
