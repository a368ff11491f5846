"""All sensors of a device by name; a built-in one is one module and one row of `BUILT_IN`."""

from __future__ import annotations

from tiercut.errors import SettingsError
from tiercut.protocol.stream_settings import FUSION, MQTT, SourceSettings
from tiercut.sensing.sensor_format import Sensor, SensorForm
from tiercut.sensors.base import DeviceSensor, Timing
from tiercut.sensors.camera import Camera
from tiercut.sensors.microphone import Microphone
from tiercut.sensors.pictures import Images, Noise, Pan
from tiercut.sensors.plugins import PluginSensor, installed
from tiercut.sensors.recording import PlayedRecording
from tiercut.sensors.snapshot import Snapshot
from tiercut.sensors.video import Video
from tiercut.sensors.wav import Wav

#: The settings that a sensor uses are those of `SourceSettings`; what only it needs comes in ``options``.
BUILT_IN: dict[str, type[DeviceSensor]] = {
    "camera": Camera,
    "images": Images,
    "microphone": Microphone,
    "noise": Noise,
    "pan": Pan,
    "recording": PlayedRecording,
    "snapshot": Snapshot,
    "video": Video,
    "wav": Wav,
}


def known() -> dict[str, str]:
    """All sensors: name → what it is. A built-in one wins over a plugin of the same name."""
    own = {name: (cls.__doc__ or "").splitlines()[0] for name, cls in BUILT_IN.items()}
    return {**installed(), **own}


def open_sensor(source: SourceSettings, *, stream: str = "", timing: Timing | None = None) -> Sensor:
    """Open a sensor.

    Args:
        source: Its settings.
        stream: Name of its stream, for messages.
        timing: Its time; tests give their own.

    Raises:
        SettingsError: a setting is missing, or there is no such sensor.
        SensorError: its source is not there, or is none.
    """
    cls = _class(source)
    cls.check(source)
    return cls(source, stream=stream, timing=timing)


def form_of(source: SourceSettings) -> SensorForm:
    """What a sensor will give, without its hardware.

    Raises:
        SettingsError: a setting is missing, or there is no such sensor.
        SensorError: its file is there, and is none that it can read.
    """
    cls = _class(source)
    cls.check(source)
    return cls.form_of(source)


def check_source(source: SourceSettings) -> None:
    """Check that the settings of a sensor are consistent, without looking at the machine.

    Raises:
        SettingsError: names what is missing.
    """
    _class(source).check(source)


def _class(source: SourceSettings) -> type[DeviceSensor | PluginSensor]:
    if source.sensor in BUILT_IN:
        return BUILT_IN[source.sensor]
    if source.sensor not in known():
        raise SettingsError(
            f"unknown sensor '{source.sensor}'" if source.sensor else "the stream names no sensor",
            expected=f"one of {', '.join(sorted({*known(), MQTT, FUSION}))}",
            came=f"'{source.sensor}'",
            fix="correct sensor, or install the package of its plugin on the device",
        )
    return PluginSensor
