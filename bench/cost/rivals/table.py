"""Which rivals there are, and whether what they need is installed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Protocol, cast

from bench.bare import Part

#: A request's bytes to its answer's.
Call = Callable[[bytes], bytes]


class Rival(Protocol):
    """What a module of one gives."""

    def serve(self, port: int, part: Part) -> None:
        """Answer calls until the process is ended; a rival that starts its server by itself has none of this."""

    def calling(self, port: int, made: Callable[[], Part]) -> AbstractContextManager[Call]:
        """A client's connection."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A rival.

    Attributes:
        title: As it is printed.
        module: Where it is.
        needs: The packages that must be there.
        install: What installs it.
        server: Whether its server is a process that is started beside the client.
    """

    title: str
    module: str
    needs: tuple[str, ...]
    install: str
    server: bool = True

    def missing(self) -> str | None:
        """What to say if it cannot run here."""
        if all(find_spec(each) is not None for each in self.needs):
            return None
        return f"{self.title}: not installed, so not measured (pip install -c constraints.txt '{self.install}')"

    def load(self) -> Rival:
        """Its module."""
        module: ModuleType = import_module(self.module)
        return cast("Rival", module)


RIVALS = {
    "aiohttp": Entry("aiohttp, POST", "bench.cost.rivals.over_http", ("aiohttp",), "tiercut"),
    "grpc": Entry("gRPC, unary call", "bench.cost.rivals.over_grpc", ("grpc",), "tiercut[rivals]"),
    "ray": Entry(
        "Ray Serve, handle", "bench.cost.rivals.over_ray", ("ray", "fastapi"), "tiercut[rivals]", server=False
    ),
}


def installed() -> Iterator[tuple[str, Entry]]:
    """Those that can run."""
    return ((name, entry) for name, entry in RIVALS.items() if entry.missing() is None)
