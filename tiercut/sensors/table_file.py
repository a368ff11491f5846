"""Recordings on disk: CSV files with a header, and npy files of ``(samples, channels)``."""

from __future__ import annotations

import csv
import itertools
import math
import statistics
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tiercut.errors import SensorError

#: Names of a column of times, in lower case; those that end in ms count milliseconds.
TIME_COLUMNS = frozenset({"time", "t", "timestamp", "datetime", "date", "time_s", "seconds", "time_ms", "timestamp_ms"})
#: A longer pause between two rows is skipped.
MAX_PAUSE_S = 1.0
#: Seconds since 1970 are far below this, milliseconds above.
_MIN_UNIX_MS = 1e11
#: Rows that the rate is taken from.
_FIRST_ROWS = 1000


@dataclass(frozen=True, slots=True)
class Recording:
    """What a file holds.

    Attributes:
        names: One per channel; empty ones where the file has none.
        rate_hz: Samples per second.
        samples: float32 ``(samples, channels)``.
        bad_rows: Rows that were skipped.
        first_bad: The first of them, for people.
    """

    names: tuple[str, ...]
    rate_hz: float
    samples: NDArray[np.float32]
    bad_rows: int = 0
    first_bad: str = ""


def read_recording(
    path: Path, *, channels: Sequence[str], rate_hz: float | None, max_rows: int | None = None
) -> Recording:
    """Read a recording.

    Args:
        path: A CSV or npy file.
        channels: Columns of a CSV file that are wanted, in order (none: all that are numbers); names for those of a npy
            file.
        rate_hz: Samples per second; ``None``: as the times in the file say.
        max_rows: Read no more than that.

    Raises:
        SensorError: it is no such file, a column is missing, or nobody says its rate.
    """
    try:
        if path.suffix.lower() == ".npy":
            return _read_npy(path, channels, rate_hz)
        with path.open(encoding="utf-8-sig", newline="") as file:
            return _read_csv(path, file, channels, rate_hz, max_rows)
    except (OSError, ValueError, EOFError, csv.Error) as error:  # ValueError: objects in npy, or no UTF-8
        raise _bad(path, "a CSV file with a header, or an npy file of numbers", str(error), "correct path") from error


def _read_npy(path: Path, channels: Sequence[str], rate_hz: float | None) -> Recording:
    data = np.load(path, mmap_mode="r", allow_pickle=False)
    if not isinstance(data, np.ndarray) or data.ndim not in (1, 2) or data.dtype.kind not in "fiu" or not data.size:
        came = f"{data.dtype.name}{list(data.shape)}" if isinstance(data, np.ndarray) else "several arrays"
        raise _bad(path, "numbers of shape (samples, channels)", came, "convert the file")
    count = 1 if data.ndim == 1 else data.shape[1]
    if channels and len(channels) != count:
        raise _bad(path, f"{count} names of channels", f"{len(channels)}", "correct channels, or omit it")
    if rate_hz is None:
        raise _bad(path, "samples per second", "nothing", "set rate_hz")
    return Recording(tuple(channels) or ("",) * count, rate_hz, data.reshape(-1, count))


def _read_csv(
    path: Path, lines: Iterator[str], channels: Sequence[str], rate_hz: float | None, max_rows: int | None
) -> Recording:
    first = next(lines, "")
    delimiter = max(",;\t", key=first.count)
    header = [name.strip() for name in next(csv.reader([first], delimiter=delimiter), [])]
    rows = csv.reader(lines, delimiter=delimiter)
    second = next(rows, [])
    if not header or not second or any(_is_number(name) for name in header):
        came = "no rows" if header and not second else f"'{first.strip()[:60]}' first"
        raise _bad(path, "names in the first line, then rows of numbers", came, "add a header")
    time_column = next((n for n, name in enumerate(header) if name.lower() in TIME_COLUMNS), None)
    wanted = _wanted(path, header, second, channels, time_column)
    table = _Table(
        wanted, time_column, milliseconds=time_column is not None and header[time_column].lower()[-2:] == "ms"
    )
    for row in itertools.islice(itertools.chain([second], rows), max_rows):
        table.add(row)
    if not table.rows:
        raise _bad(path, "rows of numbers", table.first_bad or "none", "replace the file")
    samples = np.frombuffer(table.values, np.float64).reshape(-1, len(wanted))
    if time_column is None:
        if rate_hz is None:
            raise _bad(path, "samples per second, or a column 'time'", f"{', '.join(header)}", "set rate_hz")
    else:
        samples, rate_hz = _evenly(path, samples, np.frombuffer(table.times, np.float64), rate_hz)
    names = tuple(header[n] for n in wanted)
    return Recording(names, rate_hz, samples.astype(np.float32), table.bad_rows, table.first_bad)


