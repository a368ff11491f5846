"""Which of a sensor's channels a model takes, and by what their values are multiplied."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from tiercut.errors import SettingsError
from tiercut.model.preprocess import FrameSpec
from tiercut.protocol.stream_settings import SourceSettings
from tiercut.sensing.sensor_format import SensorForm
from tiercut.sensing.units import SAME, Conversion, alike, conversion

T = TypeVar("T")
Numbers = NDArray[np.float64]


def names_of(form: SensorForm, source: SourceSettings) -> tuple[str, ...]:
    """Names of a sensor's channels; empty where not given."""
    names = tuple(channel.name for channel in form.channels)
    if all(names) and names:
        return names
    return source.channels if len(source.channels) == len(form.channels) or not form.channels else ()


def picked(form: SensorForm, source: SourceSettings, frame: FrameSpec, *, stream: str = "") -> list[int]:
    """Columns of the sensor's samples for the model's channels: by name where both have names, else in their order.

    Raises:
        SettingsError: a channel is missing, or there are more or fewer.
    """
    names = names_of(form, source)
    if names and frame.channel_names:
        missing = [name for name in frame.channel_names if name not in names]
        if missing:
            raise _unfit(
                stream,
                f"channels {', '.join(frame.channel_names)}",
                f"{', '.join(names)}: {', '.join(missing)} missing",
                "name the sensor's channels as the model does, in the setting channels",
            )
        return [names.index(name) for name in frame.channel_names]
    count = len(form.channels) or frame.channels
    if count != frame.channels:
        wanted = f" ({', '.join(frame.channel_names)})" if frame.channel_names else ""
        came = f"{count}" + (f" ({', '.join(names)})" if names else " without names")
        fix = "name the sensor's channels in the setting channels, one name each, or choose another model"
        raise _unfit(stream, f"{frame.channels} channels{wanted}", came, fix)
    return list(range(count))


def prepared(
    columns: Sequence[int], form: SensorForm, source: SourceSettings, frame: FrameSpec, *, stream: str = ""
) -> tuple[Numbers, Numbers]:
    """Factor and offset per channel of the model: the settings' first, then from the sensor's unit to the model's.

    Raises:
        SettingsError: there are too many or too few settings, or no way from unit to unit.
    """
    count = len(form.channels) or frame.channels
    given = (
        [channel.unit for channel in form.channels] if not source.units else _each(source.units, count, "units", stream)
    )
    given = given or [""] * count
    scales = _each(source.scale or (1.0,), count, "scale", stream)
    offsets = _each(source.offset or (0.0,), count, "offset", stream)
    wanted = frame.units or ("",) * frame.channels
    ways = [_way(given[column], unit, stream) for column, unit in zip(columns, wanted, strict=True)]
    pairs = [
        (way.factor * scales[column], way.factor * offsets[column] + way.offset)
        for way, column in zip(ways, columns, strict=True)
    ]
    return np.array([a for a, _ in pairs]), np.array([b for _, b in pairs])


def _way(given: str, wanted: str, stream: str) -> Conversion:
    found = conversion(given, wanted)
    if found is None:
        others = ", ".join(each for each in alike(wanted) if each != wanted)
        expected = f"a unit that becomes {wanted}" + (f" ({others})" if others else "")
        fix = "correct units, or convert with scale and offset and write the model's unit in units"
        raise _unfit(stream, expected, f"'{given}'", fix)
    return found or SAME


def _each(values: Sequence[T], count: int, name: str, stream: str) -> list[T]:
    """One for all, or one each."""
    if len(values) not in {1, count}:
        raise _unfit(stream, f"one {name} for all, or {count}", f"{len(values)}", f"correct {name}")
    return list(values) * (count if len(values) == 1 else 1)


def _unfit(stream: str, expected: str, came: str, fix: str) -> SettingsError:
    return SettingsError(
        f"the sensor of stream '{stream}' does not fit its model", expected=expected, came=came, fix=fix
    )
