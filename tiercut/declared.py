"""Messages as they are declared: JSON to a class and back, and a refusal that names the field.

A message is one frozen ``msgspec.Struct`` whose fields are of types from `tiercut.fields`. What comes from elsewhere is
checked when it is decoded; what a program makes itself is not checked again when it is encoded. Absent and ``null`` are
the same in JSON, unknown keys are ignored: a newer sender may say more.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec
from msgspec import inspect

from tiercut.errors import BadEnvelope, SettingsError, refuse
from tiercut.limits import MAX_SENTENCE
from tiercut.names import printable

#: Every ``reason`` of a `BadEnvelope`: those of reading, then those of the fields.
ENVELOPE_REASONS = frozenset(
    {
        "envelope_too_big",
        "not_msgpack",
        "not_json",
        "not_a_map",
        "duplicate_key",
        "unknown_version",
        "missing_field",
        "bad_type",
        "bad_plan",
        "unknown_codec",
        "unknown_dtype",
        "tensors_too_big",
        "too_many",
        "bad_name",
        "bad_clock",
        "bad_stage",
        "bad_tensor_name",
        "bad_shape",
        "bad_number",
        "bad_model",
        "bad_delivery",
        "bad_deadline",
        "bad_text",
        "bad_status",
        "bad_control",
        "bad_state",
        "bad_settings",
        "wrong_stream",
        "wrong_topic",
    }
)
MAX_JSON_BYTES = 64 * 1024

Declared = TypeVar("Declared", bound=msgspec.Struct)
#: Field names and list indexes from the root of a message to a value.
Steps = Sequence[str | int]


def encode_json(message: msgspec.Struct) -> bytes:
    """The JSON of a message; what UTF-8 cannot say becomes ``?``."""
    try:
        return msgspec.json.encode(message, enc_hook=plain)
    except UnicodeEncodeError:
        said = msgspec.to_builtins(message, enc_hook=plain)
        return json.dumps(said, ensure_ascii=False).encode("utf-8", "replace")


def plain(value: object) -> str | int | float:
    """What messages say of texts and numbers of other types, such as numpy's.

    Raises:
        NotImplementedError: it is neither.
    """
    for kind in (str, int, float):
        if isinstance(value, kind):
            return kind(value)
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
    """The message that a parsed JSON value is.

    Raises:
        BadEnvelope: a field is missing, of another type or not within its limits.
    """
    try:
        return msgspec.convert(value, cls)
    except (msgspec.ValidationError, SettingsError):
        said = _without_nulls(value)
    try:
        return msgspec.convert(said, cls)
    except SettingsError as error:
        raise bad_plan(error) from error
    except msgspec.ValidationError as error:
        if isinstance(said, dict):
            for each in msgspec.structs.fields(cls):
                if each.required and each.encode_name not in said:
                    raise missing(each.encode_name, ()) from error
        raise refusal(error, cls, lambda steps: _value_at(said, steps)) from error


def bad_plan(error: SettingsError) -> BadEnvelope:
    """The refusal of a message with a plan that does not hold together: only plans' constructors say so."""
    return refuse("bad_plan", expected=error.expected, came=error.came)


def missing(key: str, steps: Steps) -> BadEnvelope:
    """The refusal of a message without a field."""
    return refuse("missing_field", expected=f"'{_shown((*steps, key))}'", came=None)


