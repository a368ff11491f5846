"""Checks that a stream's sensors give what its model takes, before any of them is opened."""

from __future__ import annotations

from collections.abc import Sequence

from tiercut.errors import SettingsError
from tiercut.model.bundle import Bundle
from tiercut.model.preprocess import FrameSpec
from tiercut.protocol.stream_settings import FUSION, MQTT, SourceSettings, StreamSettings
from tiercut.sensing.fit import check_fit, check_inputs
from tiercut.sensing.fusion import part_frames
from tiercut.sensing.payloads import form_of as payload_form_of
from tiercut.sensing.sensor_format import SensorForm
from tiercut.sensors import check_source, known
from tiercut.sensors import form_of as own_form_of


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
    for form, part, takes in zip(forms, settings.parts, frames_of(settings, forms, bundle.frame), strict=True):
        check_fit(form, part, takes, stream=settings.name)


def form_of(part: SourceSettings) -> SensorForm:
    """What a sensor will give, known before its first frame.

    Raises:
        SettingsError: its settings do not say enough.
        SensorError: its file is there, and is none that it can read.
    """
    return payload_form_of(part) if part.sensor == MQTT else own_form_of(part)


def frames_of(settings: StreamSettings, forms: Sequence[SensorForm], frame: FrameSpec) -> Sequence[FrameSpec]:
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
