"""Settings of a device node."""

from __future__ import annotations

from dataclasses import dataclass

from tiercut.errors import SettingsError
from tiercut.node_settings import NodeSettings
from tiercut.settings import setting
from tiercut.stream_settings import StreamSettings


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
