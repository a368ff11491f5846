"""Whether a sensor fits a model, known when the stream is added; and what it gives, made into what the model takes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from tiercut.errors import BadMessage, InputError, SettingsError
from tiercut.model.cuts import TensorSpec
from tiercut.model.preprocess import FrameSpec
from tiercut.protocol.stream_settings import MQTT, SourceSettings
from tiercut.sensing.channels import picked, prepared
from tiercut.sensing.rejects import rejected
from tiercut.sensing.resampling import MAX_RATIO
from tiercut.sensing.sensor_format import Captured, SensorForm, Spoiled
from tiercut.sensing.windows import HeldWindows, RegularWindows, SignalWindow

#: Longest window of readings without a rate, in samples: they are made up at the model's rate.
MAX_HELD_SAMPLES = 1_000_000

_ARE = {"image": "pictures", "signal": "samples of a signal", "tensor": "arrays"}
_EXPORT = {
    "image": "add a stream whose sensor gives pictures, or choose another model",
    "signal": "add a stream whose sensor gives a signal, or choose another model",
    "tensor": "export the model with --image-size for pictures, or with --signal-samples for a signal",
}


def check_fit(form: SensorForm, source: SourceSettings, frame: FrameSpec, *, stream: str) -> None:
    """Check that what a sensor gives can become what a model takes.

    Args:
        form: What the sensor gives.
        source: Its settings.
        frame: What the model takes.
        stream: Name of the stream, for the message.

    Raises:
        SettingsError: it cannot.
    """
    if frame.kind == "image" and frame.views > 1:
        came = f"one sensor '{source.sensor}'"
        raise _unfit(stream, f"{frame.views} cameras", came, 'make it sensor = "fusion" with as many [[sources]]')
    if form.kind == "tensor" and frame.kind != "signal":
        _check_tensor(form, frame, stream)
    elif form.kind != frame.kind:
        raise _unfit(stream, _takes(frame), f"{_ARE[form.kind]} from the sensor '{source.sensor}'", _EXPORT[frame.kind])
    if frame.kind == "signal":
        _check_rate(form, source, frame, stream)
        prepared(picked(form, source, frame, stream=stream), form, source, frame, stream=stream)


def check_inputs(inputs: Sequence[TensorSpec], *, model: str, stream: str) -> None:
    """Check that one frame is all that a model takes.

    Raises:
        SettingsError: it has several inputs.
    """
    if len(inputs) > 1:
        names = ", ".join(f"{each.name} {each}" for each in inputs)
        fix = "export the model with one input (several sensors: views of an image, or channels of a signal)"
        raise _unfit(stream, "a model with one input", f"'{model}' with {len(inputs)}: {names}", fix)


def adapt(
    items: Iterator[Captured | Spoiled],
    form: SensorForm,
    source: SourceSettings,
    frame: FrameSpec,
    *,
    aligned: bool = False,
) -> Iterator[Captured | Spoiled]:
    """What a sensor gives, as the model takes it: signals as windows, everything else as it is.

    Args:
        items: What the sensor gives.
        form: Its form.
        source: Its settings.
        frame: What the model takes.
        aligned: Windows end at the same times as those of other sensors.

    Raises:
        SettingsError: the sensor does not fit the model.
    """
    adapter = Adapter(form, source, frame, aligned=aligned)
    for item in items:
        yield from adapter.push(item)
    yield from adapter.end()


class Adapter:
    """The same, item by item; take all that one gives before the next.

    Args:
        form: What the sensor gives.
        source: Its settings.
        frame: What the model takes.
        aligned: Windows end at the same times as those of other sensors.

    Raises:
        SettingsError: the sensor does not fit the model.
    """

    def __init__(self, form: SensorForm, source: SourceSettings, frame: FrameSpec, *, aligned: bool = False) -> None:
        self._frame = frame
        self._windows: RegularWindows | HeldWindows | None = None
        if frame.kind != "signal":
            return
        columns = picked(form, source, frame)
        self._columns = columns
        self._factors, self._offsets = prepared(columns, form, source, frame)
        self._given = len(form.channels) or len(source.channels) or frame.channels
        rate_hz = form.rate_hz or source.rate_hz
        if rate_hz is None:
            self._windows = HeldWindows(frame, source.overlap, aligned=aligned)
        else:
            self._windows = RegularWindows(rate_hz, frame, source.overlap, aligned=aligned)

    def push(self, item: Captured | Spoiled) -> Iterator[Captured | Spoiled]:
        """What comes of one item: of a signal any number of windows."""
        if isinstance(item, Spoiled):
            yield item
            return
        try:
            if self._windows is None:
                self._check_array(item.frame)
                yield item
                return
            samples = self._samples(item.frame)
            self._check_samples(samples)
            at_unix_s = _time(item)
        except InputError as error:
            yield Spoiled("wrong_shape", str(error))
        except BadMessage as error:
            yield Spoiled(error.reason, str(error))
        else:
            yield from (_captured(window, item.label) for window in self._windows.push(samples, at_unix_s))

    def end(self) -> Iterator[Captured | Spoiled]:
        """What comes of the last items, once the sensor has ended."""
        if isinstance(self._windows, RegularWindows):
            yield from (_captured(window, None) for window in self._windows.end())

    def _samples(self, frame: NDArray[np.generic]) -> NDArray[np.float32]:
        """The model's channels, in its order and units."""
        if frame.ndim == 1 and self._given == 1:
            frame = frame[:, None]
        if frame.ndim != 2 or frame.shape[1] != self._given or frame.dtype.kind not in "fiu":  # noqa: PLR2004
            raise _misshapen(f"[samples, {self._given}]", frame)
        chosen = frame[:, self._columns].astype(np.float64)
        with np.errstate(all="ignore"):
            return (chosen * self._factors + self._offsets).astype(np.float32)

    def _check_samples(self, samples: NDArray[np.float32]) -> None:
        if not np.isfinite(samples).all():
            raise rejected(
                "bad_number", "finite numbers", "NaN, infinite or too large ones", "correct the sensor, or scale"
            )
        if isinstance(self._windows, HeldWindows) and len(samples) > 1:
            raise rejected(
                "no_rate", "one sample at a time", f"{len(samples)} samples", "add rate_hz, samples per second"
            )

    def _check_array(self, frame: NDArray[np.generic]) -> None:
        if self._frame.kind == "tensor":
            if frame.shape != self._frame.shape or frame.dtype.name != self._frame.dtype:
                raise _misshapen(f"{self._frame.dtype}{list(self._frame.shape)}", frame)
            return
        colours = frame.shape[2] if frame.ndim == 3 else 1  # noqa: PLR2004 - height, width, channels
        if frame.dtype != np.uint8 or frame.ndim not in {2, 3} or colours not in {1, 3, 4} or 0 in frame.shape:
            raise _misshapen("uint8[height, width, 3] or uint8[height, width]", frame)


