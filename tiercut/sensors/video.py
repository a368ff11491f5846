"""Frames of a video file, read with OpenCV."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any, ClassVar

from tiercut.errors import SensorError
from tiercut.sensing.sensor_format import Captured
from tiercut.sensors.base import DeviceSensor, in_real_time, optional

#: Frames that are later than this are not skipped: the video was paused.
MAX_PASSED_OVER_S = 60.0


class Video(DeviceSensor):
    """A video: as many frames as are taken or, in real time, those that a camera would show when they are taken."""

    NEEDS: ClassVar = {"path": '["video.mp4"]'}

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._cv2 = opencv(self.source.sensor)
        self._path = self.source.path[0]

    def _items(self) -> Iterator[Captured]:
        while True:
            video = self._cv2.VideoCapture(str(self._path))
            try:
                if in_real_time(self.source, otherwise=False):
                    yield from self._in_real_time(video)
                else:
                    yield from self._as_taken(video)
            finally:
                video.release()
            if not self.source.loop:
                return

    def _as_taken(self, video: Any) -> Iterator[Captured]:
        for number in itertools.count():
            good, frame = video.read()
            if not good:
                self._check_begun(number)
                return
            yield self._captured(frame, number, None)

    def _in_real_time(self, video: Any) -> Iterator[Captured]:
        """Frames at their times; those that nobody took in time are skipped."""
        clock, period_s = self._timing.clock, self._period_s(video)
        start_s, number = clock.monotonic_s(), 0
        while video.grab():
            late_s = clock.monotonic_s() - (start_s + number * period_s)
            if late_s > MAX_PASSED_OVER_S:
                start_s += late_s
            else:
                for _ in range(int(late_s / period_s + 1e-6)):
                    if self._timing.closed or not video.grab():
                        return
                    number += 1
            good, frame = video.retrieve()
            if not good:
                return
            self._timing.sleep(start_s + number * period_s - clock.monotonic_s())
            yield self._captured(frame, number, clock.unix_s())
            number += 1
        self._check_begun(number)

    def _captured(self, frame: Any, number: int, at_unix_s: float | None) -> Captured:
        return Captured(self._cv2.cvtColor(frame, self._cv2.COLOR_BGR2RGB), f"{self._path.name} #{number}", at_unix_s)

    def _check_begun(self, number: int) -> None:
        if not number:
            raise self._bad("a video that OpenCV can read", str(self._path), "correct path")

    def _period_s(self, video: Any) -> float:
        if not video.isOpened():
            self._check_begun(0)
        rate_hz = self.source.rate_hz or video.get(self._cv2.CAP_PROP_FPS)
        if not 0 < rate_hz < math.inf:  # also where it is no number
            raise self._bad("a video with a frame rate", f"{rate_hz} frames per second", "set rate_hz")
        return 1 / float(rate_hz)

    @staticmethod
    def _bad(expected: str, came: str, fix: str) -> SensorError:
        return SensorError("cannot open the video", expected=expected, came=came, fix=fix)


def opencv(sensor: str) -> Any:
    """OpenCV's module.

    Raises:
        SensorError: it is not installed.
    """
    return optional("cv2", sensor=sensor, extra="video", expected="OpenCV")
