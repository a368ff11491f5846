"""TLS contexts that follow their files: one per set of files, rebuilt when a file has changed; and secret names."""

from __future__ import annotations

import hashlib
import os
import ssl
import threading
from collections.abc import Callable
from pathlib import Path

#: (kind, files) → what the files looked like, and the context made of them
_kept: dict[tuple[str, tuple[str, ...]], tuple[tuple[object, ...], ssl.SSLContext]] = {}
_lock = threading.Lock()
_MAX = 64


def current(kind: str, files: tuple[str, ...], build: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
    """The context for these files as they are now.

    Making one costs milliseconds, and with the system's authorities tens of them: it is kept until a file changes.
    While somebody is writing the files, a key may not fit its certificate: then the last good one serves on.

    Args:
        kind: What for: contexts of different kinds are not the same.
        files: What it is made of.
        build: Makes it.

    Raises:
        OSError: a file cannot be read or is no PEM, and there is no earlier context.
    """
    looks = tuple(map(_look, files))
    with _lock:
        kept = _kept.get((kind, files))
    if kept is not None and kept[0] == looks:
        return kept[1]
    try:
        context = build()
    except OSError:
        if kept is None:
            raise
        return kept[1]
    with _lock:
        if len(_kept) >= _MAX:
            _kept.clear()
        _kept[kind, files] = (looks, context)
    return context


def secret_suffix(key_file: Path | None) -> str:
    """What makes a client id one that nobody else can guess; empty without a key.

    A broker disconnects a client when another one connects with its id, whoever that is.
    """
    try:
        key = b"" if key_file is None else key_file.read_bytes()
    except OSError:  # the connection itself reports that
        key = b""
    return f"-{hashlib.sha256(b'client id' + key).hexdigest()[:16]}" if key else ""


def _look(path: str) -> object:
    try:
        found = os.stat(path)  # noqa: PTH116 - the paths are texts here
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
