"""Tables that other packages add to: our own objects by name, and those behind an entry point of the table's group.

An entry point is loaded when its name, or the whole table, is first asked for. One that cannot be used is no part of
the table: its package is named in the log once, and in the error for asking for it by name.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeVar

log = logging.getLogger(__name__)

T = TypeVar("T")

#: Code of others may end with `sys.exit` as with any error.
ANYTHING = (Exception, SystemExit)


class Table(Mapping[str, T], Generic[T]):
    """Our own objects in their order, then those of other packages by name; ours win. Safe from several threads.

    Args:
        group: The group of entry points.
        own: Our own.
        made: What is used of what an entry point loads, given its name, that, and its package for messages; raises
            `TypeError` or `ValueError` where that is none.
    """

    def __init__(self, group: str, own: Mapping[str, T], made: Callable[[str, Any, str], T]) -> None:
        self.group = group
        self.own = own
        self._made = made
        self._lock = threading.RLock()
        self._entries: Mapping[str, EntryPoint] | None = None
        self._usable: dict[str, T] = dict(own)
        #: name → its package, and why its object cannot be used
        self._broken: dict[str, str] = {}

    def __getitem__(self, name: str) -> T:
        if name in self._usable:
            return self._usable[name]
        with self._lock:
            if name not in self._usable:
                self._load(name)
            return self._usable[name]

    def __iter__(self) -> Iterator[str]:
        yield from self.own
        yield from (name for name in self._found() if name not in self.own and name in self)

    def added(self) -> Iterator[T]:
        """The objects of other packages."""
        return (self[name] for name in self._found() if name not in self.own and name in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def broken(self, name: str) -> str:
        """Of a name whose object cannot be used: of which package it is, and why; empty for every other name."""
        return "" if name in self else self._broken.get(name, "")

    def refresh(self) -> None:
        """Look for entry points again: packages have come or gone."""
        with self._lock:
            self._entries, self._usable, self._broken = None, dict(self.own), {}

    def _found(self) -> Mapping[str, EntryPoint]:
        found = self._entries
        if found is None:
            found = {each.name: each for each in entry_points(group=self.group)}
            self._entries = found = dict(sorted(found.items()))
        return found

    def _load(self, name: str) -> None:
        entry = self._found()[name]
        if name in self._broken:
            raise KeyError(name)
        try:
            self._usable[name] = self._made(name, entry.load(), package_of(entry))
        except ANYTHING as error:
            self._broken[name] = f"'{name}' of {package_of(entry)} cannot be used: {words_of(error)}"
            log.warning("a plugin cannot be used", extra={"group": self.group, "reason": self._broken[name]})
            raise KeyError(name) from error


def package_of(entry: EntryPoint) -> str:
    """Name and version of the package that an entry point comes with."""
    return "?" if entry.dist is None else f"{entry.dist.name} {entry.dist.version}"


def words_of(error: BaseException) -> str:
    """An error of another package's in words, whatever its ``__str__`` does."""
    try:
        return f"{type(error).__name__}: {error}"
    except ANYTHING:
        return type(error).__name__


class Guard:
    """Asks an object of another package; its failure is logged once, as every frame may repeat it.

    Args:
        group: The group of its entry point.
        name: Its name there.
        package: Whose it is.
    """

    def __init__(self, group: str, name: str, package: str) -> None:
        self.package = package
        self._said = {"group": group, "plugin": name, "package": package}
        self._failed = False

    def ask(self, question: Callable[[], T], otherwise: T) -> T:
        """Its answer, or the fallback where it fails."""
        try:
            return question()
        except ANYTHING as error:
            self.note(error)
            return otherwise

    def note(self, error: BaseException) -> str:
        """Say in the log that it has failed, if it is the first time; returns what went wrong in few words."""
        words = words_of(error)[:200]
        if not self._failed:
            self._failed = True
            log.warning("a plugin fails", extra=self._said | {"reason": words})
        return words
