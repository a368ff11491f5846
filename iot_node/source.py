"""What a stream reads: one sensor or several, at home or on the bus, as frames that fit its model."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from iot_node.bus_sensor import BusSensor
from iot_node.fused import FusedSensor
from iot_node.sensors import check_source, known, open_sensor
from iot_node.sensors import form_of as own_form_of
from tiercut.bundle import Bundle
from tiercut.bus import Bus
from tiercut.clock import Clock
from tiercut.errors import BusError, SettingsError
from tiercut.preprocess import FrameSpec
from tiercut.sensing.fit import adapt, check_fit, check_inputs
from tiercut.sensing.form import Captured, Sensor, SensorForm, Spoiled
from tiercut.sensing.fusion import Fuser, part_frames, part_names
from tiercut.sensing.payloads import form_of as payload_form_of
from tiercut.stream_settings import FUSION, MQTT, SourceSettings, StreamSettings


def check_stream(settings: StreamSettings, bundle: Bundle, *, here: bool = True) -> None:
    """Check that a stream's sensors give what its model takes, without opening them.

    Args:
        settings: The stream.
        bundle: Its model.
        here: This machine reads the sensors; elsewhere there may be plugins that are not known here, and the node that
            has them checks.

    Raises:
        SettingsError: says what does not fit, and what to do.
        SensorError: a sensor's file is there, and is none that it can read.
    """
    check_inputs(bundle.cuts[0].tensors, model=bundle.name, stream=settings.name)
    if settings.sensor == FUSION and len(settings.sources) < 2:  # noqa: PLR2004 - one is no fusion
        raise SettingsError(
            f"the stream '{settings.name}' fuses nothing",
            expected="two sources or more ([[sources]])",
            came=str(len(settings.sources)),
            fix="add them, or name the one sensor",
        )
    for part in settings.parts:
        if part.sensor == MQTT:
            _check_topic(part, settings.name)
        elif here or part.sensor in known():
            check_source(part)
    if not here and any(part.sensor != MQTT and part.sensor not in known() for part in settings.parts):
        return
    forms = [form_of(part) for part in settings.parts]
    for form, part, takes in zip(forms, settings.parts, _frames(settings, forms, bundle.frame), strict=True):
        check_fit(form, part, takes, stream=settings.name)


def form_of(part: SourceSettings) -> SensorForm:
    """What a sensor will give, known before its first frame.

    Raises:
        SettingsError: its settings do not say enough.
        SensorError: its file is there, and is none that it can read.
    """
    return payload_form_of(part) if part.sensor == MQTT else own_form_of(part)


@dataclass(slots=True)
class Source:
    """The open sensors of a stream.

    Attributes:
        frames: What they give, as the model takes it.
        on_bus: Those that publish on the bus by themselves.
        closing: Ends them.
    """

    frames: Iterator[Captured | Spoiled]
    on_bus: Sequence[BusSensor]
    closing: Callable[[], None]

    def next(self) -> Captured | Spoiled | None:
        """The next frame, on a thread that may wait for it; ``None`` at the end.

        Raises:
            SensorError: it cannot be read any more.
        """
        return next(self.frames, None)

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
        """Messages that were dropped before anybody took them, by reason, since the last call."""
        return sum((sensor.take_lost() for sensor in self.on_bus), Counter())

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
        for sensor, part, takes in zip(sensors, settings.parts, _frames(settings, forms, bundle.frame), strict=True)
    ]
    if not fused:
        return Source(parts[0], on_bus, sensors[0].close)
    together = FusedSensor(
        parts,
        sensors,
        fuser=Fuser(forms, bundle.frame, part_names(settings.sources)),
        tolerance_s=settings.tolerance_ms / 1e3,
        windows=bundle.frame.kind == "signal",
        clock=clock,
    )
    return Source(iter(together), on_bus, together.close)


def _open(part: SourceSettings, settings: StreamSettings, clock: Clock) -> Sensor:
    return BusSensor(part, clock=clock) if part.sensor == MQTT else open_sensor(part, stream=settings.name)


def _frames(settings: StreamSettings, forms: Sequence[SensorForm], frame: FrameSpec) -> Sequence[FrameSpec]:
    """What the model takes of each sensor."""
    return part_frames(forms, frame, stream=settings.name) if settings.sensor == FUSION else [frame]


def _check_topic(part: SourceSettings, stream: str) -> None:
    if not part.topic:
        raise SettingsError(
            f"a sensor of stream '{stream}' has no source",
            expected="the topic that it publishes on",
            came="none",
            fix='add topic = "…"',
        )
