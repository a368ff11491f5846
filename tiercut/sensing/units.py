"""Units of sensors, and how to get from one to another.

A table rather than a library: libraries for units parse expressions and carry whole systems of them, for what is a
multiplication and an addition here. What is not in the table needs no conversion where sensor and model write it alike,
else ``scale`` and ``offset`` do it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

_G = 9.80665  # standard gravity, ISO 80000-3
_RPM = math.tau / 60

#: What is measured → unit → factor (and offset) to the first unit of the row: ``base = value * factor + offset``.
UNITS: dict[str, dict[str, float | tuple[float, float]]] = {
    "acceleration": {"m/s2": 1, "g": _G, "mg": _G / 1e3, "cm/s2": 0.01, "ft/s2": 0.3048},
    "angular velocity": {"rad/s": 1, "deg/s": math.pi / 180, "mdeg/s": math.pi / 180e3, "rpm": _RPM},
    "angle": {"rad": 1, "deg": math.pi / 180},
    "temperature": {"K": 1, "degC": (1, 273.15), "degF": (5 / 9, 459.67 * 5 / 9)},
    "ratio": {"1": 1, "%": 0.01, "ppm": 1e-6, "ppb": 1e-9},
    "voltage": {"V": 1, "mV": 1e-3, "uV": 1e-6, "kV": 1e3},
    "current": {"A": 1, "mA": 1e-3, "uA": 1e-6},
    "power": {"W": 1, "mW": 1e-3, "kW": 1e3},
    "energy": {"J": 1, "Wh": 3600, "kWh": 3.6e6},
    "pressure": {"Pa": 1, "hPa": 100, "kPa": 1e3, "mbar": 100, "bar": 1e5, "psi": 6894.757293168},
    "magnetic flux density": {"T": 1, "mT": 1e-3, "uT": 1e-6, "G": 1e-4, "mG": 1e-7},
    "length": {"m": 1, "mm": 1e-3, "cm": 0.01, "km": 1e3, "in": 0.0254, "ft": 0.3048},
    "speed": {"m/s": 1, "mm/s": 1e-3, "km/h": 1 / 3.6, "mph": 0.44704},
    "time": {"s": 1, "ms": 1e-3, "us": 1e-6, "min": 60, "h": 3600},
    "frequency": {"Hz": 1, "kHz": 1e3, "MHz": 1e6, "bpm": 1 / 60},
    "illuminance": {"lx": 1, "klx": 1e3},
    # parts of a converter's range, -1 to 1: what PCM gives, and what speech models take
    "full scale": {"full-scale": 1, "int8": 2.0**-7, "int16": 2.0**-15, "int24": 2.0**-23, "int32": 2.0**-31},
}

#: Other spellings, in lower case where case makes no difference.
_ALIASES = {
    "m/s^2": "m/s2", "m/s²": "m/s2", "m/s/s": "m/s2", "dps": "deg/s", "°/s": "deg/s", "mdps": "mdeg/s", "°": "deg",
    "°c": "degC", "c": "degC", "celsius": "degC", "degc": "degC", "°f": "degF", "f": "degF", "fahrenheit": "degF",
    "degf": "degF", "kelvin": "K", "k": "K", "percent": "%", "µt": "uT", "μt": "uT", "µv": "uV", "μv": "uV", "µa": "uA",
    "μa": "uA", "gauss": "G", "lux": "lx", "volt": "V", "watt": "W", "s16": "int16", "fs": "full-scale",
}  # fmt: skip

_OF = {unit: kind for kind, row in UNITS.items() for unit in row}


@dataclass(frozen=True, slots=True)
class Conversion:
    """``to = value * factor + offset``."""

    factor: float = 1.0
    offset: float = 0.0


SAME = Conversion()


def spelled(unit: str) -> str:
    """A unit as the table has it; unknown ones as they are."""
    unit = unit.strip()
    return unit if unit in _OF else _ALIASES.get(unit.lower(), unit)


def conversion(given: str, wanted: str) -> Conversion | None:
    """From one unit to another; nothing to do where either is not said, ``None`` where there is no way."""
    given, wanted = spelled(given), spelled(wanted)
    if given == wanted or not given or not wanted:
        return SAME
    if _OF.get(given) is None or _OF.get(given) != _OF.get(wanted):
        return None
    (factor, offset), (to_factor, to_offset) = _to_base(given), _to_base(wanted)
    return Conversion(factor / to_factor, (offset - to_offset) / to_factor)


def alike(unit: str) -> tuple[str, ...]:
    """All units of the table that measure the same; empty for an unknown one."""
    kind = _OF.get(spelled(unit))
    return () if kind is None else tuple(UNITS[kind])


def _to_base(unit: str) -> tuple[float, float]:
    value = UNITS[_OF[unit]][unit]
    return value if isinstance(value, tuple) else (float(value), 0.0)
