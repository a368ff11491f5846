"""What a check finds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tiercut.errors import TiercutError

State = Literal["ok", "warning", "problem"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of a report.

    Attributes:
        check: What was checked, in a word or two.
        state: ``warning``: the site works, but someone should know; ``problem``: something does not work.
        says: What was found.
        fix: What to do; empty where there is nothing to do.
    """

    check: str
    state: State
    says: str
    fix: str = ""


def good(check: str, says: str) -> Finding:
    """All is well."""
    return Finding(check, "ok", says)


def warning(check: str, says: str, fix: str) -> Finding:
    """It works, but."""
    return Finding(check, "warning", says, fix)


def problem(check: str, says: str, fix: str) -> Finding:
    """It does not work."""
    return Finding(check, "problem", says, fix)


def failed(check: str, error: TiercutError) -> Finding:
    """An error of tiercut's as a sentence."""
    return problem(check, f"{error.what}: expected {error.expected}, got {error.came}", error.fix)