def tick(form: SensorForm, now_unix_s: float) -> Captured:
    """No reading, but time goes on: what a sensor without a rate gave last still holds."""
    return Captured(np.zeros((0, max(1, len(form.channels))), np.float32), at_unix_s=now_unix_s)


def _check_tensor(form: SensorForm, frame: FrameSpec, stream: str) -> None:
    shape = "" if form.shape is None else str(list(form.shape))
    if frame.kind == "image":
        good = form.dtype in {"", "uint8"} and (form.shape is None or len(form.shape) in {2, 3})
    else:
        good = form.dtype in {"", frame.dtype} and form.shape in {None, frame.shape}
    if not good:
        raise _unfit(
            stream, _takes(frame), f"{form.dtype or 'arrays'}{shape}", "correct the sensor, or choose another model"
        )


def _check_rate(form: SensorForm, source: SourceSettings, frame: FrameSpec, stream: str) -> None:
    rate_hz = form.rate_hz or source.rate_hz
    if rate_hz is None:
        if source.sensor == MQTT and source.format != "json":
            raise _unfit(stream, f"a signal of {frame.rate_hz:g} Hz", "a sensor of unknown rate", "add rate_hz")
        if frame.samples > MAX_HELD_SAMPLES:
            came = f"windows of {frame.samples} from single readings"
            raise _unfit(
                stream, f"windows of at most {MAX_HELD_SAMPLES} samples", came, "choose another model, or add rate_hz"
            )
    elif not 1 / MAX_RATIO <= rate_hz / frame.rate_hz <= MAX_RATIO:
        fix = "correct rate_hz, or omit it where readings come when they change"
        raise _unfit(stream, f"a rate near the model's {frame.rate_hz:g} Hz", f"{rate_hz:g} Hz", fix)


def _takes(frame: FrameSpec) -> str:
    """What a model takes, for people."""
    if frame.kind == "tensor":
        return f"arrays {frame.dtype}{list(frame.shape)}"
    if frame.kind == "image":
        return f"pictures ({frame.size[0]}x{frame.size[1]})"
    names = f" ({', '.join(frame.channel_names)})" if frame.channel_names else ""
    return f"a signal of {frame.channels} channels{names} at {frame.rate_hz:g} Hz"


def _time(item: Captured) -> float:
    if item.at_unix_s is None:
        raise InputError("a chunk of a signal has no time", expected="at_unix_s", came="None", fix="correct the sensor")
    return item.at_unix_s


def _captured(window: SignalWindow, label: str | None) -> Captured:
    return Captured(window.samples, label, window.at_unix_s)


def _misshapen(expected: str, frame: NDArray[np.generic]) -> InputError:
    came = f"{frame.dtype.name}{list(frame.shape)}"
    return InputError(
        "a frame is of another shape", expected=expected, came=came, fix="correct the sensor or its settings"
    )


def _unfit(stream: str, expected: str, came: str, fix: str) -> SettingsError:
    return SettingsError(
        f"the sensor of stream '{stream}' does not fit its model", expected=expected, came=came, fix=fix
    )
