"""What sensors publish on topics of their own: each payload becomes a frame, or a sentence that says why it cannot.

Nothing here believes a payload: sizes are checked before memory is made, nothing is ever executed, and no payload
raises.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tiercut.errors import BadMessage, SettingsError
from tiercut.protocol.stream_settings import SampleFormat, SourceSettings
from tiercut.sensing.json_payload import json_reader
from tiercut.sensing.npy_payload import read_npy
from tiercut.sensing.picture_payload import picture_reader
from tiercut.sensing.rejects import REASONS, out_of_memory, rejected
from tiercut.sensing.sensor_format import Captured, Channel, SensorForm, Spoiled

__all__ = ["MAX_PCM_BYTES", "REASONS", "form_of", "read_payload"]

Reader = Callable[[bytes], NDArray[Any]]

#: Longest PCM payload, in bytes: 40 s of one channel of 48 kHz and 16 bits.
MAX_PCM_BYTES = 4 * 1024 * 1024

#: Sample format → element type, what silence is, and full scale.
_PCM: dict[SampleFormat, tuple[str, float, float]] = {
    "s16le": ("<i2", 0, 2.0**15),
    "s16be": (">i2", 0, 2.0**15),
    "u8": ("u1", 128, 2.0**7),
    "s32le": ("<i4", 0, 2.0**31),
    "f32le": ("<f4", 0, 1),
}


def form_of(source: SourceSettings) -> SensorForm:
    """What payloads of an MQTT sensor give, known before the first of them.

    Raises:
        SettingsError: the settings do not say enough.
    """
    if source.format == "image":
        if source.json_path:
            picture_reader(source.json_path)
        return SensorForm(kind="image")
    if source.format == "npy" and source.rate_hz is None and not source.channels:
        return SensorForm(kind="tensor")
    if source.format == "json":
        json_reader(source.json_path, width(source))
    if source.format != "json" and source.rate_hz is None:
        raise SettingsError(
            f"samples of the sensor '{source.topic}' have no rate",
            expected="rate_hz, samples per second",
            came=f"format {source.format} without it",
            fix='add rate_hz, such as rate_hz = 16000 (a sensor of single readings takes format = "json")',
        )
    return SensorForm(kind="signal", rate_hz=source.rate_hz, channels=_channels(source))


def width(source: SourceSettings) -> int:
    """How many channels a payload of a signal has."""
    if source.channels and len(source.json_path) > 1 and len(source.channels) != len(source.json_path):
        raise _unequal("channels", len(source.json_path), source.channels)
    return len(source.channels) or max(1, len(source.json_path))


def _channels(source: SourceSettings) -> tuple[Channel, ...]:
    count = width(source)
    if len(source.units) not in {0, 1, count}:
        raise _unequal("units", count, source.units)
    default = "full-scale" if source.format == "pcm" and not (source.scale or source.offset) else ""
    units = source.units or (default,)
    units = units if len(units) == count else units * count
    return tuple(map(Channel, source.channels or ("",) * count, units))


def read_payload(source: SourceSettings) -> Callable[[bytes, float], Captured | Spoiled]:
    """What turns each payload, and the wall clock of its arrival, into a frame.

    Raises:
        SettingsError: the settings do not say enough.
    """
    form, read = form_of(source), _reader(source)

    def captured(payload: bytes, at_unix_s: float) -> Captured | Spoiled:
        try:
            frame = read(bytes(payload)) if len(payload) else _refuse_empty()
            if form.kind == "signal":
                frame = _samples(frame, len(form.channels))
        except BadMessage as error:
            return Spoiled(error.reason, str(error))
        except MemoryError:
            return Spoiled("too_large", str(out_of_memory(payload)))
        return Captured(frame, at_unix_s=at_unix_s)

    return captured


def _reader(source: SourceSettings) -> Reader:
    if source.format == "image":
        return picture_reader(source.json_path)
    if source.format == "json":
        return json_reader(source.json_path, width(source))
    if source.format == "npy":
        return read_npy
    return _pcm_reader(source.sample_format, width(source))


def _pcm_reader(form: SampleFormat, channels: int) -> Reader:
    dtype, silence, full = _PCM[form]
    step = np.dtype(dtype).itemsize * channels

    def read(payload: bytes) -> NDArray[np.float32]:
        if len(payload) > MAX_PCM_BYTES:
            raise rejected(
                "too_large",
                f"at most {MAX_PCM_BYTES} bytes of PCM",
                f"{len(payload)} bytes",
                "publish smaller payloads",
            )
        if len(payload) % step:
            raise rejected(
                "bad_pcm",
                f"a multiple of {step} bytes ({channels} channels of {form})",
                f"{len(payload)} bytes",
                "correct sample_format and channels",
            )
        values = np.frombuffer(payload, dtype).reshape(-1, channels)
        with np.errstate(all="ignore"):
            return ((values.astype(np.float32) - np.float32(silence)) / np.float32(full)).astype(np.float32)

    return read


def _samples(frame: NDArray[Any], channels: int) -> NDArray[np.float32]:
    """``(samples, channels)`` of float32."""
    if frame.ndim < 2:  # noqa: PLR2004 - samples, channels
        frame = frame.reshape(-1)
        frame = frame[:, None] if channels == 1 else frame[None]
    if frame.ndim != 2 or frame.shape[1] != channels or not len(frame):  # noqa: PLR2004 - samples, channels
        raise rejected(
            "wrong_shape",
            f"[samples, {channels}]",
            f"{frame.dtype.name}{list(frame.shape)}",
            "name the channels in the setting channels, one name each, or correct the sensor",
        )
    with np.errstate(all="ignore"):
        return frame.astype(np.float32, copy=False)


def _refuse_empty() -> NDArray[Any]:
    raise rejected(
        "empty", "a payload", "none", "let the sensor publish readings only (an empty retained message clears one)"
    )


def _unequal(name: str, count: int, came: tuple[str, ...]) -> SettingsError:
    return SettingsError(
        f"'{name}' does not fit the sensor's other settings",
        expected=f"{count} of them",
        came=f"{len(came)}: {', '.join(came)}",
        fix=f"give one of {name} per channel",
    )
