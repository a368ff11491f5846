"""Reading fields of maps that came from elsewhere: each of its type and within its limit, or a `BadEnvelope`.

Shared by the envelope (`wire`) and the JSON of the human topics (`jsonwire`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from tiercut.errors import BadEnvelope, SettingsError, refuse
from tiercut.limits import MAX_TEXT
from tiercut.names import check_name
from tiercut.plan import TIERS, Deadline, Plan

#: Every ``reason`` of a `BadEnvelope`: those of `wire` and `jsonwire`, then those of the messages' constructors.
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

MAX_INTEGER = 2**53 - 1  # what JSON readers that only know doubles keep exactly


#: A stream that changes its plan every second gets there in 68 years.
MAX_EPOCH = 2**31


class Fields:
    """A map of fields, read one by one; what is never asked for is ignored, so a newer sender may say more.

    Args:
        values: The map as it was parsed.
        where: Name of the map in error messages.
    """

    def __init__(self, values: object, where: str) -> None:
        if not isinstance(values, dict):
            raise refuse("not_a_map", expected=f"a map for '{where}'", came=type(values).__name__)
        self._values: Mapping[str, Any] = values
        self._where = where

    def _get(self, key: str, kind: type | tuple[type, ...], *, optional: bool = False) -> Any:
        value = self._values.get(key)
        if value is None:
            if optional:
                return None
            raise refuse("missing_field", expected=f"'{key}' in '{self._where}'", came="nothing")
        # To Python True is an int; on the wire it is not.
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise self.bad_type(key, value)
        return value

    def bad_type(self, key: str, value: object) -> BadEnvelope:
        """The error for a field of another type."""
        return refuse("bad_type", expected=f"another type in '{self._where}.{key}'", came=type(value).__name__)

    def integer(self, key: str) -> int:
        """An integer of 0 to 2^53 - 1."""
        value: int = self._get(key, int)
        if not 0 <= value <= MAX_INTEGER:
            raise refuse("bad_number", expected=f"'{key}' of 0 to {MAX_INTEGER}", came=value)
        return value

    def optional_integer(self, key: str) -> int | None:
        """Such an integer, or nothing."""
        return None if self._get(key, int, optional=True) is None else self.integer(key)

    def number(self, key: str) -> float:
        """A finite number; an integer will do."""
        value = self.optional_number(key)
        if value is None:
            raise refuse("missing_field", expected=f"'{key}' in '{self._where}'", came="nothing")
        return value

    def optional_number(self, key: str) -> float | None:
        """A finite number, or nothing."""
        value = self._get(key, (int, float), optional=True)
        return None if value is None else finite(value, key)

    def text(self, key: str, *, limit: int = MAX_TEXT) -> str:
        """A text of at most so many characters."""
        value: str = self._get(key, str)
        return self._short(value, key, limit)

    def optional_text(self, key: str, *, limit: int = MAX_TEXT) -> str | None:
        """A text, or nothing."""
        value: str | None = self._get(key, str, optional=True)
        return None if value is None else self._short(value, key, limit)

    def _short(self, value: str, key: str, limit: int) -> str:
        if len(value) > limit:
            raise refuse("bad_text", expected=f"at most {limit} characters in '{key}'", came=value)
        return value

    def name(self, key: str) -> str:
        """A name that can be one level of a topic."""
        value = self.text(key)
        check_name(value, field_name=key)
        return value

    def flag(self, key: str) -> bool:
        """True or false; false where it is not said."""
        return bool(self._get(key, bool, optional=True))

    def data(self, key: str) -> bytes:
        """Bytes."""
        value: bytes = self._get(key, bytes)
        return value

    def sequence(self, key: str, *, limit: int) -> list[Any]:
        """A list of at most so many elements, of any types."""
        value: list[Any] = self._get(key, list)
        if len(value) > limit:
            raise refuse("too_many", expected=f"at most {limit} in '{key}'", came=len(value))
        return value

    def numbers(self, key: str, *, limit: int) -> tuple[float, ...]:
        """A list of at most so many finite numbers."""
        values = self.sequence(key, limit=limit)
        for each in values:
            if isinstance(each, bool) or not isinstance(each, (int, float)):
                raise self.bad_type(key, each)
        return tuple(finite(each, key) for each in values)

    def has(self, key: str) -> bool:
        """Whether it is said."""
        return self._values.get(key) is not None

    def child(self, key: str) -> Fields:
        """A map within this one."""
        return Fields(self._get(key, dict), key)

    def mapping(self, key: str, *, limit: int) -> dict[str, Any]:
        """A map with free keys, at most so many; empty where it is not said."""
        value: dict[str, Any] = self._get(key, dict, optional=True) or {}
        if len(value) > limit:
            raise refuse("too_many", expected=f"at most {limit} in '{key}'", came=len(value))
        return value


def finite(value: float, key: str) -> float:
    """A number as a finite float; integers beyond what a float holds are none."""
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise refuse("bad_number", expected=f"a finite number in '{key}'", came=str(value)[:40])
    return number


def plan_to_map(plan: Plan) -> dict[str, Any]:
    """A plan as a map of plain values."""
    return {
        "epoch": plan.epoch,
        "first_cut": plan.first_cut,
        "second_cut": plan.second_cut,
        "exit": plan.exit,
        "device": plan.device,
        "edge": plan.edge,
        "cloud": plan.cloud,
        "codecs": list(plan.codecs),
        **({} if plan.threshold is None else {"threshold": plan.threshold}),
        **({} if plan.deadline is None else {"deadline": _deadline_to_map(plan.deadline)}),
    }


def _deadline_to_map(deadline: Deadline) -> dict[str, Any]:
    return {
        "seconds": deadline.seconds,
        "drop": deadline.drop,
        "rest_s": list(deadline.rest_s),
        "in_flight": deadline.in_flight,
    }


def _deadline_from_map(fields: Fields) -> Deadline:
    rest = fields.numbers("rest_s", limit=len(TIERS))
    try:
        return Deadline(
            seconds=fields.number("seconds"),
            drop=fields.flag("drop"),
            rest_s=rest,
            in_flight=fields.optional_integer("in_flight"),
        )
    except SettingsError as error:
        raise refuse("bad_deadline", expected=error.expected, came=error.came) from error


def plan_from_map(fields: Fields) -> Plan:
    """A plan, its names and codecs checked.

    Raises:
        BadEnvelope: a field is missing or wrong, or the plan does not hold together.
    """
    codecs = fields.sequence("codecs", limit=2)
    for each in codecs:
        if not isinstance(each, str):
            raise fields.bad_type("codecs", each)
    epoch = fields.integer("epoch")
    if epoch >= MAX_EPOCH:  # there must be a next one
        raise refuse("bad_plan", expected=f"an epoch below {MAX_EPOCH}", came=epoch)
    return _checked_plan(
        epoch,
        fields.integer("first_cut"),
        fields.integer("second_cut"),
        fields.text("exit"),
        fields.text("device"),
        fields.optional_text("edge"),
        fields.optional_text("cloud"),
        tuple(codecs),
        fields.optional_number("threshold"),
        _deadline_from_map(fields.child("deadline")) if fields.has("deadline") else None,
    )


@lru_cache(maxsize=256)
def _checked_plan(  # noqa: PLR0917 - the key of a cache
    epoch: int,
    first: int,
    second: int,
    variant: str,
    device: str,
    edge: str | None,
    cloud: str | None,
    codecs: tuple[str, ...],
    threshold: float | None,
    deadline: Deadline | None,
) -> Plan:
    """The plan of these values; a stream's frames carry the same one over and over, so it is checked once."""
    for each in codecs:
        check_codec(each)
    for key, name in (("device", device), ("edge", edge), ("cloud", cloud)):
        if name is not None:
            check_name(name, field_name=key)
    try:
        return Plan(
            epoch=epoch,
            first_cut=first,
            second_cut=second,
            exit=variant,
            device=device,
            edge=edge,
            cloud=cloud,
            codecs=codecs,
            threshold=threshold,
            deadline=deadline,
        )
    except SettingsError as error:
        raise refuse("bad_plan", expected=error.expected, came=error.came) from error


#: A bundle's learned codecs have names of their own: whether there is such a codec shows when a tensor is decoded.
_CODEC_NAME = re.compile(r"[A-Za-z0-9+\-_.]{1,64}")


def check_codec(name: str) -> None:
    """Refuse what cannot be the name of a codec."""
    if not _CODEC_NAME.fullmatch(name):
        raise refuse("unknown_codec", expected="at most 64 letters, digits and '+-_.'", came=name)
