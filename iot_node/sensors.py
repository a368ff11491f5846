"""Sensors of a device: each is an iterator of frames that blocks until its next frame is there.

A frame is ``(height, width, 3)`` or ``(height, width)`` uint8. How it becomes the model's input is the bundle's matter.
"""

from __future__ import annotations

import importlib
import itertools
import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tiercut.stream_settings import StreamSettings
from tiercut.errors import SensorError
from tiercut.preprocess import IMAGE_SUFFIXES

log = logging.getLogger(__name__)

Frame = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Captured:
    """What a sensor gave: the frame, and its name for people (``chelsea.png``)."""

    frame: Frame
    label: str | None = None


def open_sensor(settings: StreamSettings) -> Iterator[Captured]:
    """The sensor of a stream.

    Raises:
        SensorError: its source is not there, or is none.
    """
    match settings.sensor:
        case "images":
            return _images(_image_files(settings.path), loop=settings.loop)
        case "pan":
            return _pan(_read_image(settings.path[0]), settings)
        case "video":
            return _video(settings.path[0], loop=settings.loop)
        case "noise":
            return _noise(settings)


def _image_files(paths: tuple[Path, ...]) -> list[Path]:
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


def _read_image(path: Path) -> Frame:
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:  # PIL raises all of these
        raise SensorError(
            f"cannot read {path}", expected="an image file", came=str(error), fix="replace the file or leave it out"
        ) from error


def _images(files: list[Path], *, loop: bool) -> Iterator[Captured]:
    """One after the other; a file that cannot be read is left out and said once."""
    good = list(files)
    while good:
        for file in list(good):
            try:
                frame = _read_image(file)
            except SensorError as error:
                good.remove(file)
                log.warning("image left out", extra={"reason": str(error)})
                continue
            yield Captured(frame, file.name)
        if not loop:
            return
    raise SensorError(
        "the sensor has nothing to read", expected="at least one readable image", came="none", fix="replace the files"
    )


def _pan(photo: Frame, settings: StreamSettings) -> Iterator[Captured]:
    """A window that moves over a photograph on a closed curve: a camera that pans."""
    height, width = min(settings.height, photo.shape[0]), min(settings.width, photo.shape[1])
    room_y, room_x = photo.shape[0] - height, photo.shape[1] - width
    for step in itertools.count():
        angle = step * 2 * math.pi / 200
        y = round(room_y * (1 + math.sin(2 * angle)) / 2)
        x = round(room_x * (1 + math.cos(angle)) / 2)
        yield Captured(np.ascontiguousarray(photo[y : y + height, x : x + width]), f"x={x} y={y}")


def _video(path: Path, *, loop: bool) -> Iterator[Captured]:
    try:
        cv2: Any = importlib.import_module("cv2")
    except ImportError as error:
        raise SensorError(
            "cannot open the video", expected="OpenCV", came=str(error), fix="pip install tiercut[video]"
        ) from error
    while True:
        video = cv2.VideoCapture(str(path))
        good, frame = video.read()
        if not good:
            raise SensorError(
                "cannot open the video", expected="a video that OpenCV can read", came=str(path), fix="correct path"
            )
        for number in itertools.count():
            if not good:
                break
            yield Captured(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), f"{path.name} #{number}")
            good, frame = video.read()
        video.release()
        if not loop:
            return


def _noise(settings: StreamSettings) -> Iterator[Captured]:
    random = np.random.default_rng(settings.seed)
    while True:
        yield Captured(random.integers(0, 256, (settings.height, settings.width, 3), dtype=np.uint8), "noise")
