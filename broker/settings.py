"""Settings of the hub."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from tiercut.coordinator.goal import Objective
from tiercut.errors import SettingsError
from tiercut.node_settings import NodeSettings
from tiercut.settings import check_names, setting
from tiercut.variants import FULL

ExitUse = Literal["plan", "none"]


@dataclass(frozen=True, kw_only=True)
class PlanSettings:
    """The plan of one stream, given by hand: the coordinator leaves it alone."""

    stream: str = setting("name of the stream")
    model: str = setting("name of the bundle")
    device: str = setting("node id of its device")
    edge: str | None = setting("node id of its edge (default: no edge)", default=None)
    cloud: str | None = setting("node id of its cloud node (default: no cloud)", default=None)
    exit: str = setting("variant: full, an early exit, or another input size", default=FULL)
    threshold: float | None = setting("frames leave at any earlier exit that is at least so sure, 0..1", default=None)
    first_cut: str = setting("cut point at the end of the device's part, or a share of the work: 20%")
    second_cut: str = setting("cut point at the end of the edge's part, or a share of the work: 60%")
    codecs: tuple[str, ...] = setting("one codec per hop", default=())

    def __post_init__(self) -> None:
        check_names(self, "stream", "device")


@dataclass(frozen=True, kw_only=True)
class StreamSettings:
    """A stream that the coordinator plans."""

    stream: str = setting("name of the stream")
    model: str = setting("name of the bundle")
    device: str = setting("node id of its device")
    objective: Objective = setting("what is best: latency, throughput, energy or accuracy", default="latency")
    deadline_ms: float | None = setting("age after which a result is of no use: plans keep to it", default=None)
    max_accuracy_drop: float | None = setting(
        "accuracy that exits and codecs together may cost, below the best variant, 0..1 "
        "(default: 0.01 where they were measured; with objective accuracy no limit)",
        default=None,
    )
    exits: ExitUse = setting("plan: plans may end in an early exit; none: they never do", default="plan")
    exit_threshold: float | None = setting(
        "frames leave at any exit that is at least so sure, 0..1 (default: none does)", default=None
    )
    min_first_cut: int = setting("least cut on the device (1 keeps raw frames there)", default=0)
    min_noise: float = setting("least noise on what leaves the device, in standard deviations", default=0.0)
    codecs: tuple[str, ...] = setting(
        "codecs that may be used beside raw (default: those of 'tiercut codecs measure', else int8+zstd and jpeg)",
        default=(),
    )

    def __post_init__(self) -> None:
        check_names(self, "stream", "device")
        checks: list[tuple[str, float | None, float, str]] = [
            ("min_first_cut", self.min_first_cut, math.inf, "0 or more"),
            ("min_noise", self.min_noise, 10.0, "a number of 0 to 10"),
            ("max_accuracy_drop", self.max_accuracy_drop, 1.0, "a part of 0 to 1"),
            ("exit_threshold", self.exit_threshold, 1.0, "a confidence of 0 to 1"),
            ("deadline_ms", self.deadline_ms, 3.6e6, "more than 0, at most an hour"),
        ]
        for name, value, most, expected in checks:
            least = 1e-3 if name == "deadline_ms" else 0.0
            if value is not None and not least <= value <= most:
                raise SettingsError(
                    f"bad setting {name} of stream '{self.stream}'",
                    expected=expected,
                    came=str(value),
                    fix="correct it",
                )


@dataclass(frozen=True, kw_only=True)
class Settings(NodeSettings):
    """The hub of a site: its bus, its streams and their plans."""

    embedded_broker: bool = setting("run a broker as a child process (to try out: no access control)", default=False)
    streams: tuple[StreamSettings, ...] = setting("streams that the coordinator plans, live", default=())
    plans: tuple[PlanSettings, ...] = setting("plans given by hand", default=())

    def __post_init__(self) -> None:
        super().__post_init__()
        names = [*(each.stream for each in self.streams), *(each.stream for each in self.plans)]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise SettingsError(
                "a stream has two entries",
                expected="each stream once, in streams or in plans",
                came=", ".join(twice),
                fix="remove one",
            )
