"""Fields of ``bundle.json``, each checked before it is believed; what is wrong says where it stands."""

from __future__ import annotations

from typing import Any, TypeVar

from tiercut.errors import BundleError

JSON_FILE = "bundle.json"

_Field = TypeVar("_Field")


class Fields:
    """One object of the document, which says where it stands when a field of it is wrong."""

    def __init__(self, value: object, where: str) -> None:
        if not isinstance(value, dict):
            raise bad_field(where or "the document", "an object", value)
        self.fields: dict[str, Any] = value
        self._where = where

    def path(self, key: str) -> str:
        """Where a field of it stands."""
        return f"{self._where}.{key}" if self._where else key

    def raw(self, key: str) -> object:
        """A field that must be there, of any type."""
        if key not in self.fields:
            raise bad_field(self.path(key), "the field", "none")
        return self.fields[key]

    def take(self, key: str, kind: type[_Field]) -> _Field:
        """A field of one type."""
        value = self.raw(key)
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise bad_field(self.path(key), kind.__name__, value)
        return value

    def count(self, key: str) -> int:
        """A whole number >= 0."""
        value = self.take(key, int)
        if value < 0:
            raise bad_field(self.path(key), "a number >= 0", value)
        return value

    def number(self, key: str) -> float:
        """A number."""
        value = self.raw(key)
        return _number(value, self.path(key))

    def numbers(self, key: str) -> tuple[float, ...]:
        """A list of numbers."""
        return tuple(_number(value, self.path(key)) for value in self.take(key, list))

    def shape(self, key: str) -> tuple[int, ...]:
        """A list of dimensions."""
        values = self.take(key, list)
        if not all(isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in values):
            raise bad_field(self.path(key), "whole numbers >= 0", values)
        return tuple(values)

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of texts."""
        values = self.take(key, list)
        if not all(isinstance(text, str) for text in values):
            raise bad_field(self.path(key), "a list of texts", values)
        return tuple(values)

    def choice(self, key: str, choices: tuple[_Field, ...]) -> _Field:
        """One of some values."""
        value = self.raw(key)
        for choice in choices:
            if choice == value:
                return choice
        raise bad_field(self.path(key), f"one of {choices}", value)

    def under(self, key: str) -> Fields:
        """An object within this one."""
        return Fields(self.raw(key), self.path(key))

    def each_if(self, key: str) -> list[Fields]:
        """A list of objects; empty where there is none."""
        return self.each(key) if key in self.fields else []

    def each(self, key: str) -> list[Fields]:
        """A list of objects."""
        return [Fields(item, f"{self.path(key)}[{i}]") for i, item in enumerate(self.take(key, list))]


def _number(value: object, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise bad_field(where, "a number", value)
    try:
        return float(value)
    except OverflowError as error:
        raise bad_field(where, "a number that a float holds", str(value)[:20]) from error


def bad_field(where: str, expected: str, came: object) -> BundleError:
    """The error for a field that is not what it should be."""
    return BundleError(
        f"'{where}' in '{JSON_FILE}' is not valid",
        expected=expected,
        came=repr(came)[:80],
        fix="copy the bundle again, or export the model again",
    )
