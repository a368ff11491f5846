"""Figures as they come: kept in a file at once, so that a run that breaks off keeps what it has; progress on stderr."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

_started_s = time.monotonic()


def say(text: str) -> None:
    """A line of progress."""
    print(f"{time.monotonic() - _started_s:7.1f} s  {text}", file=sys.stderr, flush=True)


class Figures:
    """Everything measured, by part.

    Args:
        about: What was declared.
        path: Where it is kept; nowhere by default.
    """

    def __init__(self, about: dict[str, Any], path: Path | None = None) -> None:
        self.about = about
        self.parts: dict[str, list[dict[str, Any]]] = {}
        self._path = path

    def add(self, part: str, figures: dict[str, Any]) -> None:
        """Take in one measurement."""
        self.parts.setdefault(part, []).append(figures)
        if self._path is not None:
            stage = self._path.with_name(f".{self._path.name}.new")
            stage.write_text(json.dumps({"about": self.about, **self.parts}, indent=1), encoding="utf-8")
            stage.replace(self._path)

    def of(self, part: str) -> list[dict[str, Any]]:
        """The measurements of a part."""
        return self.parts.get(part, [])
