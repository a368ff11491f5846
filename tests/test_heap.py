"""What keeps nodes small: modules that they do not import, and memory that goes back."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from tiercut import heap

#: Large packages that a node needs only for some of what it can do.
HEAVY = {"aiohttp", "cryptography", "jsonpath", "onnx", "PIL", "torch"}


@pytest.mark.parametrize("program", ["iot_node", "edge_node", "cloud_node"])
def test_node_imports_large_packages_only_where_it_needs_them(program: str) -> None:
    code = f"import sys, {program}.__main__; print(*{HEAVY} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


@pytest.fixture
def collections(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The garbage collector's phases in a process that has not settled yet."""
    monkeypatch.setattr(heap, "_settled", threading.Event())
    phases: list[str] = []

    def note(phase: str, _: dict[str, int]) -> None:
        phases.append(phase)

    gc.disable()  # only those that are asked for
    gc.callbacks.append(note)
    yield phases
    gc.callbacks.remove(note)
    gc.enable()
    gc.unfreeze()


def test_program_freezes_what_lives_as_long_as_it_and_gives_back_the_rest(collections: list[str]) -> None:
    before = gc.get_freeze_count()
    heap.settle()
    assert gc.get_freeze_count() > before
    collections.clear()
    heap.give_back()
    assert collections == ["start", "stop"]


def test_heap_of_who_uses_tiercut_as_a_library_is_left_alone(collections: list[str]) -> None:
    heap.give_back()
    assert not collections
