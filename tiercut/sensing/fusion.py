"""Several sensors in one stream: pictures as the views of one input, or the channels of several signals side by side.

A stream goes on when a sensor is away, as in DDNN (Teerapittayanon et al., ICDCS 2017): a missing view is black, a
missing signal keeps its last values.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tiercut.errors import SettingsError
from tiercut.model.preprocess import COLOUR, GREY, LARGE_PIXELS, FrameSpec
from tiercut.protocol.stream_settings import SourceSettings
from tiercut.sensing.sensor_format import Captured, SensorForm
from tiercut.sensing.time_alignment import Aligned, Aligner

_ARE = {"image": "pictures", "signal": "a signal", "tensor": "arrays"}

__all__ = ["Aligned", "Aligner", "Fuser", "fused_form", "fused_frame", "part_frames", "part_names"]


def fused_form(forms: Sequence[SensorForm]) -> SensorForm:
    """What the sensors give together; that of the first where they have nothing in common.

    A fused signal has no rate of its own: each sensor's is changed to the model's.
    """
    first = forms[0]
    if {form.kind for form in forms} != {"signal"}:
        return first
    return SensorForm(kind="signal", channels=tuple(channel for form in forms for channel in form.channels))


def part_frames(forms: Sequence[SensorForm], frame: FrameSpec, *, stream: str = "") -> tuple[FrameSpec, ...]:
    """What of a model's input each sensor is to give.

    Raises:
        SettingsError: these sensors together do not make the model's input.
    """
    kinds = {form.kind for form in forms}
    if frame.kind == "tensor" or kinds != {frame.kind}:
        came = ", ".join(_ARE[form.kind] for form in forms)
        raise _unfit(
            stream, f"sensors that all give {_ARE[frame.kind]}", came, "omit the others, or choose another model"
        )
    if frame.kind == "image":
        if len(forms) != frame.views:
            fix = "give the stream as many [[sources]], or export the model with --views"
            raise _unfit(stream, f"{frame.views} cameras", f"{len(forms)}", fix)
        return (replace(frame, views=1),) * len(forms)
    return tuple(_signal_part(frame, columns) for columns in _columns(forms, frame, stream))


def part_names(sources: Sequence[SourceSettings]) -> tuple[str, ...]:
    """What people call the sensors: of topics that part which differs, else the sensor's kind and number."""
    topics = [source.topic.split("/") for source in sources]
    if all(source.topic for source in sources) and len({len(topic) for topic in topics}) == 1:
        differing = [k for k in range(len(topics[0])) if len({topic[k] for topic in topics}) > 1]
        names = ["/".join(topic[k] for k in differing) for topic in topics]
        if len(set(names)) == len(names):
            return tuple(names)
    return tuple(source.topic or f"{source.sensor} {i + 1}" for i, source in enumerate(sources))


def fused_frame(
    parts: Sequence[Captured | None],
    forms: Sequence[SensorForm],
    frame: FrameSpec,
    *,
    names: Sequence[str] = (),
    held: Sequence[NDArray[Any] | None] = (),
) -> Captured:
    """One frame of all sensors.

    Args:
        parts: What each sensor gave, as `tiercut.sensing.fit.adapt` made it; ``None`` where it is missing.
        forms: Their forms.
        frame: What the model takes.
        names: Names of the sensors.
        held: The last frame of each sensor, for signals that are missing.

    Returns:
        For images uint8 ``(views, height, width[, 3])``; for signals float32 ``(samples, channels)``. Its label says
        which are missing (``without garden``).
    """
    missing = [names[i] if i < len(names) else f"sensor {i + 1}" for i, part in enumerate(parts) if part is None]
    label = f"without {', '.join(missing)}" if missing else next((part.label for part in parts if part), None)
    times = [part.at_unix_s for part in parts if part is not None and part.at_unix_s is not None]
    made = _views(parts, frame) if frame.kind == "image" else _side_by_side(parts, forms, frame, held)
    return Captured(made, label, min(times, default=None))


class Fuser:
    """Makes frames, and keeps the last one of each sensor.

    Args:
        forms: Forms of the sensors.
        frame: What the model takes.
        names: Names of the sensors.
    """

    def __init__(self, forms: Sequence[SensorForm], frame: FrameSpec, names: Sequence[str] = ()) -> None:
        self._forms, self._frame, self._names = forms, frame, names
        self._held: list[NDArray[Any] | None] = [None] * len(forms)

    def frame(self, parts: Sequence[Captured | None]) -> Captured:
        """One frame of all sensors; see `fused_frame`."""
        made = fused_frame(parts, self._forms, self._frame, names=self._names, held=self._held)
        if self._frame.kind == "signal":
            self._held = [part.frame[-1:] if part else old for part, old in zip(parts, self._held, strict=True)]
        return made


