"""The files of a bundle that is being written, here or as it comes from a hub."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

#: A folder that was begun this long ago and is not finished never will be.
STALE_S = 3600.0


def write_file(path: Path, data: bytes) -> None:
    """Write a file of a bundle, and wait until the disk has it."""
    path.parent.mkdir(exist_ok=True)
    with path.open("wb") as file:
        file.write(data)
        sync(file)


def sync(file: BinaryIO) -> None:
    """Wait until the disk has a file."""
    file.flush()
    os.fsync(file.fileno())
