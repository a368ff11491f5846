"""Settings of the hub."""

from __future__ import annotations

from dataclasses import dataclass

from tiercut.coordinator.problem import Objective
from tiercut.errors import SettingsError
from tiercut.node_settings import NodeSettings
from tiercut.settings import check_names, setting


@dataclass(frozen=True, kw_only=True)
class PlanSettings:
    """The plan of one stream, given by hand: the coordinator leaves it alone."""

    stream: str = setting("name of the stream")
    model: str = setting("name of the bundle")
    device: str = setting("node id of its device")
    edge: str | None = setting("node id of its edge (default: no edge)", default=None)
    cloud: str | None = setting("node id of its cloud node (default: no cloud)", default=None)
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
    objective: Objective = setting("what is best: latency, throughput or energy", default="latency")
    min_first_cut: int = setting("least cut on the device (1 keeps raw frames there)", default=0)
    codecs: tuple[str, ...] = setting("codecs that may be used beside raw", default=("int8+zstd", "jpeg"))

    def __post_init__(self) -> None:
        check_names(self, "stream", "device")
        if self.min_first_cut < 0:
            raise SettingsError(
                f"bad setting min_first_cut of stream '{self.stream}'",
                expected="0 or more",
                came=str(self.min_first_cut),
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
