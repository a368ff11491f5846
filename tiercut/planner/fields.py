"""Reading the fields of a planning problem: each of its type and within its range, or a `SettingsError` naming it."""

from __future__ import annotations

import difflib
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from tiercut.errors import SettingsError

Floats = npt.NDArray[np.float64]

#: How alike two names must be to be taken for a misspelling.
ALIKE = 0.8


def refuse(field: str, expected: str, came: object, fix: str = "correct the problem") -> NoReturn:
    """Say which field is wrong.

    Raises:
        SettingsError: always.
    """
    raise SettingsError(f"'{field}' of the planning problem is wrong", expected=expected, came=shown(came), fix=fix)


def shown(value: object) -> str:
    """A value as a message can hold it: at most 60 characters."""
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."  # noqa: PLR2004 - the docstring's


def a_map(value: object, field: str) -> Mapping[str, Any]:
    """A JSON object."""
    if not isinstance(value, Mapping):
        refuse(field, "an object", value)
    return value


def a_list(value: object, field: str) -> Sequence[Any]:
    """A JSON array."""
    if not isinstance(value, list | tuple):
        refuse(field, "a list", value)
    return value


def a_text(table: Mapping[str, Any], key: str, where: str, default: str | None = None) -> str:
    """A text that is not empty."""
    value = table.get(key, default)
    if not isinstance(value, str) or not value:
        refuse(_join(where, key), "a text that is not empty", value)
    return value


def one_of(table: Mapping[str, Any], key: str, where: str, allowed: Collection[str]) -> str:
    """One of a few texts."""
    value = table.get(key)
    if not isinstance(value, str) or value not in allowed:
        refuse(_join(where, key), f"one of {', '.join(allowed)}", value)
    return value


def number(
    table: Mapping[str, Any],
    key: str,
    where: str,
    *,
    default: float | None = None,
    above: float | None = None,
    most: float = math.inf,
) -> float:
    """A finite number: greater than ``above``, or at least 0 where that is not given; at most ``most``."""
    value = table.get(key, default)
    fits = (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and (value >= 0 if above is None else value > above)
        and value <= min(most, 1e300)
    )
    if not fits:
        low = "at least 0" if above is None else f"greater than {above:g}"
        refuse(_join(where, key), f"a number {low}{'' if most == math.inf else f' and at most {most:g}'}", value)
    return float(value)


def integer(table: Mapping[str, Any], key: str, where: str, default: int | None = None) -> int:
    """A whole number, at least 0."""
    value = table.get(key, default)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        refuse(_join(where, key), "a whole number, at least 0", value)
    return value


def numbers(value: object, field: str) -> Floats:
    """A list of finite numbers, none below 0, as float64."""
    values = a_list(value, field)
    if not all(issubclass(kind, int | float) and kind is not bool for kind in set(map(type, values))):
        refuse(field, "a list of numbers", values)
    try:
        array = np.array(values, dtype=np.float64)
    except OverflowError:
        array = np.array([math.inf])
    bad = ~((array >= 0) & (array < math.inf))
    if bad.any():
        refuse(f"{field}[{int(bad.argmax())}]", "a finite number, at least 0", values[int(bad.argmax())])
    return array


def no_misspelling(table: Mapping[str, Any], where: str, known: Collection[str]) -> None:
    """Refuse a name that looks like a known one; other names are the sender's own notes and are left alone."""
    for name in table:
        if name not in known:
            close = difflib.get_close_matches(str(name), known, n=1, cutoff=ALIKE)
            if close:
                refuse(_join(where, str(name)), f"'{close[0]}'", str(name), "correct the name, or leave it out")


def _join(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key
