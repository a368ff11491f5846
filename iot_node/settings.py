"""Settings of a device node."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tiercut.errors import BadMessage, SettingsError
from tiercut.messages import check_name
from tiercut.node_settings import NodeSettings
from tiercut.plan import DeliveryMode
from tiercut.settings import setting

SensorKind = Literal["images", "pan", "video", "noise"]


@dataclass(frozen=True, kw_only=True)
class StreamSettings:
    """One sensor and its model."""

    name: str = setting("name of the stream, unique in its site")
    model: str = setting("name of the bundle")
    sensor: SensorKind = setting("where frames come from: images, pan, video or noise")
    path: tuple[Path, ...] = setting("images: files or folders; pan: a photograph; video: a file", default=())
    fps: float | None = setting("frames per second (default: as many as are taken)", default=None)
    loop: bool = setting("start again at the end of the images or the video", default=True)
    frames: int | None = setting("stop after this many frames", default=None)
    delivery: DeliveryMode = setting("latest: the newest frame wins; every: the sensor waits", default="latest")
    min_first_cut: int = setting("least cut on this device; 1 or more keeps raw frames here, whoever asks", default=0)
    min_noise: float = setting(
        "least noise on what leaves this device, in standard deviations of the tensor, whoever asks", default=0.0
    )
    skip_below: float = setting(
        "skip a frame whose most changed block differs by less from the last frame that was not skipped: mean "
        "difference of its grey pixels in parts of their full range, such as 0.02 (0: skip none)",
        default=0.0,
    )
    skip_most_s: float = setting("seconds after which a frame is not skipped, however little has changed", default=10.0)
    in_flight: int = setting("frames that may be under way to their results", default=6)
    deadline_ms: float | None = setting("age after which a result is of no use", default=None)
    timeout_s: float = setting("seconds after which a frame without outcome is given up, or sent again", default=10.0)
    width: int = setting("pan: width of the window, noise: of the frame", default=224)
    height: int = setting("pan: height of the window, noise: of the frame", default=224)
    seed: int = setting("noise: seed of the generator", default=0)

    def __post_init__(self) -> None:
        try:
            check_name(self.name, field_name="stream name")
        except BadMessage as error:
            raise SettingsError(
                "bad stream name", expected=error.expected, came=error.came, fix="choose another name"
            ) from error
        limits: dict[str, float] = {
            "in_flight": self.in_flight,
            "width": self.width,
            "height": self.height,
            "timeout_s": self.timeout_s,
            "skip_most_s": self.skip_most_s,
        }
        optional = {"fps": self.fps, "frames": self.frames, "deadline_ms": self.deadline_ms}
        limits |= {name: value for name, value in optional.items() if value is not None}
        for name, value in limits.items():
            if value <= 0:
                raise SettingsError(
                    f"bad setting {name} of stream '{self.name}'",
                    expected="more than 0",
                    came=str(value),
                    fix="correct it",
                )
        for name, value in {"min_noise": self.min_noise, "skip_below": self.skip_below}.items():
            if not 0 <= value < math.inf:
                raise SettingsError(
                    f"bad setting {name} of stream '{self.name}'",
                    expected="0 or more",
                    came=str(value),
                    fix="correct it",
                )
        if self.sensor != "noise" and not self.path:
            raise SettingsError(
                f"stream '{self.name}' has no source",
                expected=f"a path for sensor '{self.sensor}'",
                came="none",
                fix='add path = ["…"]',
            )


@dataclass(frozen=True, kw_only=True)
class Settings(NodeSettings):
    """A device node of tiercut: reads sensors, runs the first layers, sends the rest on."""

    streams: tuple[StreamSettings, ...] = setting("the streams of this device", default=())
    direct_to_cloud: bool = setting("send to cloud nodes without an edge between, where they are reached", default=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        names = [stream.name for stream in self.streams]
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise SettingsError(
                "two streams with one name",
                expected="a name of its own for each",
                came=str(sorted(twice)),
                fix="rename",
            )
