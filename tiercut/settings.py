"""Settings of a program: a TOML file, then the environment, then flags; each wins over the one before.

A program's settings are a frozen dataclass. A field ``uplink_mbps: float | None`` is ``uplink_mbps = 5.85`` in the
file, ``TIERCUT_UPLINK_MBPS`` in the environment and ``--uplink-mbps`` as a flag. A field that is itself a tuple of
dataclasses (``streams``) is a list of tables in the file (``[[streams]]``) and stands there only. The ``help`` of a
field's metadata is the flag's help; ``secret`` masks it wherever settings are shown.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import os
import re
import tomllib
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

from tiercut.errors import BadMessage, SettingsError
from tiercut.names import check_name

ENVIRONMENT_PREFIX = "TIERCUT_"
MASK = "********"
#: Characters of a wrong value that an error shows.
MAX_SHOWN = 100
#: Whole numbers have 64 bits at most, as in other languages' JSON.
MAX_WHOLE_NUMBER = 2**63 - 1

Settings = TypeVar("Settings")


def setting(help: str, *, default: Any = dataclasses.MISSING, secret: bool = False) -> Any:  # noqa: A002 - argparse's word
    """A field of a settings class."""
    return dataclasses.field(default=default, metadata={"help": help, "secret": secret})


def load(
    cls: type[Settings],
    arguments: Sequence[str],
    *,
    program: str,
    environment: Mapping[str, str] | None = None,
    partly: bool = False,
) -> Settings:
    """Read the settings of a program.

    Args:
        cls: A frozen dataclass made of `setting` fields.
        arguments: Command line without the program's name.
        program: How the program is called, for ``--help``.
        environment: ``os.environ`` when not given.
        partly: The file may be one of a program with more settings than ``cls`` has.

    Raises:
        SettingsError: names the setting, where it was set, what was expected.
        SystemExit: after ``--help``, or on an unknown flag (status 2).
    """
    parser = argparse.ArgumentParser(prog=program, description=(cls.__doc__ or "").splitlines()[0])
    parser.add_argument("--settings", type=Path, metavar="FILE", help="TOML file of settings")
    scalars = {name: kind for name, kind in _fields(cls).items() if not _is_table_list(kind)}
    for field in dataclasses.fields(cls):  # type: ignore[arg-type]  # a TypeVar cannot be bound to "a dataclass"
        if field.name in scalars:
            flag = f"--{field.name.replace('_', '-')}"
            parser.add_argument(flag, metavar="VALUE", help=field.metadata.get("help"))
    given = vars(parser.parse_args(arguments))
    values = _from_file(cls, given.pop("settings"), partly=partly)
    source = os.environ if environment is None else environment
    for name, kind in scalars.items():
        variable = ENVIRONMENT_PREFIX + name.upper()
        if variable in source:
            values[name] = _parse(source[variable], kind, where=f"environment variable {variable}")
        if given[name] is not None:
            values[name] = _parse(given[name], kind, where=f"flag --{name.replace('_', '-')}")
    return _build(cls, values, where="settings")


def from_table(cls: type[Settings], table: Mapping[str, Any], *, where: str) -> Settings:
    """Settings from a table of TOML, or an object of JSON.

    Args:
        cls: A frozen dataclass made of `setting` fields.
        table: Name → value; ``None`` where a setting may be left open.
        where: What it is, for errors ("the file cam.toml").

    Raises:
        SettingsError: a name is unknown, one is missing, or a value is wrong.
    """
    return _build(cls, _checked_table(cls, table, where=where), where=where)


def to_table(settings: object) -> dict[str, Any]:
    """What differs from the defaults, as values that JSON knows: `from_table` makes equal settings of it."""
    return {
        field.name: _table_value(value)
        for field in dataclasses.fields(settings)  # type: ignore[arg-type]  # any settings object
        if (value := getattr(settings, field.name)) != field.default
    }


def read_toml(path: Path, *, fix: str = "correct the path") -> dict[str, Any]:
    """The table of a TOML file.

    Args:
        path: The file.
        fix: What to do where it cannot be read.

    Raises:
        SettingsError: it cannot be read, or is no TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(
            f"cannot read the settings file {path}",
            expected="a readable TOML file",
            came=error.strerror or str(error),
            fix=fix,
        ) from error
    except (ValueError, RecursionError) as error:  # no UTF-8, no TOML, a number without end, tables without end
        raise SettingsError(
            f"cannot read the settings file {path}", expected="TOML", came=str(error)[:200], fix="correct that line"
        ) from error


def check_names(values: object, *names: str) -> None:
    """Refuse settings or arguments that cannot be names of sites, nodes or streams.

    Raises:
        SettingsError: says which.
    """
    for name in names:
        try:
            check_name(getattr(values, name), field_name=name)
        except BadMessage as error:
            raise SettingsError(
                f"bad setting {name}", expected=error.expected, came=error.came, fix="choose another name"
            ) from error


def shown(settings: object) -> dict[str, Any]:
    """The settings as plain values for people: secrets masked, the password in a URL too."""
    return {
        field.name: MASK
        if field.metadata.get("secret") and getattr(settings, field.name)
        else _plain_value(getattr(settings, field.name))
        for field in dataclasses.fields(settings)  # type: ignore[arg-type]  # any settings object
    }


def masked_url(url: str) -> str:
    """A URL with its password masked."""
    return re.sub(r"(?<=://)([^/@:]*):[^/@]*@", rf"\1:{MASK}@", url)


