"""Sensors that a device reads by itself, and all that a plugin needs; what publishes on the bus is in `sensing`."""

from __future__ import annotations

from tiercut.errors import SensorError
from tiercut.protocol.stream_settings import SourceSettings
from tiercut.sensing.sensor_format import Captured, Channel, Sensor, SensorForm, Spoiled
from tiercut.sensors.table import BUILT_IN, check_source, form_of, known, open_sensor

__all__ = [
    "BUILT_IN",
    "Captured",
    "Channel",
    "Sensor",
    "SensorError",
    "SensorForm",
    "SourceSettings",
    "Spoiled",
    "check_source",
    "form_of",
    "known",
    "open_sensor",
]
