"""Text of others, made fit to be shown: no line ends, no control sequences of terminals."""

from __future__ import annotations


def printable(text: str, *, instead: str = "?") -> str:
    """The text with everything that cannot be printed replaced."""
    return text if text.isprintable() else "".join(char if char.isprintable() else instead for char in text)
