"""Names of sites, nodes and streams, and others' text made printable."""

from __future__ import annotations

import re
from functools import lru_cache

from tiercut.errors import refuse

#: Names of sites, nodes and streams: one level of a topic, no wildcard, readable in a log.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


@lru_cache(maxsize=4096)
def _is_name(value: str) -> bool:
    return NAME.fullmatch(value) is not None


def check_name(value: str, *, field_name: str) -> None:
    """Refuse a name that could not be one level of a topic."""
    if not _is_name(value):
        raise refuse("bad_name", expected=f"{field_name} as {NAME.pattern}", came=value)


def printable(text: str, *, instead: str = "?") -> str:
    """The text with everything that cannot be printed replaced."""
    return text if text.isprintable() else "".join(char if char.isprintable() else instead for char in text)