def _columns(forms: Sequence[SensorForm], frame: FrameSpec, stream: str) -> list[tuple[int, ...]]:
    """The model's channels that each sensor gives: by name where all have names, else one sensor's after another's."""
    names = [[channel.name for channel in form.channels] for form in forms]
    flat = [name for each in names for name in each]
    if frame.channel_names and flat and all(flat) and all(names):
        missing = [name for name in frame.channel_names if name not in flat]
        twice = [name for name in frame.channel_names if flat.count(name) > 1]
        if missing or twice:
            wrong = f"{', '.join(missing)} missing" if missing else f"{', '.join(twice)} twice"
            came = f"{', '.join(flat)}: {wrong}"
            fix = "name the channels of each of the [[sources]] as the model does, in the setting channels"
            raise _unfit(stream, f"channels {', '.join(frame.channel_names)}", came, fix)
        columns = [tuple(k for k, name in enumerate(frame.channel_names) if name in each) for each in names]
    else:
        counts = [max(1, len(form.channels)) for form in forms]
        if sum(counts) != frame.channels:
            came = " + ".join(map(str, counts))
            raise _unfit(stream, f"{frame.channels} channels", came, "correct channels of the [[sources]]")
        ends = np.cumsum(counts).tolist()
        columns = [tuple(range(end - count, end)) for end, count in zip(ends, counts, strict=True)]
    if not all(columns):
        idle = ", ".join(str(i + 1) for i, each in enumerate(columns) if not each)
        raise _unfit(stream, "sensors that give channels of the model", f"none from source {idle}", "omit it")
    return columns


def _signal_part(frame: FrameSpec, columns: Sequence[int]) -> FrameSpec:
    return replace(
        frame,
        channels=len(columns),
        channel_names=tuple(frame.channel_names[k] for k in columns) if frame.channel_names else (),
        units=tuple(frame.units[k] for k in columns) if frame.units else (),
        layout="channels_last",
    )


def _side_by_side(
    parts: Sequence[Captured | None],
    forms: Sequence[SensorForm],
    frame: FrameSpec,
    held: Sequence[NDArray[Any] | None],
) -> NDArray[np.float32]:
    made = np.zeros((frame.samples, frame.channels), np.float32)
    for i, columns in enumerate(_columns(forms, frame, "")):
        part = parts[i]
        values = part.frame if part is not None else (held[i] if i < len(held) else None)
        if values is not None:
            made[:, list(columns)] = values
    return made


def _views(parts: Sequence[Captured | None], frame: FrameSpec) -> NDArray[np.uint8]:
    """The pictures one behind the other, brought to one size where they differ or are large; missing ones are black."""
    pictures = [None if part is None else _coloured(part.frame, frame.channels) for part in parts]
    shapes = {picture.shape for picture in pictures if picture is not None}
    if len(shapes) == 1 and math.prod(next(iter(shapes))[:2]) <= LARGE_PIXELS:
        shape = shapes.pop()
        return np.stack([np.zeros(shape, np.uint8) if picture is None else picture for picture in pictures])
    # crop_ratio is for the model's own preprocessing: what it will cut off is still there
    ratio = frame.crop_ratio if frame.resize == "crop" else 1.0
    size = tuple(max(1, round(side / ratio)) for side in frame.size)
    common = replace(frame, views=1, size=(size[0], size[1]), crop_ratio=1.0)
    empty = np.zeros(common.shape[1:], np.uint8)
    return np.stack(
        [empty if picture is None else common.to_input(picture)[0].astype(np.uint8) for picture in pictures]
    )


def _coloured(picture: NDArray[Any], channels: int) -> NDArray[np.uint8]:
    """Pictures of one form, whether a sensor gives grey ones or coloured ones."""
    from PIL import Image  # noqa: PLC0415 - 3 MB that nodes without pictures spare

    pixels = picture[:, :, 0] if picture.ndim == 3 and picture.shape[2] == GREY else picture  # noqa: PLR2004
    if channels == GREY:
        grey = Image.fromarray(np.ascontiguousarray(pixels)).convert("L") if pixels.ndim > 2 else pixels  # noqa: PLR2004
        return np.asarray(grey, np.uint8)
    coloured = np.repeat(pixels[:, :, None], COLOUR, axis=2) if pixels.ndim == 2 else pixels[:, :, :COLOUR]  # noqa: PLR2004
    return np.ascontiguousarray(coloured, np.uint8)


def _unfit(stream: str, expected: str, came: str, fix: str) -> SettingsError:
    return SettingsError(
        f"the sensors of stream '{stream}' do not fit its model", expected=expected, came=came, fix=fix
    )
