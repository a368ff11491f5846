"""Sensors for tests: frames of a real one, and a sensor made of given frames."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from numpy.typing import NDArray

from tiercut.protocol.stream_settings import SourceSettings
from tiercut.sensing.sensor_format import Captured, SensorForm, Spoiled
from tiercut.sensors import open_sensor


class Given:
    """A sensor of pictures that gives what it was given."""

    form = SensorForm(kind="image")

    def __init__(self, items: Iterable[Captured | Spoiled]) -> None:
        self._items = items

    def __iter__(self) -> Iterator[Captured | Spoiled]:
        return iter(self._items)

    def close(self) -> None:
        """Nothing to close."""


def frames_of(source: SourceSettings) -> Iterator[Captured]:
    """What a sensor gives, which spoils none."""
    for item in open_sensor(source):
        assert isinstance(item, Captured), item
        yield item


def first_frame(source: SourceSettings) -> NDArray[Any]:
    """The array of its first frame."""
    return next(frames_of(source)).frame
