"""Why a message is refused: the field, what was expected, what came, from what msgspec says of it. The cold path."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import msgspec
from msgspec import inspect

from tiercut.errors import BadEnvelope, SettingsError, refuse

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

#: Field names and list indexes from the root of a message to a value.
Steps = Sequence[str | int]

#: What msgspec calls types, and people.
_WORDS = {
    "array": "a list",
    "bool": "true or false",
    "float": "a number",
    "int": "a whole number",
    "object": "an object",
    "str": "a text",
    "bytes": "bytes",
}


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
    said = said.removeprefix("Expected ").partition(", got")[0]
    for theirs, ours in _WORDS.items():
        said = said.replace(f"`{theirs}`", ours)
    return f"as {said}"


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
        if isinstance(kind, (inspect.StructType, inspect.DataclassType)):
            inner = [each.type for each in kind.fields if step in {each.encode_name, kind.fields.index(each)}]
        else:
            inner = [getattr(kind, name) for name in ("item_type", "value_type") if hasattr(kind, name)]
        kind = inner[0] if inner else inspect.AnyType()
    return kind, reason


def _shown(steps: Steps) -> str:
    return "".join(f"[{each}]" if isinstance(each, int) else f".{each}" for each in steps).lstrip(".") or "the message"
