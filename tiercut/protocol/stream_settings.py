"""Settings of a stream: where its frames come from, how they are sent, and what is planned for them.

One form for all: a ``[[streams]]`` table of a device or of the hub, a file for ``tiercut stream add``, the registry.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tiercut.errors import BadMessage, SettingsError
from tiercut.limits import CLOUD_PATIENCE_S
from tiercut.names import check_name
from tiercut.plan import MAX_DEADLINE_S, DeliveryMode
from tiercut.planner.objectives import ObjectiveName, named
from tiercut.settings import check_names, setting

PayloadFormat = Literal["image", "json", "pcm", "npy"]
SampleFormat = Literal["s16le", "s16be", "u8", "s32le", "f32le"]
ExitUse = Literal["plan", "none"]
ResultsTo = Literal["device", "site", "cloud"]

#: Sensors on the bus, which any edge can read; all others belong to a device.
MQTT, FUSION = "mqtt", "fusion"

#: A result that the cloud waits for may wait at two nodes on its way, and its reason must come home.
LEAST_CLOUD_TIMEOUT_S = 2 * CLOUD_PATIENCE_S + 2.0


@dataclass(frozen=True, kw_only=True)
class SourceSettings:
    """Where frames come from. Which settings count depends on the sensor: docs/sensors.md, docs/device-sensors.md."""

    sensor: str = setting(
        "mqtt, fusion, a sensor of docs/device-sensors.md, or a plugin's name (default: as the device's settings)",
        default="",
    )
    path: tuple[Path, ...] = setting(
        "images, recording: files or folders; pan: a photograph; video, wav: a file; camera: a device or its number; "
        "microphone: a part of its name, or its number",
        default=(),
    )
    topic: str = setting("mqtt: topic or topic filter that the sensor publishes on", default="")
    url: str = setting("snapshot: http:// or https:// address of a picture; camera: rtsp://", default="")
    format: PayloadFormat = setting("mqtt: what a payload is: image, json, pcm or npy", default="image")
    json_path: tuple[str, ...] = setting(
        "json: JSONPath of each channel's number or array, or one of an array with all channels", default=()
    )
    sample_format: SampleFormat = setting("pcm: form of a sample", default="s16le")
    rate_hz: float | None = setting("samples per second (default: the sensor's own rate)", default=None)
    channels: tuple[str, ...] = setting("names of a signal's channels, in order", default=())
    units: tuple[str, ...] = setting("their units: one for all, or one each", default=())
    scale: tuple[float, ...] = setting("factor on values: one for all, or one per channel", default=())
    offset: tuple[float, ...] = setting("added to values after that: one for all, or one per channel", default=())
    overlap: float = setting("part of a window that the next one shares with it, 0 to below 1", default=0.0)
    width: int = setting("pan: width of the window; noise, camera: of the frame (a camera has its own)", default=224)
    height: int = setting("pan: height of the window; noise, camera: of the frame (a camera has its own)", default=224)
    seed: int = setting("noise: seed of the generator", default=0)
    real_time: bool | None = setting(
        "video, wav, recording: play at the file's own rate (default: wav and recording do, video does not)",
        default=None,
    )
    loop: bool = setting("start again at the end of a file", default=True)
    options: tuple[str, ...] = setting('for a plugin: its options, such as ["port=/dev/ttyUSB0"]', default=())

    def __post_init__(self) -> None:
        checks = {
            "width": (self.width > 0, "more than 0", self.width),
            "height": (self.height > 0, "more than 0", self.height),
            "rate_hz": (self.rate_hz is None or 0 < self.rate_hz < math.inf, "more than 0", self.rate_hz),
            "overlap": (0 <= self.overlap < 1, "0 to below 1", self.overlap),
            "scale": (all(map(math.isfinite, self.scale)), "finite numbers", self.scale),
            "offset": (all(map(math.isfinite, self.offset)), "finite numbers", self.offset),
            "options": (all("=" in each for each in self.options), '"name=value" each', self.options),
        }
        for name, (good, expected, came) in checks.items():
            if not good:
                raise _bad(name, expected, came, self._of)

    @property
    def _of(self) -> str:
        return f"a sensor '{self.sensor}'"


@dataclass(frozen=True, kw_only=True)
class StreamSettings(SourceSettings):
    """One sensor and its model."""

    name: str = setting("name of the stream, unique in its site")
    model: str = setting("name of the bundle")
    device: str = setting(
        "node id of the device that reads the sensor (default: for mqtt and fusion any edge does)", default=""
    )
    sources: tuple[SourceSettings, ...] = setting("fusion: the sensors, in the order the model takes them", default=())
    tolerance_ms: float = setting(
        "fusion: frames captured within this time of each other belong together", default=100.0
    )
    fps: float | None = setting("frames per second (default: as many as are taken)", default=None)
    frames: int | None = setting("stop after this many frames", default=None)
    delivery: DeliveryMode = setting("latest: the newest frame wins; every: the sensor waits", default="latest")
    ordered: bool = setting(
        "latest: results come in the order of their frames, even where those go different ways; one that is late is "
        "left out (every: they always come in order)",
        default=False,
    )
    min_first_cut: int = setting("least cut on the device; 1 or more keeps raw frames there, under any plan", default=0)
    min_noise: float = setting(
        "least noise on what leaves the device, in standard deviations of the tensor, under any plan", default=0.0
    )
    skip_below: float = setting(
        "skip a frame whose most changed block differs by less from the last frame that was not skipped: mean "
        "difference of its grey pixels in parts of their full range, such as 0.02 (0: skip none)",
        default=0.0,
    )
    skip_most_s: float = setting("seconds after which a frame is not skipped, however little has changed", default=10.0)
    in_flight: int = setting(
        "frames that may be in flight, on their way to a result, at most; fewer are where more would only wait",
        default=6,
    )
    timeout_s: float = setting(
        "seconds after which a frame without an outcome is given up, or sent again; at least 12 with "
        "results_to = cloud",
        default=10.0,
    )
    deadline_ms: float | None = setting(
        "age after which a result is useless: plans meet it where they can", default=None
    )
    objective: ObjectiveName = setting(f"what is best: {named()}", default="latency")
    max_accuracy_drop: float | None = setting(
        "accuracy that exits and codecs together may cost, below the best variant, 0..1 "
        "(default: 0.01 where they were measured; with objective accuracy no limit)",
        default=None,
    )
    exits: ExitUse = setting("plan: plans may end in an early exit; none: they never do", default="plan")
    exit_threshold: float | None = setting(
        "frames leave at any exit whose confidence is at least this, 0..1 (default: none does)", default=None
    )
    codecs: tuple[str, ...] = setting(
        "codecs that may be used besides raw (default: those of 'tiercut codecs measure', else int8+zstd and jpeg)",
        default=(),
    )
    weight: float = setting(
        "where the site has too little for all streams: one of weight 2 gets twice as many frames as one of weight 1",
        default=1.0,
    )
    results_to: ResultsTo | None = setting(
        "who waits for results, device, site or cloud: plans count their way back (default: it does not count); "
        "cloud: they are published there, too",
        default=None,
    )
    retain_last: bool = setting("keep the last result on the stream's retained topic 'last'", default=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        try:
            check_name(self.name, field_name="stream name")
        except BadMessage as error:
            raise SettingsError(
                "bad stream name", expected=error.expected, came=error.came, fix="choose another name"
            ) from error
        if self.device:
            check_names(self, "device")
        max_ms = MAX_DEADLINE_S * 1e3
        limits: list[tuple[str, float | None, float, float, str]] = [
            ("in_flight", self.in_flight, 1, math.inf, "more than 0"),
            ("timeout_s", self.timeout_s, 1e-3, math.inf, "more than 0"),
            ("tolerance_ms", self.tolerance_ms, 1e-3, math.inf, "more than 0"),
            ("skip_most_s", self.skip_most_s, 1e-3, math.inf, "more than 0"),
            ("fps", self.fps, 1e-6, math.inf, "more than 0"),
            ("frames", self.frames, 1, math.inf, "more than 0"),
            ("deadline_ms", self.deadline_ms, 1e-3, max_ms, "more than 0, at most an hour"),
            ("min_first_cut", self.min_first_cut, 0, math.inf, "0 or more"),
            ("min_noise", self.min_noise, 0, 10.0, "a number of 0 to 10"),
            ("weight", self.weight, 1e-3, 1e3, "a number of 0.001 to 1000"),
            ("skip_below", self.skip_below, 0, math.inf, "0 or more"),
            ("max_accuracy_drop", self.max_accuracy_drop, 0, 1, "a part of 0 to 1"),
            ("exit_threshold", self.exit_threshold, 0, 1, "a confidence of 0 to 1"),
        ]
        for name, value, least, most, expected in limits:
            if value is not None and not (least <= value <= most and value < math.inf):
                raise _bad(name, expected, value, self._of)

    @property
    def _of(self) -> str:
        return f"stream '{self.name}'"

    @property
    def parts(self) -> tuple[SourceSettings, ...]:
        """The sensors it is made of: one, or those of a fusion."""
        return self.sources if self.sensor == FUSION else (self,)

    @property
    def patience_s(self) -> float:
        """Seconds after which a frame without an outcome is given up, or sent again."""
        return max(self.timeout_s, LEAST_CLOUD_TIMEOUT_S) if self.results_to == "cloud" else self.timeout_s

    @property
    def from_bus(self) -> bool:
        """All its sensors publish on the bus by themselves, so that any edge can read them."""
        return bool(self.parts) and all(part.sensor == MQTT for part in self.parts)


def _bad(name: str, expected: str, came: object, of: str) -> SettingsError:
    return SettingsError(f"bad setting {name} of {of}", expected=expected, came=str(came), fix="correct it")
