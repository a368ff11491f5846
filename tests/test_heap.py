"""What keeps nodes small: modules that they do not import, and memory that goes back."""

from __future__ import annotations

import gc
import subprocess
import sys

import pytest

from tiercut import heap

#: Large packages that a node needs only for some of what it can do.
HEAVY = {"aiohttp", "cryptography", "jsonpath", "onnx", "PIL", "torch"}


@pytest.mark.parametrize("program", ["iot_node", "edge_node", "cloud_node"])
def test_node_imports_large_packages_only_where_it_needs_them(program: str) -> None:
    code = f"import sys, {program}.__main__; print(*{HEAVY} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_what_lives_as_long_as_the_process_is_frozen() -> None:
    before = gc.get_freeze_count()
    try:
        heap.settle()
        assert gc.get_freeze_count() > before
    finally:
        gc.unfreeze()
    heap.give_back()
