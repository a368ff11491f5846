"""What the sensors of signals share: names of channels, and samples given piece by piece."""

from __future__ import annotations

from collections.abc import Sequence

from tiercut.errors import SettingsError
from tiercut.protocol.stream_settings import SourceSettings
from tiercut.sensing.sensor_format import Channel, SensorForm

#: Length of a piece.
PIECE_S = 0.05


def piece_samples(rate_hz: float) -> int:
    """How many samples a piece has."""
    return max(1, round(rate_hz * PIECE_S))


def signal_form(source: SourceSettings, rate_hz: float | None, names: Sequence[str]) -> SensorForm:
    """A signal with channels of these names, in the units of the settings.

    Raises:
        SettingsError: there are more or fewer units than channels.
    """
    units = source.units * len(names) if len(source.units) == 1 else source.units or ("",) * len(names)
    if len(units) != len(names):
        raise _unfit(source, "units", f"one for all or {len(names)}", source.units)
    return SensorForm(kind="signal", rate_hz=rate_hz, channels=tuple(map(Channel, names, units)))


def sound_form(source: SourceSettings, rate_hz: float | None, count: int) -> SensorForm:
    """Sound of some channels; samples of -1 to 1 are in parts of full scale unless the settings scale them.

    Raises:
        SettingsError: there are more or fewer names, or units, than channels.
    """
    if source.channels and len(source.channels) != count:
        raise _unfit(source, "channels", f"{count} names, one for each channel there is", source.channels)
    form = signal_form(source, rate_hz, source.channels or ("",) * count)
    if source.units or source.scale or source.offset:
        return form
    return SensorForm(
        kind="signal", rate_hz=rate_hz, channels=tuple(Channel(each.name, "full-scale") for each in form.channels)
    )


def _unfit(source: SourceSettings, name: str, expected: str, came: Sequence[str]) -> SettingsError:
    return SettingsError(
        f"the {name} of a sensor '{source.sensor}' do not fit",
        expected=expected,
        came=f"{len(came)}: {', '.join(came)}",
        fix=f"correct {name}, or omit it",
    )