def _wanted(
    path: Path, header: list[str], row: list[str], channels: Sequence[str], time_column: int | None
) -> list[int]:
    """Numbers of the columns that are channels."""
    if missing := [name for name in channels if name not in header]:
        raise _bad(path, f"columns of {', '.join(header)}", ", ".join(missing), "correct channels")
    if channels:
        return [header.index(name) for name in channels]
    numbers = [n for n, cell in enumerate(row[: len(header)]) if n != time_column and _is_number(cell)]
    if not numbers:
        raise _bad(path, "columns of numbers", f"'{', '.join(row)[:60]}' in the first row", "name them in channels")
    return numbers


class _Table:
    """Gathers rows; skips those that are not numbers or go back in time."""

    def __init__(self, wanted: list[int], time_column: int | None, *, milliseconds: bool) -> None:
        self.rows = 0
        self.values = array("d")
        self.times = array("d")
        self.bad_rows = 0
        self.first_bad = ""
        self._wanted = wanted
        self._time_column = time_column
        self._milliseconds = milliseconds
        self._lines = 1

    def add(self, row: list[str]) -> None:
        """Take one row."""
        self._lines += 1
        if not row:
            return
        try:
            values = [float(row[n]) for n in self._wanted]
            if not all(map(math.isfinite, values)):
                raise ValueError("a value that is not finite")  # noqa: TRY301 - bad as one that is no number
            if self._time_column is not None:
                self._add_time(row[self._time_column])
        except (ValueError, IndexError) as error:
            self.bad_rows += 1
            why = f"only {len(row)} columns" if isinstance(error, IndexError) else str(error)
            self.first_bad = self.first_bad or f"line {self._lines}: {why}"
            return
        self.values.extend(values)
        self.rows += 1

    def _add_time(self, cell: str) -> None:
        if _is_number(cell):
            at_s = float(cell)
            at_s = at_s / 1e3 if self._milliseconds or at_s > _MIN_UNIX_MS else at_s
        else:
            at_s = datetime.fromisoformat(cell.strip()).timestamp()
        if not math.isfinite(at_s) or (self.times and at_s <= self.times[-1]):
            raise ValueError(f"the time {cell} is not after the one before")
        self.times.append(at_s)


def _evenly(
    path: Path, samples: NDArray[np.float64], times_s: NDArray[np.float64], rate_hz: float | None
) -> tuple[NDArray[np.float64], float]:
    """The samples at even distances, interpolated linearly; long pauses are omitted."""
    if len(times_s) < 2:  # noqa: PLR2004 - a distance has two ends
        raise _bad(path, "two rows or more", "one", "replace the file")
    steps_s = np.diff(times_s)
    usual_s = statistics.median(steps_s[:_FIRST_ROWS].tolist())
    rate_hz = rate_hz or _plain(1 / usual_s)
    steps_s[steps_s > max(MAX_PAUSE_S, 10 * usual_s)] = usual_s
    at_s = np.concatenate([[0.0], np.cumsum(steps_s)])
    grid_s = np.arange(math.floor(at_s[-1] * rate_hz + 1e-6) + 1) / rate_hz
    return np.stack([np.interp(grid_s, at_s, column) for column in samples.T], axis=1), rate_hz


def _plain(rate_hz: float) -> float:
    """A rate without the traces of rounded times: 49.9994 is 50."""
    near = float(round(rate_hz))
    return near if near and abs(near - rate_hz) < 0.005 * near else rate_hz


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _bad(path: Path, expected: str, came: str, fix: str) -> SensorError:
    return SensorError(f"cannot read the recording {path}", expected=expected, came=came, fix=fix)
