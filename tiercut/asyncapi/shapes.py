"""Short ways to write JSON Schemas (draft 07, which AsyncAPI 3.0 takes)."""

from __future__ import annotations

import dataclasses
import types
import typing
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from tiercut.names import NAME

Schema = dict[str, Any]


def text(description: str = "", **more: Any) -> Schema:
    """A text."""
    return _with({"type": "string", **more}, description)


def number(description: str = "", **more: Any) -> Schema:
    """A number."""
    return _with({"type": "number", **more}, description)


def count(description: str = "") -> Schema:
    """A whole number of 0 or more."""
    return _with({"type": "integer", "minimum": 0}, description)


def flag(description: str = "") -> Schema:
    """True or false."""
    return _with({"type": "boolean"}, description)


def name(description: str = "") -> Schema:
    """A name of a site, node or stream."""
    return text(description, pattern=f"^{NAME.pattern}$")


def one_of(*values: str, description: str = "") -> Schema:
    """One of these texts."""
    return _with({"type": "string", "enum": list(values)}, description)


def items(of: Schema, description: str = "") -> Schema:
    """A list."""
    return _with({"type": "array", "items": of}, description)


def table(of: Schema, description: str = "") -> Schema:
    """An object with free keys."""
    return _with({"type": "object", "additionalProperties": of}, description)


def or_null(schema: Schema) -> Schema:
    """The same, or null."""
    if "$ref" in schema:
        return {"oneOf": [schema, {"type": "null"}]}
    changed = {**schema, "type": [schema["type"], "null"]}
    return changed | ({"enum": [*schema["enum"], None]} if "enum" in schema else {})


def ref(schema: str) -> Schema:
    """A schema of the document's components."""
    return {"$ref": f"#/components/schemas/{schema}"}


def record(description: str, always: dict[str, Schema], sometimes: dict[str, Schema] | None = None) -> Schema:
    """An object with these fields; readers must ignore others, as a newer sender may say more."""
    return {
        "type": "object",
        "description": description,
        "required": list(always),
        "properties": always | (sometimes or {}),
    }


def settings_record(cls: type, description: str) -> Schema:
    """The object that `tiercut.settings.from_table` makes settings of, with their help texts."""
    hints = typing.get_type_hints(cls)
    always: dict[str, Schema] = {}
    sometimes: dict[str, Schema] = {}
    for field in dataclasses.fields(cls):
        schema = _setting(hints[field.name]) | {"description": field.metadata["help"]}
        if field.default is dataclasses.MISSING:
            always[field.name] = schema
        else:
            sometimes[field.name] = schema
    return record(description, always, sometimes) | {"additionalProperties": False}


def _setting(kind: Any) -> Schema:  # noqa: PLR0911 - one return per kind of setting
    if get_origin(kind) in {Union, types.UnionType}:
        return or_null(_setting(next(each for each in get_args(kind) if each is not type(None))))
    if get_origin(kind) is tuple:
        return items(_setting(get_args(kind)[0]))
    if get_origin(kind) is Literal:
        return one_of(*get_args(kind))
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return settings_record(kind, "")
    if kind is bool:
        return flag()
    if kind is int:
        return {"type": "integer"}
    if kind is float:
        return number()
    if kind in {str, Path}:
        return text()
    raise TypeError(f"a setting of {kind} has no JSON Schema yet: say here what it is in JSON")


def _with(schema: Schema, description: str) -> Schema:
    return schema | ({"description": description} if description else {})
