"""Messages by their declarations: JSON to a class and back; `tiercut.refusal` says what is wrong with one.

A message is one frozen ``msgspec.Struct`` whose fields are of types from `tiercut.fields`. What comes from elsewhere is
checked when it is decoded; what a program makes itself is not checked again when it is encoded. Absent and ``null`` are
the same in JSON, unknown keys are ignored: a newer sender may say more.
"""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import UTC, datetime
from numbers import Integral, Real
from typing import Any, TypeVar

import msgspec
from msgspec import inspect

from tiercut.errors import SettingsError, refuse
from tiercut.limits import MAX_SENTENCE
from tiercut.names import printable
from tiercut.refusal import Steps, bad_plan, missing, refusal

MAX_JSON_BYTES = 64 * 1024

Declared = TypeVar("Declared")


def encode_json(message: msgspec.Struct) -> bytes:
    """The JSON of a message; what UTF-8 cannot say becomes ``?``."""
    try:
        return msgspec.json.encode(message, enc_hook=plain)
    except UnicodeEncodeError:
        said = msgspec.to_builtins(message, enc_hook=plain)
        return json.dumps(said, ensure_ascii=False).encode("utf-8", "replace")


def plain(value: object) -> str | int | float:
    """Plain values for texts and numbers of other types, such as numpy's.

    Raises:
        NotImplementedError: it is neither.
    """
    if isinstance(value, str):
        return str(value)
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return float(value)
    raise NotImplementedError(f"no message can say a {type(value).__name__}")


def decode_json(cls: type[Declared], data: bytes, *, limit: int = MAX_JSON_BYTES) -> Declared:
    """The message in a JSON text of at most ``limit`` bytes.

    Raises:
        BadEnvelope: it is none, or a field is missing, of another type or not within its limits.
    """
    return read(cls, load_json(data, limit=limit))


def load_json(data: bytes, *, limit: int = MAX_JSON_BYTES) -> object:
    """The value of a JSON text, each key once in an object, no NaN; half of a surrogate pair becomes ``?``.

    Raises:
        BadEnvelope: it is longer, or no JSON.
    """
    if len(data) > limit:
        raise refuse("envelope_too_big", expected=f"at most {limit} bytes of JSON", came=len(data))
    try:
        text = bytes(data).decode()
        value: object = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
        if "\\u" in text:
            value = json.loads(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))
    except (ValueError, RecursionError) as error:
        raise refuse("not_json", expected="one JSON object in UTF-8", came=str(error)) from error
    return value


def read(cls: type[Declared], value: object) -> Declared:
    """The message that a parsed JSON value is; any dataclass will do as well.

    Raises:
        BadEnvelope: a field is missing, of another type or not within its limits, or it is nested too deep.
    """
    try:
        return _read(cls, value)
    except RecursionError as error:
        raise refuse("not_json", expected="JSON that is less deeply nested", came=str(error)) from error
    except UnicodeEncodeError as error:  # half of a surrogate pair, from a file that `load_json` has not read
        raise refuse("bad_text", expected="texts in Unicode", came=error.object) from error


def read_format(cls: type[Declared], document: object, name: str) -> Declared:
    """The value that a file's document says, which names its ``format``.

    Raises:
        BadEnvelope: it is of another format, or as `read` says.
    """
    came = document.get("format") if isinstance(document, dict) else type(document).__name__
    if not isinstance(document, dict) or came != name:
        raise refuse("bad_type", expected=f"'format': '{name}'", came=came)
    return read(cls, document)


def _read(cls: type[Declared], value: object) -> Declared:
    try:
        return msgspec.convert(value, cls)
    except (msgspec.ValidationError, SettingsError) as error:
        wrong = error
    said = _without_nulls(value)
    with suppress(msgspec.ValidationError, SettingsError):
        return msgspec.convert(said, cls)
    if isinstance(wrong, SettingsError):
        raise bad_plan(wrong) from wrong
    if isinstance(said, dict):
        for name in _required(cls):
            if name not in said:
                raise missing(name, ()) from wrong
    raise refusal(wrong, cls, lambda steps: _value_at(value, steps)) from wrong


def _required(cls: type) -> list[str]:
    """Fields that cannot be absent, nor null."""
    kind = inspect.type_info(cls)
    fields = kind.fields if isinstance(kind, (inspect.StructType, inspect.DataclassType)) else ()
    return [each.encode_name for each in fields if each.required and not _is_optional(each.type)]


def _is_optional(kind: inspect.Type) -> bool:
    return isinstance(kind, inspect.UnionType) and any(isinstance(each, inspect.NoneType) for each in kind.types)


def _value_at(value: Any, steps: Steps) -> object:
    for step in steps:
        value = value[step]
    return value


def _without_nulls(value: object) -> object:
    if isinstance(value, dict):
        return {key: _without_nulls(each) for key, each in value.items() if each is not None}
    return [_without_nulls(each) for each in value] if isinstance(value, list) else value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise refuse("duplicate_key", expected="each key once in an object", came="one twice")
    return made


def _no_constant(text: str) -> float:
    raise refuse("bad_number", expected="finite numbers", came=text)


# ---------------------------------------------------------------------- values of fields


def cut_sentence(message: msgspec.Struct, name: str) -> None:
    """For a constructor: cut a sentence for people to its limit."""
    text: str = getattr(message, name)
    if len(text) > MAX_SENTENCE:
        msgspec.structs.force_setattr(message, name, text[:MAX_SENTENCE])


def fit_sentence(message: msgspec.Struct, name: str) -> None:
    """For a constructor: cut a sentence for people to its limit, and replace what cannot be printed."""
    cut_sentence(message, name)
    text: str = getattr(message, name)
    if not text.isprintable():
        msgspec.structs.force_setattr(message, name, printable(text))


def iso_time(unix_s: float, *, digits: str = "milliseconds") -> str:
    """A moment as messages have it: UTC, ISO 8601."""
    return datetime.fromtimestamp(unix_s, UTC).isoformat(timespec=digits).replace("+00:00", "Z")


def unix_time(text: str) -> float:
    """The moment in a message.

    Raises:
        BadEnvelope: it is no time in ISO 8601.
    """
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError) as error:
        raise refuse("bad_clock", expected="a time in ISO 8601", came=text) from error
