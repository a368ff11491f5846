"""Reading a document that people write: typed by msgspec, and a wrong field refused by name with what was expected."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NoReturn, TypeVar

import msgspec
import numpy as np
from msgspec import inspect

from tiercut.errors import SettingsError
from tiercut.planner.objectives import Floats
from tiercut.planner.problem import MAX_NUMBER

#: How similar two names must be for one to be taken for a misspelling of the other.
SIMILAR = 0.8
#: Characters of a wrong value that an error shows.
MAX_SHOWN = 60

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads one kind of document.

    Attributes:
        subject: What it is called in errors.
    """

    subject: str

    def read(self, document: object, kind: type[T], where: str = "") -> T:
        """The document as a typed value.

        Args:
            document: What JSON or TOML gave.
            kind: A class whose annotations say the limits; a ``description`` says them to people.
            where: The document's own field, where it is a part of another.

        Raises:
            SettingsError: names the field, what was expected, and what came.
        """
        try:
            return msgspec.convert(document, kind)
        except msgspec.ValidationError as error:
            field, expected, came = _located(document, kind, _steps(str(error)))
        except UnicodeEncodeError as error:
            field, expected, came = "", "texts in Unicode", error.object
        except RecursionError:
            field, expected, came = "", "less deeply nested values", "too many levels"
        return self.refuse(_joined(where, field) or f"the {self.subject.split()[-1]}", expected, came)

    def refuse(self, field: str, expected: str, came: object, fix: str = "") -> NoReturn:
        """Say which field is wrong.

        Raises:
            SettingsError: always.
        """
        raise SettingsError(
            f"'{field}' of the {self.subject} is wrong",
            expected=expected,
            came=shown(came),
            fix=fix or f"correct the {self.subject.split()[-1]}",
        )

    def numbers(self, values: object, field: str) -> Floats:
        """A list of numbers of 0 to `MAX_NUMBER`."""
        if not isinstance(values, list | tuple):
            self.refuse(field, "a list", values)
        if not all(issubclass(kind, int | float) and kind is not bool for kind in set(map(type, values))):
            self.refuse(field, "a list of numbers", values)
        try:
            array = np.array(values, dtype=np.float64)
        except OverflowError:
            array = np.array([math.inf])
        bad = ~((array >= 0) & (array <= MAX_NUMBER))
        if bad.any():
            expected = f"a finite number, at least 0 and at most {MAX_NUMBER:g}"
            self.refuse(f"{field}[{int(bad.argmax())}]", expected, values[int(bad.argmax())])
        return array

    def once(self, name: str, seen: set[str], field: str) -> None:
        """Refuse a name that was seen before."""
        if name in seen:
            self.refuse(field, "a name that no other has", name, "rename one of the two")
        seen.add(name)

    def no_misspelling(self, table: Mapping[str, Any], known: Collection[str], where: str) -> None:
        """Refuse a name that looks like a known one; other names are the sender's own notes and stay."""
        for name in table.keys() - known:
            close = difflib.get_close_matches(str(name), known, n=1, cutoff=SIMILAR)
            if close:
                self.refuse(_joined(where, str(name)), f"'{close[0]}'", str(name), "correct the name, or omit it")


def shown(value: object) -> str:
    """A value as a message can hold it."""
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 3]}..."


def _steps(said: str) -> list[str | int]:
    """The way to the wrong field, from msgspec's sentence: names and positions."""
    path = re.search(r" - at `\$([^`]*)`$", said)
    field = re.search(r"(?:missing required|contains unknown) field `([^`]*)`", said)
    steps = re.findall(r"\.([^.\[]+)|\[(\d+)\]", path[1] if path else "")
    return [*(int(index) if index else name for name, index in steps), *([field[1]] if field else [])]


def _located(document: Any, kind: Any, steps: Sequence[str | int]) -> tuple[str, str, object]:
    """The wrong field, what was expected there, and what came: the outermost one on the way that says what it is."""
    expects, description = _plain(inspect.type_info(kind))
    value, field = document, ""
    for step in steps:
        if description:
            break
        field = f"{field}[{step}]" if isinstance(step, int) else _joined(field, step)
        child = _child(expects, step)
        if child is None:
            return field, f"one of {', '.join(_names(expects))}", step
        expects, description = _plain(child)
        value = value[step] if isinstance(step, int) else value.get(step)
    return field, description or _word(expects), value


def _plain(expects: inspect.Type) -> tuple[inspect.Type, str]:
    """A type without its limits and without ``None``, and its description."""
    if isinstance(expects, inspect.Metadata):
        return expects.type, str((expects.extra_json_schema or {}).get("description", ""))
    if isinstance(expects, inspect.UnionType):
        return _plain(next(each for each in expects.types if not isinstance(each, inspect.NoneType)))
    return expects, ""


def _word(expects: inspect.Type) -> str:
    """What a value of a type without a description is to people."""
    match expects:
        case inspect.LiteralType():
            return " or ".join(repr(value) for value in expects.values)
        case inspect.TupleType():
            return f"a list of {len(expects.item_types)}"
        case inspect.ListType() | inspect.VarTupleType():
            return "a list"
        case inspect.StrType():
            return "a text"
        case inspect.FloatType() | inspect.IntType():
            return "a number"
        case _:
            return "an object"


def _child(expects: Any, step: str | int) -> inspect.Type | None:
    """The type of an item of a list, or of a class's field."""
    if isinstance(step, int):
        return expects.item_types[step] if isinstance(expects, inspect.TupleType) else expects.item_type
    return next((field.type for field in expects.fields if field.encode_name == step), None)


def _names(expects: Any) -> list[str]:
    return [field.encode_name for field in expects.fields]


@cache
def names_of(kind: type) -> frozenset[str]:
    """The names of a class's fields, as documents have them."""
    return frozenset(_names(inspect.type_info(kind)))


def _joined(where: str, field: str) -> str:
    return f"{where}.{field}" if where and field else where + field