def _plain_value(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return shown(value)
    if isinstance(value, (tuple, list)):
        return [_plain_value(item) for item in value]
    if isinstance(value, str):
        return masked_url(value)
    return str(value) if isinstance(value, Path) else value


def _table_value(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return to_table(value)
    if isinstance(value, tuple):
        return [_table_value(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def _fields(cls: type) -> dict[str, Any]:
    hints = typing.get_type_hints(cls)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls)}


def _is_table_list(kind: Any) -> bool:
    return get_origin(kind) is tuple and dataclasses.is_dataclass(get_args(kind)[0])


def _from_file(cls: type, path: Path | None, *, partly: bool) -> dict[str, Any]:
    if path is None:
        return {}
    table = read_toml(path, fix="correct --settings")
    if partly:
        table = {name: value for name, value in table.items() if name in _fields(cls)}
    return _checked_table(cls, table, where=str(path))


def _checked_table(cls: type, table: Mapping[str, Any], *, where: str) -> dict[str, Any]:
    fields = _fields(cls)
    for name in table:
        if name not in fields:
            raise SettingsError(
                f"unknown setting '{name[:MAX_SHOWN]}' in {where}",
                expected=f"one of {', '.join(sorted(fields))}",
                came=repr(name)[:MAX_SHOWN],
                fix="correct the name or remove it",
            )
    return {name: _convert(value, fields[name], where=f"'{name}' in {where}") for name, value in table.items()}


def _build(cls: type[Settings], values: Mapping[str, Any], *, where: str) -> Settings:
    for field in dataclasses.fields(cls):  # type: ignore[arg-type]  # a TypeVar cannot be bound to "a dataclass"
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and field.name not in values:
            raise SettingsError(
                f"the setting '{field.name}' of {where} is missing",
                expected=field.metadata.get("help", "a value"),
                came="nothing",
                fix=f"set {field.name} there",
            )
    return cls(**values)


def _convert(value: Any, kind: Any, *, where: str) -> Any:
    """A value from TOML or JSON as the field's type."""
    if _is_table_list(kind):
        inner = get_args(kind)[0]
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            raise _wrong(where, "a list of tables ([[name]])", value)
        return tuple(from_table(inner, item, where=f"{where}[{i}]") for i, item in enumerate(value))
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        if not isinstance(value, dict):
            raise _wrong(where, "a table", value)
        return from_table(kind, value, where=where)
    if get_origin(kind) is tuple and not isinstance(value, str):
        if not isinstance(value, list):
            raise _wrong(where, "a list", value)
        return tuple(_convert(item, get_args(kind)[0], where=where) for item in value)
    return _parse(value, kind, where=where) if isinstance(value, str) else _convert_one(value, kind, where=where)


def _convert_one(value: Any, kind: Any, *, where: str) -> Any:
    if value is None and type(None) in get_args(kind):
        return None
    plain = _plain(kind)
    if isinstance(value, (int, float)) and not isinstance(value, bool) and plain in {int, float, str}:
        _check_number(value, where=where)
        if plain is float:
            return float(value)
        if plain is str:
            return _parse(str(value), kind, where=where)  # choices are checked there
    if isinstance(value, plain) and isinstance(value, bool) == (plain is bool):
        return value
    raise _wrong(where, _name(kind), value)


def _parse(text: str, kind: Any, *, where: str) -> Any:
    """A value from text as the field's type."""
    if text == "" and type(None) in get_args(kind):
        return None
    plain = _plain(kind)
    choices = [
        choice for option in (kind, *get_args(kind)) if get_origin(option) is Literal for choice in get_args(option)
    ]
    if choices:
        if text not in choices:
            raise _wrong(where, f"one of {', '.join(choices)}", text)
        return text
    if get_origin(kind) is tuple:
        return tuple(_parse(part.strip(), get_args(kind)[0], where=where) for part in text.split(",") if part.strip())
    if plain is bool:
        return _parse_bool(text, where=where)
    try:
        value = plain(text)
    except ValueError as error:
        raise _wrong(where, _name(kind), text) from error
    if isinstance(value, (int, float)):
        _check_number(value, where=where)
    return value


def _check_number(value: float, *, where: str) -> None:
    """Refuse what JSON or other programs have no number for."""
    if isinstance(value, int) and abs(value) > MAX_WHOLE_NUMBER:
        raise _wrong(where, "a whole number of at most 64 bits", hex(value))  # its decimal digits may be too many
    if not math.isfinite(value):
        raise _wrong(where, "a finite number", value)


def _parse_bool(text: str, *, where: str) -> bool:
    words = {"true": True, "yes": True, "1": True, "on": True, "false": False, "no": False, "0": False, "off": False}
    if text.lower() not in words:
        raise _wrong(where, "true or false", text)
    return words[text.lower()]


def _plain(kind: Any) -> type:
    """The type of ``kind`` without ``None``."""
    if get_origin(kind) in (Union, types.UnionType):
        kind = next(option for option in get_args(kind) if option is not type(None))
    if get_origin(kind) is Literal:
        return str
    return typing.cast("type", kind)


def _name(kind: Any) -> str:
    return {int: "a whole number", float: "a number", str: "text", bool: "true or false", Path: "a path"}.get(
        _plain(kind), str(kind)
    )


def _wrong(where: str, expected: str, came: object) -> SettingsError:
    try:
        shown_value = repr(came)[:MAX_SHOWN]
    except ValueError:  # a whole number of thousands of digits, within it
        shown_value = f"a {type(came).__name__} with a number that is too long"
    return SettingsError(f"bad value for {where}", expected=expected, came=shown_value, fix="correct it")
