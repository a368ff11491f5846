"""Numbers in JSON, found by JSONPath (RFC 9535): one path per channel, or one for an array with all channels."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tiercut.errors import SettingsError
from tiercut.sensing.rejects import rejected

if TYPE_CHECKING:
    import jsonpath

#: Longest JSON payload, in bytes. Parsed, hostile JSON takes some 30 times as much memory.
MAX_JSON_BYTES = 1024 * 1024

#: Words that sensors write for numbers, in lower case.
WORDS = {"on": 1.0, "off": 0.0, "true": 1.0, "false": 0.0}

_PLAIN = "$"


class PathReader:
    """Finds values in JSON.

    Args:
        paths: JSONPaths; ``$`` is all of the payload, also a number or a word that is no JSON.
        most: How many paths there may be.

    Raises:
        SettingsError: there is no path, or one is none.
    """

    def __init__(self, paths: Sequence[str], *, most: int) -> None:
        if not 1 <= len(paths) <= most:
            raise SettingsError(
                "a sensor's json_path is not valid",
                expected="a JSONPath for each channel, or one for all" if most > 1 else "one JSONPath",
                came=", ".join(paths) or "none",
                fix='such as json_path = ["$.temperature"], or ["$"] where the payload is the number itself',
            )
        self._paths = [(text, _compile(text)) for text in paths]

    def values(self, payload: bytes) -> list[object]:
        """The value at each path, of one that can match several a list; ``BadMessage`` where there is none."""
        document = self._document(payload)
        return [self._value(text, path, document) for text, path in self._paths]

    def _document(self, payload: bytes) -> object:
        if len(payload) > MAX_JSON_BYTES:
            raise rejected(
                "too_large",
                f"at most {MAX_JSON_BYTES} bytes of JSON",
                f"{len(payload)} bytes",
                "publish smaller payloads",
            )
        try:
            return json.loads(payload)
        except (ValueError, RecursionError) as error:
            words = payload[:64].decode("utf-8", "replace").strip()
            if [text for text, _ in self._paths] == [_PLAIN] and _word(words) is not None:
                return words
            raise rejected(
                "bad_json", "JSON", f"'{words[:40]}' ({type(error).__name__})", "correct format or the topic"
            ) from error

    def _value(self, text: str, path: jsonpath.CompoundJSONPath | jsonpath.JSONPath, document: object) -> object:
        import jsonpath  # noqa: PLC0415 - the same

        try:
            found = path.findall(document) if isinstance(document, (dict, list)) else [document] * (text == _PLAIN)
        except (jsonpath.JSONPathError, RecursionError, ValueError, TypeError) as error:
            raise rejected("no_such_path", text, f"{type(error).__name__} at it", "correct json_path") from error
        if not found:
            raise rejected(
                "no_such_path", text, _outline(document), "correct json_path, or the topic (one sensor's only)"
            )
        return found[0] if isinstance(path, jsonpath.JSONPath) and path.singular_query() else found


def json_reader(paths: Sequence[str], channels: int) -> Callable[[bytes], NDArray[np.float32]]:
    """What reads ``(samples, channels)`` of a payload.

    Raises:
        SettingsError: there are neither as many paths as channels nor one, or one is none.
    """
    reader = PathReader(paths, most=max(channels, 1))

    def read(payload: bytes) -> NDArray[np.float32]:
        values = reader.values(payload)
        if len(values) == 1:
            return _array(values[0], channels)
        columns = [_column(value) for value in values]
        if len({len(column) for column in columns}) > 1:
            lengths = ", ".join(str(len(column)) for column in columns)
            raise rejected(
                "wrong_shape", "as many readings of each channel", lengths, "correct json_path, or the sensor"
            )
        return np.stack(columns, axis=1)

    return read


def _array(value: object, channels: int) -> NDArray[np.float32]:
    """One value for all channels: a number, a list of readings, or a list of samples with a number per channel."""
    if not isinstance(value, list) or not value or not isinstance(value[0], list):
        column = _column(value)
        return column[:, None] if channels == 1 else column[None]
    rows = [_column(row) for row in value]
    if {len(row) for row in rows} != {channels}:
        came = f"rows of {', '.join(sorted({str(len(row)) for row in rows})[:4])}"
        raise rejected("wrong_shape", f"rows of {channels}", came, "name the channels in the setting channels")
    return np.stack(rows)


def _column(value: object) -> NDArray[np.float32]:
    values = value if isinstance(value, list) else [value]
    with np.errstate(all="ignore"):
        return np.array([_number(each) for each in values], np.float64).astype(np.float32)


def _number(value: object) -> float:
    """A number, a text of one, or a word for one."""
    try:
        number = _word(value) if isinstance(value, str) else float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        number = None
    if number is None or not math.isfinite(number):
        came = "null" if value is None else f"{type(value).__name__} {str(value)[:40]!r}"
        raise rejected("bad_number", "a finite number", came, "correct json_path, or the sensor")
    return number


def _word(text: str) -> float | None:
    if len(text) > 64:  # noqa: PLR2004 - longer than any number
        return None
    try:
        return WORDS[text.strip().lower()] if text.strip().lower() in WORDS else float(text)
    except ValueError:
        return None


def _outline(document: object) -> str:
    """What a person recognises a payload by: the names at its top."""
    if isinstance(document, dict):
        names = ", ".join(str(key)[:24] for key in list(document)[:8])
        return f"an object with {names or 'nothing in it'}"
    return "an array" if isinstance(document, list) else f"{type(document).__name__} {str(document)[:40]!r}"


def _compile(text: str) -> jsonpath.CompoundJSONPath | jsonpath.JSONPath:
    import jsonpath  # noqa: PLC0415 - 4 MB that other sensors spare

    try:
        return jsonpath.compile(text)
    except (jsonpath.JSONPathError, RecursionError, ValueError) as error:
        raise SettingsError(
            "a sensor's json_path is not valid",
            expected="a JSONPath (RFC 9535)",
            came=f"'{text}' ({str(error).splitlines()[0][:80]})",
            fix='correct it, such as "$.temperature" or "$[\'BME280\'].Temperature"',
        ) from error
