"""Reading a scenario's fields, with errors that name the field."""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Mapping
from typing import Any, NoReturn

from tiercut.errors import SettingsError


def refuse(where: str, expected: str, came: object) -> NoReturn:
    """Say what a scenario's field should have been.

    Raises:
        SettingsError: always.
    """
    raise SettingsError(f"the scenario's {where}", expected=expected, came=repr(came)[:80], fix="correct the scenario")


def only(table: Mapping[str, Any], where: str, known: Collection[str]) -> None:
    """Refuse misspelt fields."""
    for name in table:
        if name not in known:
            refuse(f"{where}.{name}".strip("."), f"one of {', '.join(known)}", name)


def table_of(value: object, where: str) -> Mapping[str, Any]:
    """A table."""
    if not isinstance(value, dict):
        refuse(where, "a table", value)
    return value


def tables(value: object, where: str) -> list[Mapping[str, Any]]:
    """A list of tables."""
    if not isinstance(value, list):
        refuse(where, "a list of tables", value)
    return [table_of(each, f"{where}[{index}]") for index, each in enumerate(value)]


def number(
    table: Mapping[str, Any], key: str, where: str = "", *, default: float | None = None, above: float | None = None
) -> float:
    """A finite number, at least 0 or above a bound."""
    value = table.get(key, default)
    field = f"{where}.{key}".strip(".")
    expected = "a finite number >= 0" if above is None else f"a finite number > {above:g}"
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        refuse(field, expected, value)
    if value < 0 or (above is not None and value <= above):
        refuse(field, expected, value)
    return float(value)


def integer(table: Mapping[str, Any], key: str, where: str = "", *, default: int | None = None, least: int = 0) -> int:
    """A whole number."""
    value = table.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        refuse(f"{where}.{key}".strip("."), f"a whole number >= {least}", value)
    return value


def text(table: Mapping[str, Any], key: str, where: str = "", *, default: str | None = None) -> str:
    """A text that is not empty."""
    value = table.get(key, default)
    if not isinstance(value, str) or not value:
        refuse(f"{where}.{key}".strip("."), "a text", value)
    return value


def one_of(table: Mapping[str, Any], key: str, known: Collection[str], where: str = "", *, default: str) -> str:
    """One of some texts."""
    value = text(table, key, where, default=default)
    if value not in known:
        refuse(f"{where}.{key}".strip("."), f"one of {', '.join(known)}", value)
    return value


def numbers(value: object, where: str) -> list[float]:
    """A list of finite numbers >= 0, at least one."""
    if not isinstance(value, list) or not value:
        refuse(where, "a list of numbers", value)
    return [number({"": each}, "", where) for each in value]


def pairs(value: object, where: str) -> list[tuple[float, float]]:
    """A list of [a, b], with a increasing."""
    if not isinstance(value, list) or not value or any(not isinstance(each, list) or len(each) != 2 for each in value):  # noqa: PLR2004 - a pair
        refuse(where, "a list of pairs [seconds, value] or [start, end]", value)
    found = [(a, b) for a, b in (numbers(each, where) for each in value)]
    if any(a >= b for (a, _), (b, _) in itertools.pairwise(found)):
        refuse(where, "pairs in the order of time", value)
    return found
