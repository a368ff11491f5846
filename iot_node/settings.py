"""Settings of a device node."""

from __future__ import annotations

from dataclasses import dataclass

from tiercut.errors import SettingsError
from tiercut.node.settings import NodeSettings
from tiercut.protocol.stream_settings import StreamSettings
from tiercut.settings import setting

#: In `Settings.assigned_sensors`: all kinds, or no kind.
ANY, NONE = "any", "none"


@dataclass(frozen=True, kw_only=True)
class Settings(NodeSettings):
    """A device node of tiercut: reads sensors, runs the first layers, sends the rest on."""

    streams: tuple[StreamSettings, ...] = setting("the streams of this device", default=())
    assigned_sensors: tuple[str, ...] = setting(
        "kinds of sensors that the hub may have this device read (default: any; none: its own streams only)",
        default=(ANY,),
    )
    assigned_min_first_cut: int = setting("least cut on this device for streams that the hub assigns", default=0)
    direct_to_cloud: bool = setting(
        "send to cloud nodes without an edge between, where they can be reached", default=True
    )

    def allows(self, stream: StreamSettings) -> bool:
        """Whether the hub may have this device read a stream's sensors."""
        allowed = self.assigned_sensors
        return ANY in allowed or all(part.sensor in allowed for part in stream.parts)

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
