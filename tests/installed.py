"""Packages of others, installed as pip does it: a module, and the description that its entry point stands in."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tiercut.plugins import Table

Install = Callable[[str, str], None]


@contextmanager
def installing(group: str, table: Table[Any], folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Gives what installs a module ``<name>`` of some code, whose ``THING`` is the table's object of a name."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(folder)

    def install(name: str, code: str) -> None:
        module = f"other_{name.replace('-', '_')}"
        (folder / f"{module}.py").write_text(textwrap.dedent(code), encoding="utf-8")
        info = folder / f"{module}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n", encoding="utf-8")
        (info / "entry_points.txt").write_text(f"[{group}]\n{name} = {module}:THING\n", encoding="utf-8")
        table.refresh()

    yield install
    table.refresh()
    for name in set(sys.modules) - before:
        if str(folder) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]
