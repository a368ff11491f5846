"""What a stream reads: one sensor or several, on this device or on the bus, as frames that fit its model."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from iot_node.bus_sensor import BusSensor
from iot_node.fusion_sensor import LATE_WINDOWS_S, FusionSensor
from tiercut.bus import Bus
from tiercut.clock import Clock
from tiercut.errors import BusError
from tiercut.model.bundle import Bundle
from tiercut.model.preprocess import FrameSpec
from tiercut.protocol.stream_settings import FUSION, MQTT, SourceSettings, StreamSettings
from tiercut.sensing.fit import adapt
from tiercut.sensing.fusion import Fuser, part_names
from tiercut.sensing.sensor_format import Captured, Sensor, Spoiled
from tiercut.sensors import open_sensor
from tiercut.sensors.contract import check_stream, frames_of

#: With ``latest``, a frame this much older than what waits behind it is passed over (or half the deadline).
MAX_BEHIND_S = 1.0
#: Frames are passed over for at most this long: a machine too slow to keep up still gives some.
MAX_PASSING_S = 1.0


@dataclass(slots=True)
class Source:
    """The open sensors of a stream.

    Attributes:
        frames: What they give, as the model takes it.
        on_bus: Those that publish on the bus by themselves.
        closing: Ends them.
        clock: The device's.
        newest_unix_s: When the newest came of what waits behind the frame given last; ``None``: nothing waits.
        max_behind_s: A frame further behind is passed over; ``None``: none is.
    """

    frames: Iterator[Captured | Spoiled]
    on_bus: Sequence[BusSensor]
    closing: Callable[[], None]
    clock: Clock
    newest_unix_s: Callable[[], float | None]
    max_behind_s: float | None
    _passed: int = field(default=0, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    def next(self) -> Captured | Spoiled | None:
        """The next frame, on a thread that may wait for it; ``None`` at the end.

        Raises:
            SensorError: it cannot be read any more.
        """
        given = next(self.frames, None)
        until_s = self.clock.monotonic_s() + MAX_PASSING_S
        while isinstance(given, Captured) and self._is_behind(given) and self.clock.monotonic_s() < until_s:
            with self._lock:
                self._passed += 1
            given = next(self.frames, None)
        return given

    def _is_behind(self, given: Captured) -> bool:
        """Whether newer frames are already there to be made."""
        if self.max_behind_s is None or given.at_unix_s is None:
            return False
        newest_unix_s = self.newest_unix_s()
        return newest_unix_s is not None and newest_unix_s - given.at_unix_s > self.max_behind_s

    async def connect(self, bus: Bus) -> None:
        """Listen to those on the bus.

        Raises:
            BrokerRefused: the broker does not allow it.
        """
        for sensor in self.on_bus:
            await sensor.connect(bus)

    async def disconnect(self) -> None:
        """Listen no more."""
        for sensor in self.on_bus:
            with contextlib.suppress(BusError):
                await sensor.disconnect()

    def take_lost(self) -> Counter[str]:
        """Messages and frames that were dropped before anyone took them, by reason, since the last call."""
        lost = sum((sensor.take_lost() for sensor in self.on_bus), Counter[str]())
        with self._lock:
            passed, self._passed = self._passed, 0
        return lost + Counter({"sensor_ahead": passed})  # which omits zeros

    def close(self) -> None:
        """End the iteration, from any thread."""
        self.closing()


def open_source(settings: StreamSettings, bundle: Bundle, *, clock: Clock) -> Source:
    """Open the sensors of a stream.

    Raises:
        SettingsError: they do not fit the model.
        SensorError: one cannot be opened.
    """
    check_stream(settings, bundle)
    sensors = [_open(part, settings, clock) for part in settings.parts]
    on_bus = [sensor for sensor in sensors if isinstance(sensor, BusSensor)]
    forms = [sensor.form for sensor in sensors]
    fused = settings.sensor == FUSION
    parts = [
        adapt(iter(sensor), sensor.form, part, takes, aligned=fused)
        for sensor, part, takes in zip(sensors, settings.parts, frames_of(settings, forms, bundle.frame), strict=True)
    ]
    max_behind_s = _max_behind_s(settings, bundle.frame)
    if not fused:
        waiting = on_bus[0].newest_unix_s if on_bus else _nothing
        return Source(parts[0], on_bus, sensors[0].close, clock, waiting, max_behind_s)
    together = FusionSensor(
        parts,
        sensors,
        fuser=Fuser(forms, bundle.frame, part_names(settings.sources)),
        tolerance_s=settings.tolerance_ms / 1e3,
        windows=bundle.frame.kind == "signal",
        clock=clock,
    )
    waits = [together.newest_unix_s, *(sensor.newest_unix_s for sensor in on_bus)]

    def newest_unix_s() -> float | None:
        return max((at for each in waits if (at := each()) is not None), default=None)

    return Source(iter(together), on_bus, together.close, clock, newest_unix_s, max_behind_s)


def _max_behind_s(settings: StreamSettings, frame: FrameSpec) -> float | None:
    """How far behind what waits a frame may be; what it takes to make the next one is not counted."""
    if settings.delivery == "every":
        return None
    fused, signal = settings.sensor == FUSION, frame.kind == "signal"
    max_s = MAX_BEHIND_S if settings.deadline_ms is None else min(MAX_BEHIND_S, settings.deadline_ms / 2e3)
    if signal:
        max_s += max(1 - part.overlap for part in settings.parts) * frame.samples / frame.rate_hz
    if fused:
        max_s += settings.tolerance_ms / 1e3 + (LATE_WINDOWS_S if signal else 0.0)
    return max_s


def _nothing() -> None:
    """Nothing waits: a sensor of this device is read when its frame is wanted."""


def _open(part: SourceSettings, settings: StreamSettings, clock: Clock) -> Sensor:
    if part.sensor == MQTT:
        return BusSensor(part, clock=clock, every=settings.delivery == "every")
    return open_sensor(part, stream=settings.name)
