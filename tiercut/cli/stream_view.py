"""What ``tiercut stream`` prints."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from tiercut.errors import SettingsError
from tiercut.names import printable
from tiercut.protocol.streams import StreamStatus, decode_wanted
from tiercut.settings import to_table

NONE = "-"
_COLUMNS = ("STREAM", "SENSOR", "MODEL", "STATE", "WHERE", "DONE", "DROPPED", "MESSAGE")
_RIGHT = {"DONE", "DROPPED"}
_DROPPED = "dropped."


def table(statuses: Iterable[StreamStatus]) -> str:
    """Streams as a table, by name."""
    rows = [_COLUMNS, *(_row(each) for each in sorted(statuses, key=lambda each: each.stream))]
    if len(rows) == 1:
        return "no streams; add one: tiercut stream add FILE.toml"
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(_line(row, widths) for row in rows)


def shown(name: str, status: StreamStatus | None, wanted: bytes) -> str:
    """A stream as a TOML file that could be added again, with its status as comments above.

    Args:
        name: Its name.
        status: The hub's word; ``None`` where it has said nothing.
        wanted: Its settings as they are retained; empty where there are none, or none that we may read.
    """
    lines = [f"# {line}" for line in ([f"{name}: the hub has not reported on it"] if status is None else _how(status))]
    if not wanted:
        return "\n".join(
            [*lines, "# its settings stand in the hub's own file, or need an identity of the role operator"]
        )
    try:
        settings = decode_wanted(wanted, name)
        table = {"name": settings.name, "model": settings.model} | to_table(settings)  # these two on top
        return "\n".join([*lines, *_toml(table)])
    except SettingsError as error:
        return "\n".join([*lines, f"# {_plain(str(error))}", f"# {_plain(wanted[:500].decode(errors='replace'))}"])


def _how(status: StreamStatus) -> list[str]:
    since = datetime.fromtimestamp(status.since_unix_s, UTC).astimezone()
    lines = [f"{status.stream}: {status.state} since {since:%Y-%m-%d %H:%M:%S}"]
    if status.message:
        lines.append(_plain(status.message))
    if status.device:
        lines.append(f"sensor read on: {_where(status)}")
    if status.frames:
        lines.append("frames: " + ", ".join(f"{name} {count}" for name, count in sorted(status.frames.items())))
    for each in status.trouble:
        last = datetime.fromtimestamp(each.last_unix_s, UTC).astimezone()
        at = f", last at {last:%H:%M:%S}" if each.last_unix_s else ""
        lines.append(f"{each.reason} x {each.count}{at}: {_plain(each.message)}")
    return lines


def _row(status: StreamStatus) -> tuple[str, ...]:
    frames = status.frames
    dropped = sum(count for name, count in frames.items() if name.startswith(_DROPPED))
    said = status.message or "; ".join(each.message for each in status.trouble[:1])
    return (
        status.stream,
        _plain(status.sensor) or NONE,
        _plain(status.model) or NONE,
        status.state,
        _where(status),
        str(frames["done"]) if "done" in frames else NONE,
        str(dropped) if frames else NONE,
        _plain(said),
    )


def _where(status: StreamStatus) -> str:
    device = _plain(status.device or "") or NONE
    return f"{device} (edge)" if status.gateway else device


def _line(row: tuple[str, ...], widths: list[int]) -> str:
    cells = [
        cell.rjust(width) if name in _RIGHT else cell.ljust(width)
        for name, cell, width in zip(_COLUMNS, row, widths, strict=True)
    ]
    return "  ".join(cells).rstrip()


def _plain(text: str) -> str:
    """On one line and without what moves a terminal's cursor: it came over the bus."""
    return printable(text, instead=" ")


def _toml(settings: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Settings as TOML: values first, then tables."""
    tables = {name: value for name, value in settings.items() if _is_tables(value)}
    lines = [f"{name} = {_value(value)}" for name, value in settings.items() if name not in tables]
    for name, rows in tables.items():
        for row in rows:
            lines += ["", f"[[{prefix}{name}]]", *_toml(row, f"{prefix}{name}.")]
    return lines


def _is_tables(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(each, dict) for each in value)


def _value(value: Any) -> str:
    """A text, number, flag or list of them: for these JSON is TOML, but for one control character."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