def refusal(
    error: msgspec.ValidationError, cls: type, value_at: Callable[[Steps], object], *, within: Steps = ()
) -> BadEnvelope:
    """What is wrong with a message, from what msgspec says of it.

    Args:
        error: As msgspec raised it: "Expected `int` >= 0 - at `$.plan.epoch`".
        cls: What the message was to be.
        value_at: Finds what came, by steps from the root; raises ``LookupError`` where that is not to be had.
        within: Steps from the root to what was to be a ``cls``.
    """
    said, _, path = str(error).rpartition(" - at ") if " - at " in str(error) else (str(error), "", "")
    steps = [int(index) if index else name for name, index in re.findall(r"\.(\w+)|\[(\d+)\]", path)]
    kind, reason = _declared_at(inspect.type_info(cls), steps)
    steps = [*within, *steps]
    if found := re.fullmatch(r"Object missing required field `(\w+)`", said):
        return missing(found[1], steps)
    came: object
    try:
        came = value_at(steps)
    except (LookupError, msgspec.DecodeError):
        came = said.partition("got ")[2] or "another"
    return refuse(_reason(said, steps, reason, came), expected=f"'{_shown(steps)}' {_wanted(kind, said)}", came=came)


def _wanted(kind: inspect.Type, said: str) -> str:
    """What a field should be."""
    if isinstance(kind, inspect.LiteralType):
        return f"as one of {', '.join(map(str, kind.values))}"
    if (
        ", got" not in said
        and isinstance(kind, (inspect.IntType, inspect.FloatType))
        and None not in {kind.ge, kind.le}
    ):
        return f"of {kind.ge} to {kind.le}"
    return f"as {said.removeprefix('Expected ').partition(', got')[0].replace('`', '')}"


def _reason(said: str, steps: Steps, declared: str | None, came: object) -> str:
    """Name of the counter of what msgspec says."""
    if said.endswith((", got `null`", ", got `None`")):
        return "missing_field"
    if "of at least length" in said:  # an array that stands for an object
        return declared or "bad_type"
    if ", got " in said:
        is_element = not steps or isinstance(steps[-1], int)
        return "not_a_map" if said.startswith("Expected `object`") and is_element else "bad_type"
    if re.match(r"Expected `(array|object)` of length", said):
        return declared or "too_many"
    if said == "Number out of range" or (isinstance(came, float) and not abs(came) < float("inf")):
        return "bad_number"
    return declared or ("bad_text" if said.startswith("Expected `str`") else "bad_number")


def _declared_at(kind: inspect.Type, steps: Steps) -> tuple[inspect.Type, str | None]:
    """The type of a field, and the innermost reason on the way to it."""
    reason: str | None = None
    for step in (*steps, None):
        while isinstance(kind, (inspect.Metadata, inspect.UnionType)):
            if isinstance(kind, inspect.Metadata):
                reason = (kind.extra or {}).get("reason", reason)
                kind = kind.type
            else:
                kind = next(each for each in kind.types if not isinstance(each, inspect.NoneType))
        if step is None:
            break
        if isinstance(kind, inspect.StructType):
            inner = [each.type for each in kind.fields if step in {each.encode_name, kind.fields.index(each)}]
        else:
            inner = [getattr(kind, name) for name in ("item_type", "value_type") if hasattr(kind, name)]
        kind = inner[0] if inner else inspect.AnyType()
    return kind, reason


def _value_at(value: Any, steps: Steps) -> object:
    for step in steps:
        value = value[step]
    return value


def _shown(steps: Steps) -> str:
    return "".join(f"[{each}]" if isinstance(each, int) else f".{each}" for each in steps).lstrip(".") or "the message"


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


def fit_sentences(message: msgspec.Struct, *names: str) -> None:
    """For a constructor: cut sentences for people to their limit, and replace what cannot be printed."""
    for name in names:
        text = getattr(message, name)
        if len(text) > MAX_SENTENCE or not text.isprintable():
            msgspec.structs.force_setattr(message, name, printable(text[:MAX_SENTENCE]))


def iso_time(unix_s: float, *, digits: str = "milliseconds") -> str:
    """A moment as messages say it: UTC, ISO 8601."""
    return datetime.fromtimestamp(unix_s, UTC).isoformat(timespec=digits).replace("+00:00", "Z")


def unix_time(text: str) -> float:
    """The moment that a message says.

    Raises:
        BadEnvelope: it is no time in ISO 8601.
    """
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError) as error:
        raise refuse("bad_clock", expected="a time in ISO 8601", came=text) from error
