"""Structured logs: one line per event, for people (``text``) or for machines (``json``)."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any

_PLAIN = frozenset(vars(logging.makeLogRecord({})))


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    """What was passed as ``extra``."""
    return {
        key: value for key, value in vars(record).items() if key not in _PLAIN and key not in {"message", "asctime"}
    }


class TextFormatter(logging.Formatter):
    """``12:00:01.123 INFO  edge-1 frame dropped stream=cam seq=7``."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, the fields as ``key=value``."""
        at = datetime.fromtimestamp(record.created, UTC).astimezone()
        pairs = "".join(f" {key}={_quoted(value)}" for key, value in _fields(record).items())
        time = f"{at:%H:%M:%S}.{at.microsecond // 1000:03d}"
        line = f"{time} {record.levelname:<7} {record.name} {record.getMessage()}{pairs}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class JsonFormatter(logging.Formatter):
    """One JSON object per line: ``time``, ``level``, ``logger``, ``event`` and the fields."""

    def format(self, record: logging.LogRecord) -> str:
        """One line of JSON; values without a JSON form become text."""
        entry: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        return json.dumps(entry, default=str)


def _quoted(value: object) -> str:
    text = str(value)
    return json.dumps(text) if not text or any(c in text for c in ' "=\n') else text


def set_up(*, level: str, style: str) -> None:
    """Send all logs of this process to standard error.

    Args:
        level: ``debug``, ``info``, ``warning`` or ``error``.
        style: ``text`` or ``json``.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if style == "json" else TextFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


class Throttle:
    """Lets one line per key and period through, so that a flood of one fault does not fill a disk.

    Args:
        period_s: Seconds between two lines of one key.
    """

    #: Keys kept; beyond that all are forgotten, and each may log a line again.
    MAX_KEYS = 1000

    def __init__(self, period_s: float) -> None:
        self._period_s = period_s
        self._last_s: dict[str, float] = {}

    def allows(self, key: str, now_s: float) -> bool:
        """Whether a line for ``key`` may be written now; if so it counts as written."""
        if now_s - self._last_s.get(key, float("-inf")) < self._period_s:
            return False
        if len(self._last_s) >= self.MAX_KEYS:
            self._last_s.clear()
        self._last_s[key] = now_s
        return True
