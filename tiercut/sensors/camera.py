"""A camera, read with OpenCV."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from tiercut.backoff import Backoff
from tiercut.errors import SettingsError
from tiercut.protocol.stream_settings import SourceSettings
from tiercut.sensing.sensor_format import Captured, Spoiled
from tiercut.sensors.base import DeviceSensor
from tiercut.sensors.video import opencv
from tiercut.settings import masked_url

SCHEMES = ("rtsp://", "rtsps://", "http://", "https://")
#: A network camera that is silent for this long counts as gone.
NETWORK_MS = 5000


class Camera(DeviceSensor):
    """The newest picture of a camera; one that is unplugged is opened again when it is back.

    A thread takes every picture off the driver, so that a picture is never older than the request for it.
    """

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._cv2 = opencv(self.source.sensor)
        self._given: SimpleQueue[Captured | Spoiled | None] = SimpleQueue()
        #: set once per item that is wanted
        self._wanted = threading.Event()
        self._name = masked_url(self.source.url) or str(self.source.path[0])

    @classmethod
    def check(cls, source: SourceSettings) -> None:
        """Check that its source is a device or an address."""
        if not source.url and not source.path:
            raise SettingsError(
                f"the sensor '{source.sensor}' has no source",
                expected="the setting path or url",
                came="none",
                fix='add path = ["/dev/video0"], path = ["0"], or url = "rtsp://…"',
            )
        if source.url and not source.url.startswith(SCHEMES):
            raise SettingsError(
                "no camera can be read there",
                expected=f"a url of {', '.join(SCHEMES)}",
                came=masked_url(source.url),
                fix="correct url, or set path for a camera of this machine",
            )

    def close(self) -> None:
        """End the iteration."""
        super().close()
        self._given.put(None)

    def _items(self) -> Iterator[Captured | Spoiled]:
        self._wanted.set()
        threading.Thread(target=self._watch, name=f"camera-{self.stream}", daemon=True).start()
        while (item := self._given.get()) is not None:
            yield item
            self._wanted.set()

    def _watch(self) -> None:
        """On a thread of its own: open, read, and open again."""
        backoff = Backoff()
        while not self._timing.closed:
            camera = None
            try:
                camera = self._open()
                why = self._grab(camera, backoff) if camera.isOpened() else "cannot be opened"
            except Exception as error:  # noqa: BLE001 - a driver may raise anything; the sensor goes on
                why = f"{type(error).__name__}: {error}"
            finally:
                if camera is not None:
                    with suppress(self._cv2.error):
                        camera.release()
            if self._wanted.is_set():
                self._wanted.clear()
                again = f"tried again after {backoff.next_s:g} s"
                self._given.put(Spoiled("camera_gone", f"the camera {self._name} {why}; connect it ({again})"))
            self._timing.sleep(backoff.take_s())

    def _grab(self, camera: Any, backoff: Backoff) -> str:
        while not self._timing.closed:
            if not camera.grab():
                break
            if not self._wanted.is_set():
                continue
            at_unix_s = self._timing.clock.unix_s()
            good, frame = camera.retrieve()
            if not good:
                break
            backoff.reset()
            self._wanted.clear()
            self._given.put(Captured(self._cv2.cvtColor(frame, self._cv2.COLOR_BGR2RGB), self._label, at_unix_s))
        return "gives no pictures any more"

    def _open(self) -> Any:
        cv2 = self._cv2
        if self.source.url:
            limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, NETWORK_MS, cv2.CAP_PROP_READ_TIMEOUT_MSEC, NETWORK_MS]
            return cv2.VideoCapture(self.source.url, cv2.CAP_FFMPEG, limits)
        camera = cv2.VideoCapture(_device(self.source.path[0]))
        if size := _asked_size(self.source):
            camera.set(cv2.CAP_PROP_FRAME_WIDTH, size[0])
            camera.set(cv2.CAP_PROP_FRAME_HEIGHT, size[1])
        return camera

    @property
    def _label(self) -> str:
        return re.sub(r".*[/@]", "", self._name) or "camera"


def _device(path: Path) -> int | str:
    """Number of a camera; names under ``/dev/v4l/by-id`` keep their meaning when cameras are plugged in elsewhere."""
    if str(path).isdigit():
        return int(str(path))
    number = re.fullmatch(r"video(\d+)", path.resolve().name)
    return int(number[1]) if number else str(path)


def _asked_size(source: SourceSettings) -> tuple[int, int] | None:
    """Width and height, where the settings ask for any: their defaults would choose a camera's worst mode."""
    default = {field.name: field.default for field in fields(SourceSettings)}
    size = (source.width, source.height)
    return None if size == (default["width"], default["height"]) else size
