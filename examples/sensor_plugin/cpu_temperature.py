"""A sensor of one's own: the temperature of the processor, once per second."""

import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from tiercut.sensors import Captured, Channel, SensorForm, SourceSettings, Spoiled


class CpuTemperature:
    """Reads a file such as Linux has for each thermal zone: thousandths of a degree."""

    form = SensorForm(kind="signal", rate_hz=1.0, channels=(Channel("temperature", "degC"),))

    def __init__(self, options: Mapping[str, str], source: SourceSettings) -> None:  # noqa: ARG002 - others need it
        self._file = Path(options.get("file", "/sys/class/thermal/thermal_zone0/temp"))
        self._closed = threading.Event()

    def __iter__(self) -> Iterator[Captured | Spoiled]:
        while not self._closed.wait(1.0):
            try:
                celsius = int(self._file.read_text(encoding="ascii")) / 1000
            except (OSError, ValueError) as error:
                yield Spoiled("no_reading", f"expected thousandths of a degree, got {error}; correct the option file")
            else:
                yield Captured(np.array([[celsius]], np.float32))

    def close(self) -> None:
        """End the iteration, from any thread."""
        self._closed.set()
