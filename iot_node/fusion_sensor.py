"""Several sensors read side by side, as one: their frames are put together by time."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Sequence

from tiercut.clock import Clock
from tiercut.errors import SensorError
from tiercut.sensing.fusion import Aligned, Aligner, Fuser
from tiercut.sensing.sensor_format import Captured, Sensor, Spoiled

#: Frames of a sensor that may wait to be put together; a sensor further ahead waits for a place.
MAX_WAITING = 64
#: How often to look for sets of frames that have waited long enough.
LOOK_EVERY_S = 0.05
#: Windows are cut out of chunks and arrive later than they were captured: wait this much longer for the others.
LATE_WINDOWS_S = 1.0


class FusionSensor:
    """Reads each sensor on a thread of its own. It goes on while one of them works.

    Args:
        parts: What each gives, as the model takes it of that sensor.
        sensors: The sensors themselves, to be closed.
        fuser: Makes one frame of theirs.
        tolerance_s: Frames of all sensors within this time belong together.
        windows: They give windows of signals.
        clock: Its time.
    """

    def __init__(
        self,
        parts: Sequence[Iterator[Captured | Spoiled]],
        sensors: Sequence[Sensor],
        *,
        fuser: Fuser,
        tolerance_s: float,
        windows: bool,
        clock: Clock,
    ) -> None:
        self._parts = parts
        self._sensors = sensors
        self._fuser = fuser
        self._aligner = Aligner(len(parts), tolerance_s, tolerance_s + (LATE_WINDOWS_S if windows else 0.0))
        self._clock = clock
        self._given: queue.Queue[tuple[int, Captured | Spoiled | Exception | None]] = queue.Queue(MAX_WAITING)
        self._closed = threading.Event()
        #: when the newest frame in the queue was captured
        self._newest_unix_s: float | None = None

    def __iter__(self) -> Iterator[Captured | Spoiled]:
        """Until all sensors have ended, or `close`.

        Raises:
            SensorError: the last one that was left has failed.
        """
        for i in range(len(self._parts)):
            threading.Thread(target=self._read, args=(i,), name=f"part-{i}", daemon=True).start()
        running = len(self._parts)
        while running and not self._closed.is_set():
            try:
                i, given = self._given.get(timeout=LOOK_EVERY_S)
            except queue.Empty:
                yield from self._frames(self._aligner.due(self._clock.unix_s()))
                continue
            if isinstance(given, Captured):
                yield from self._frames(self._aligner.put(i, given, self._clock.unix_s()))
            elif isinstance(given, Spoiled):
                yield given
            else:
                running -= 1
                if given is not None and not running:
                    raise given
                if given is not None:
                    yield Spoiled("sensor_failed", str(given))
        yield from self._frames(self._aligner.flush())

    def newest_unix_s(self) -> float | None:
        """When the newest frame was captured that waits to be put together; ``None``: none waits."""
        return None if self._given.empty() else self._newest_unix_s

    def close(self) -> None:
        """End the iteration, from any thread."""
        self._closed.set()
        for sensor in self._sensors:
            sensor.close()

    def _frames(self, sets: Sequence[Aligned]) -> Iterator[Captured]:
        for each in sets:
            yield self._fuser.frame(each.parts)

    def _read(self, i: int) -> None:
        """One sensor's thread."""
        end: Exception | None = None
        try:
            for each in self._parts[i]:
                if not self._give(i, each):
                    return
        except SensorError as error:
            end = error
        except Exception as error:  # noqa: BLE001 - a driver may raise anything; the others go on
            end = SensorError(
                "a sensor failed", expected="frames", came=f"{type(error).__name__}: {error}", fix="check the sensor"
            )
        self._give(i, end)

    def _give(self, i: int, given: Captured | Spoiled | Exception | None) -> bool:
        """Put it in the queue; false when nobody takes it any more."""
        while not self._closed.is_set():
            try:
                self._given.put((i, given), timeout=LOOK_EVERY_S)
            except queue.Full:
                continue
            if isinstance(given, Captured):
                self._newest_unix_s = given.at_unix_s
            return True
        return False
