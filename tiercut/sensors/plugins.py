"""Sensors of other packages: classes behind an entry point of the group ``tiercut.sensors``.

An error in one is reported with its name, and ends its stream at most.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import numpy as np

from tiercut.errors import SensorError, SettingsError
from tiercut.plugins import ANYTHING, package_of
from tiercut.protocol.stream_settings import SourceSettings
from tiercut.sensing.sensor_format import Captured, Sensor, SensorForm, Spoiled
from tiercut.sensors.base import Timing, options_of

log = logging.getLogger(__name__)

GROUP = "tiercut.sensors"


def installed() -> dict[str, str]:
    """The plugins on this machine: name → package and class."""
    return {name: f"{package_of(each)}: {each.value}" for name, each in sorted(_found().items())}


class PluginSensor:
    """Keeps a plugin within the `Sensor` protocol.

    Args:
        source: Its settings; its name is their ``sensor``.
        timing: Says whether it goes on.

    Raises:
        SensorError: it is not there, cannot be imported, or refuses its options.
    """

    def __init__(self, source: SourceSettings, *, stream: str = "", timing: Timing | None = None) -> None:
        self.source = source
        self.stream = stream
        self._timing = Timing() if timing is None else timing
        self._sensor = _made(source)
        self.form = _form(self._sensor, source)

    @classmethod
    def check(cls, source: SourceSettings) -> None:
        """Check that there is a plugin of that name.

        Raises:
            SettingsError: none has.
        """
        if source.sensor not in _found():
            raise SettingsError(
                f"unknown sensor '{source.sensor}'",
                expected=f"a plugin of that name ({', '.join(_found()) or 'none is installed'})",
                came="none",
                fix="correct sensor, or install its package on the device",
            )

    @classmethod
    def form_of(cls, source: SourceSettings) -> SensorForm:
        """What it will give.

        Raises:
            SensorError: it does not say.
        """
        plugin = _class(source)
        if isinstance(form := getattr(plugin, "form", None), SensorForm):
            return form
        sensor = _made(source)
        try:
            return _form(sensor, source)
        finally:
            _close(sensor, source)

    def __iter__(self) -> Iterator[Captured | Spoiled]:
        """Iterate until it ends, or is closed."""
        try:
            for item in self._sensor:
                if self._timing.closed:
                    return
                yield self._checked(item)
        except SensorError:
            raise
        except ANYTHING as error:
            if self._timing.closed:  # such as a port that was closed while it was read
                return
            raise _failed(self.source, "to read on", error) from error

    def close(self) -> None:
        """End the iteration."""
        self._timing.close()
        _close(self._sensor, self.source)

    def _checked(self, item: Any) -> Captured | Spoiled:
        if isinstance(item, Spoiled):
            return item
        if not isinstance(item, Captured):
            return self._spoiled("Captured or Spoiled", type(item).__name__)
        try:
            frame = np.asarray(item.frame)
        except ANYTHING as error:
            return self._spoiled("an array", f"{type(error).__name__}: {error}")
        if self.form.kind == "image":
            if frame.dtype != np.uint8 or frame.ndim not in (2, 3):
                return self._spoiled("uint8 (height, width, 3)", f"{frame.dtype.name}{list(frame.shape)}")
        elif self.form.kind == "signal":
            count = len(self.form.channels)
            frame = frame[:, None] if frame.ndim == 1 and count == 1 else frame
            if frame.dtype.kind not in "fiu" or frame.ndim != 2 or frame.shape[1] != count:  # noqa: PLR2004 - samples, channels
                came = f"{frame.dtype.name}{list(frame.shape)}"
                return self._spoiled(f"numbers of shape (samples, {count})", came)
            frame = frame.astype(np.float32, copy=False)
        return Captured(frame, None if item.label is None else str(item.label), item.at_unix_s)

    def _spoiled(self, expected: str, came: str) -> Spoiled:
        return Spoiled("bad_frame", f"the plugin '{self.source.sensor}' gave {came}, expected {expected}; correct it")


@lru_cache(maxsize=1)
def _found() -> dict[str, EntryPoint]:
    return {each.name: each for each in entry_points(group=GROUP)}


def _class(source: SourceSettings) -> Any:
    PluginSensor.check(source)
    try:
        return _found()[source.sensor].load()
    except ANYTHING as error:
        raise _failed(source, "to be imported", error) from error


def _made(source: SourceSettings) -> Sensor:
    plugin = _class(source)
    try:
        sensor: Sensor = plugin(options_of(source), source)
    except SensorError:
        raise
    except ANYTHING as error:
        raise _failed(source, "to open", error) from error
    return sensor


def _form(sensor: Sensor, source: SourceSettings) -> SensorForm:
    try:
        form = sensor.form
    except ANYTHING as error:
        raise _failed(source, "to say its form", error) from error
    if not isinstance(form, SensorForm):
        raise SensorError(
            f"the plugin '{source.sensor}' does not declare what it gives",
            expected="a SensorForm as its attribute form",
            came=type(form).__name__,
            fix="correct the plugin",
        )
    return form


def _close(sensor: Sensor, source: SourceSettings) -> None:
    try:
        sensor.close()
    except ANYTHING:
        log.warning("plugin could not be closed", exc_info=True, extra={"sensor": source.sensor})


def _failed(source: SourceSettings, expected: str, error: BaseException) -> SensorError:
    entry = _found()[source.sensor]
    return SensorError(
        f"the sensor plugin '{source.sensor}' ({package_of(entry)}) failed",
        expected=f"it {expected}",
        came=f"{type(error).__name__}: {error}",
        fix="correct its options, or the plugin",
    )
