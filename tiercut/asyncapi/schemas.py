"""JSON Schemas (draft 07, which AsyncAPI 3.0 takes) of messages, from their declarations and what is written there."""

from __future__ import annotations

import dataclasses
import re
import sys
from collections.abc import Collection, Iterable, Iterator
from inspect import cleandoc
from pathlib import Path
from typing import Any

import msgspec
from msgspec import inspect

Schema = dict[str, Any]
_REF = "#/components/schemas/{name}"
_Record = inspect.StructType | inspect.DataclassType


def ref(name: str) -> Schema:
    """A schema of the document's components."""
    return {"$ref": _REF.format(name=name)}


def schemas_of(classes: Iterable[type], *, from_people: Collection[type] = ()) -> dict[str, Schema]:
    """Schemas of classes and of all that they hold, by name.

    A field is required where tiercut always writes it. Readers must ignore others, as a newer sender may say more.

    Args:
        classes: Message classes, or dataclasses of settings.
        from_people: Those that people write: of them only fields without a default are required.
    """
    roots = tuple(classes)
    _, made = msgspec.json.schema_components(roots, schema_hook=_path, ref_template=_REF)
    records = {each.cls.__name__: each for each in _records(inspect.multi_type_info(roots))}
    for name, schema in made.items():
        if name in records:
            _explain(schema, records[name], by_hand=records[name].cls in from_people)
    return {name: _tidy(made[name]) for name in sorted(made)}


def _path(kind: type) -> Schema:
    if kind is Path:
        return {"type": "string"}
    raise NotImplementedError  # msgspec asks for this: it then says which type has no schema


def _records(kinds: Iterable[Any]) -> Iterator[_Record]:
    """Every class that some types hold."""
    for kind in kinds:
        inner: list[Any] = [getattr(kind, name, None) for name in ("type", "item_type", "value_type")]
        inner += getattr(kind, "types", ())
        if isinstance(kind, _Record):
            yield kind
            inner += [each.type for each in kind.fields]
        yield from _records(filter(None, inner))


def _explain(schema: Schema, record: _Record, *, by_hand: bool) -> None:
    """Add what an object is for, what its fields mean, and which are always there."""
    about, texts = _documented(record.cls)
    is_settings = isinstance(record, inspect.DataclassType) and all("help" in t for t in _metadata(record.cls).values())
    if is_settings:
        texts = {name: str(data["help"]) for name, data in _metadata(record.cls).items()}
        schema["additionalProperties"] = False
    schema["description"] = about
    names = {each.encode_name: each for each in record.fields}
    for name, text in texts.items():
        inner = schema["properties"].get(next((wire for wire, f in names.items() if f.name == name), name), {})
        if "$ref" not in inner:
            inner.setdefault("description", text)
    strict = not (by_hand or is_settings)
    schema["required"] = [
        name for name, each in names.items() if (_always(record.cls, each) if strict else each.required)
    ]


def _metadata(cls: Any) -> dict[str, Any]:
    return {each.name: each.metadata for each in dataclasses.fields(cls)}


def _always(cls: Any, field: inspect.Field) -> bool:
    """Whether a field is written in every message."""
    has_default, has_factory = field.default is not msgspec.NODEFAULT, field.default_factory is not msgspec.NODEFAULT
    if field.required or not (has_default or has_factory):  # the default of the latter is UNSET
        return field.required
    config = getattr(cls, "__struct_config__", None)
    return not (config and config.omit_defaults) or field.default_factory not in {msgspec.NODEFAULT, dict, list, set}


def _documented(cls: type) -> tuple[str, dict[str, str]]:
    """First paragraph of a docstring, and what its attributes mean, as JSON knows them."""
    texts: dict[str, str] = {}
    about = ""
    for each in reversed(cls.__mro__[:-1]):
        about, _, rest = cleandoc(each.__doc__ or "").partition("\n\n")
        attributes = rest.partition("Attributes:\n")[2].partition("\n\n")[0]
        texts |= dict(re.findall(r"^    (\w+): (.*(?:\n     .*)*)", attributes, flags=re.MULTILINE))
    return _for_json(about), {name: _for_json(meaning) for name, meaning in texts.items()}


def _for_json(text: str) -> str:
    words = {"``None``": "null", "``True``": "true", "``False``": "false", "``": "`"}
    for ours, theirs in words.items():
        text = text.replace(ours, theirs)
    return " ".join(text.split())


def _tidy(schema: Any) -> Any:
    """Without what says nothing: titles, defaults, the bounds of a float; with patterns as JavaScript knows them."""
    if isinstance(schema, list):
        return [_tidy(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    made: Schema = {}
    for key, value in schema.items():
        if key == "properties":
            made[key] = {name: _tidy(each) for name, each in value.items()}
        elif key == "pattern":
            made[key] = value.replace("\\Z", "$")
        elif key not in {"title", "default"} and value not in (-sys.float_info.max, sys.float_info.max):
            made[key] = _tidy(value)
    return made
