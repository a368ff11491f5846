"""Sound files as samples of -1 to 1."""

from __future__ import annotations

import importlib
import wave
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from tiercut.errors import SensorError

Samples = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class SoundFile:
    """An open file.

    Attributes:
        rate_hz: Samples per second.
        channels: How many.
        read: Gives up to a number of samples, ``(samples, channels)``; fewer at the end, then none.
        close: Closes it.
    """

    rate_hz: float
    channels: int
    read: Callable[[int], Samples]
    close: Callable[[], None]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_sound(path: Path) -> SoundFile:
    """Open a sound file: Python's own reader for what it knows, libsndfile for all else (floats, FLAC, Ogg).

    Raises:
        SensorError: it is not there, or no sound.
    """
    try:
        return _by_wave(path)
    except OSError as error:
        raise _bad(path, "a sound file", error.strerror or str(error), "correct path") from error
    except (wave.Error, EOFError) as error:
        return _by_libsndfile(path, str(error))


def _by_wave(path: Path) -> SoundFile:
    file = wave.open(str(path), "rb")  # noqa: SIM115 - the caller closes it
    width, channels = file.getsampwidth(), file.getnchannels()
    if width not in _DECODE or not file.getframerate():
        file.close()
        raise wave.Error(f"{8 * width} bits at {file.getframerate()} Hz")

    def read(samples: int) -> Samples:
        data = file.readframes(samples)
        whole = len(data) // (width * channels) * width * channels  # a truncated file ends within a sample
        return _DECODE[width](data[:whole]).reshape(-1, channels)

    return SoundFile(float(file.getframerate()), channels, read, file.close)


def _by_libsndfile(path: Path, why: str) -> SoundFile:
    try:
        soundfile: Any = importlib.import_module("soundfile")
    except (ImportError, OSError) as error:  # OSError: libsndfile itself is missing
        raise _bad(
            path,
            "a WAV file of whole numbers, or the package soundfile for other sound files",
            why,
            "pip install tiercut[audio], or convert the file",
        ) from error
    try:
        file = soundfile.SoundFile(str(path))
    except soundfile.LibsndfileError as error:
        raise _bad(path, "a sound file", error.error_string, "correct path, or convert the file") from error

    def read(samples: int) -> Samples:
        data: Samples = file.read(samples, dtype="float32", always_2d=True)
        return data

    return SoundFile(float(file.samplerate), file.channels, read, file.close)


def _bytes_8(data: bytes) -> Samples:
    return np.frombuffer(data, np.uint8).astype(np.float32) / np.float32(128) - np.float32(1)


def _bytes_16(data: bytes) -> Samples:
    return np.frombuffer(data, "<i2").astype(np.float32) / np.float32(2**15)


def _bytes_24(data: bytes) -> Samples:
    wide = np.zeros((len(data) // 3, 4), np.uint8)
    wide[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
    return wide.view("<i4")[:, 0].astype(np.float32) / np.float32(2**31)


def _bytes_32(data: bytes) -> Samples:
    return np.frombuffer(data, "<i4").astype(np.float32) / np.float32(2**31)


#: by bytes per sample; 8 bits have no sign, the others do
_DECODE: dict[int, Callable[[bytes], Samples]] = {1: _bytes_8, 2: _bytes_16, 3: _bytes_24, 4: _bytes_32}


def _bad(path: Path, expected: str, came: str, fix: str) -> SensorError:
    return SensorError(f"cannot play {path}", expected=expected, came=came, fix=fix)
