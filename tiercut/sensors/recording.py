"""Recordings of signals, played as the sensor would have given them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from tiercut.errors import SensorError, SettingsError
from tiercut.protocol.stream_settings import SourceSettings
from tiercut.sensing.sensor_format import Captured, SensorForm, Spoiled
from tiercut.sensors.base import DeviceSensor, Player, in_real_time
from tiercut.sensors.signals import piece_samples, signal_form
from tiercut.sensors.table_file import Recording, read_recording

SUFFIXES = frozenset({".csv", ".tsv", ".txt", ".npy"})
#: Rows of a CSV file that are read to know its form.
_ROWS_FOR_FORM = 1000


class PlayedRecording(DeviceSensor):
    """CSV and npy files one after the other: in real time, or as fast as they are taken."""

    NEEDS: ClassVar = {"path": '["walk.csv"]'}

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._files = _files(self.source.path)
        self._form = _form(self.source, self._files[0])

    @property
    def form(self) -> SensorForm:
        """What it gives."""
        return self._form

    @classmethod
    def check(cls, source: SourceSettings) -> None:
        """An npy file does not say its rate: the settings must."""
        super().check(source)
        if source.rate_hz is None and any(path.suffix.lower() == ".npy" for path in source.path):
            raise SettingsError(
                "the sensor 'recording' has no rate",
                expected="the setting rate_hz",
                came="none, and an npy file has none",
                fix="add rate_hz = 50, or what it was recorded with",
            )

    @classmethod
    def form_of(cls, source: SourceSettings) -> SensorForm:
        """As the first file says, or the settings where it is not on this machine."""
        if not source.path[0].exists():
            return signal_form(source, source.rate_hz, source.channels)
        return _form(source, _files(source.path)[0])

    def _items(self) -> Iterator[Captured | Spoiled]:
        player = Player(self._timing, real_time=in_real_time(self.source, otherwise=True))
        while True:
            played_s = player.played_s
            for file in self._files:
                try:
                    recording = _read(self.source, file)
                except SensorError as error:
                    yield Spoiled("bad_recording", str(error))
                else:
                    yield from self._played(recording, file, player)
            if not self.source.loop:
                return
            if player.played_s == played_s:
                raise SensorError(
                    "the sensor has nothing to read",
                    expected="at least one recording of the first one's form",
                    came="none",
                    fix="replace the files",
                )

    def _played(self, recording: Recording, file: Path, player: Player) -> Iterator[Captured | Spoiled]:
        form = signal_form(self.source, recording.rate_hz, recording.names)
        if form != self._form:
            yield Spoiled(
                "bad_recording", f"{file}: expected {_said(self._form)}, as in the first file, got {_said(form)}"
            )
            return
        if recording.bad_rows:
            left_out = f"{recording.bad_rows} rows of {file} were skipped; the first is {recording.first_bad}"
            yield Spoiled("bad_rows", f"{left_out}; correct or remove them")
        size = piece_samples(recording.rate_hz)
        for start in range(0, len(recording.samples), size):
            piece = recording.samples[start : start + size].astype("float32")
            at_unix_s = player.played(len(piece) / recording.rate_hz)
            yield Captured(piece, f"{file.name} {(start + len(piece)) / recording.rate_hz:.2f} s", at_unix_s)


def _files(paths: tuple[Path, ...]) -> list[Path]:
    files: list[Path] = []
    for path in paths:
        in_folder = path.is_dir()
        files += sorted(each for each in path.iterdir() if each.suffix.lower() in SUFFIXES) if in_folder else [path]
    if not files:
        raise SensorError(
            "cannot open the sensor",
            expected=f"recordings ({', '.join(sorted(SUFFIXES))})",
            came=f"none in {', '.join(map(str, paths))}",
            fix="put recordings there or correct path",
        )
    return files


def _read(source: SourceSettings, file: Path, max_rows: int | None = None) -> Recording:
    return read_recording(file, channels=source.channels, rate_hz=source.rate_hz, max_rows=max_rows)


def _form(source: SourceSettings, file: Path) -> SensorForm:
    recording = _read(source, file, _ROWS_FOR_FORM)
    return signal_form(source, recording.rate_hz, recording.names)


def _said(form: SensorForm) -> str:
    names = ", ".join(channel.name or "unnamed" for channel in form.channels)
    return f"{names} at {form.rate_hz:g} Hz"
