"""Pictures without a camera: files, a window that pans over a photograph, and noise."""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from tiercut.errors import SensorError, SettingsError
from tiercut.model.preprocess import IMAGE_SUFFIXES
from tiercut.protocol.stream_settings import SourceSettings
from tiercut.sensing.sensor_format import Captured
from tiercut.sensors.base import DeviceSensor

log = logging.getLogger(__name__)

Picture = NDArray[np.uint8]

#: Longest side of a generated picture, in pixels.
MAX_SIDE = 8192


class Images(DeviceSensor):
    """Image files, one after the other; those that cannot be read are skipped, and reported once."""

    NEEDS: ClassVar = {"path": '["photos"]'}

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._files = image_files(self.source.path)

    def _items(self) -> Iterator[Captured]:
        good = list(self._files)
        while good:
            for file in list(good):
                try:
                    frame = read_image(file)
                except SensorError as error:
                    good.remove(file)
                    log.warning("image skipped", extra={"stream": self.stream, "reason": str(error)})
                    continue
                yield Captured(frame, file.name)
            if not self.source.loop:
                return
        raise SensorError(
            "the sensor has nothing to read",
            expected="at least one readable image",
            came="none",
            fix="replace the files",
        )


class Sized(DeviceSensor):
    """A generator of pictures, of the size in its settings."""

    @classmethod
    def check(cls, source: SourceSettings) -> None:
        """As for all sensors; the pictures must also fit into memory."""
        super().check(source)
        for name, pixels in (("width", source.width), ("height", source.height)):
            if pixels > MAX_SIDE:
                raise SettingsError(
                    f"the pictures of the sensor '{source.sensor}' are too large",
                    expected=f"a {name} of at most {MAX_SIDE} pixels",
                    came=str(pixels),
                    fix=f"choose a smaller {name}",
                )


class Pan(Sized):
    """A window that moves over a photograph on a closed curve: a camera that pans."""

    NEEDS: ClassVar = {"path": '["photo.jpg"]'}

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._photo = read_image(self.source.path[0])

    def _items(self) -> Iterator[Captured]:
        photo = self._photo
        height, width = min(self.source.height, photo.shape[0]), min(self.source.width, photo.shape[1])
        room_y, room_x = photo.shape[0] - height, photo.shape[1] - width
        for step in itertools.count():
            angle = step * 2 * math.pi / 200
            y = round(room_y * (1 + math.sin(2 * angle)) / 2)
            x = round(room_x * (1 + math.cos(angle)) / 2)
            yield Captured(np.ascontiguousarray(photo[y : y + height, x : x + width]), f"x={x} y={y}")


class Noise(Sized):
    """Random pixels, the same ones for the same seed."""

    def _items(self) -> Iterator[Captured]:
        random = np.random.default_rng(self.source.seed)
        shape = (self.source.height, self.source.width, 3)
        while True:
            yield Captured(random.integers(0, 256, shape, dtype=np.uint8), "noise")


def image_files(paths: tuple[Path, ...]) -> list[Path]:
    """The image files of files and folders, those of a folder in the order of their names.

    Raises:
        SensorError: there are none.
    """
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            files += sorted(file for file in path.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES)
        elif path.is_file():
            files.append(path)
        else:
            raise SensorError(
                "cannot open the sensor", expected="a file or folder", came=f"nothing at {path}", fix="correct path"
            )
    if not files:
        raise SensorError(
            "cannot open the sensor",
            expected=f"images ({', '.join(sorted(IMAGE_SUFFIXES))})",
            came=f"none in {', '.join(map(str, paths))}",
            fix="put images there or correct path",
        )
    return files


def read_image(path: Path) -> Picture:
    """The picture in a file, as ``(height, width, 3)``.

    Raises:
        SensorError: there is none in it.
    """
    from PIL import Image  # noqa: PLC0415 - 3 MB that nodes without pictures spare

    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:  # PIL raises all of these
        raise SensorError(
            f"cannot read {path}", expected="an image file", came=str(error), fix="replace or remove the file"
        ) from error
