"""Settings of the hub."""

from __future__ import annotations

from dataclasses import dataclass

from tiercut.errors import BadMessage, SettingsError
from tiercut.messages import check_name
from tiercut.node_settings import NodeSettings
from tiercut.settings import setting


@dataclass(frozen=True, kw_only=True)
class PlanSettings:
    """The plan of one stream, given by hand."""

    stream: str = setting("name of the stream")
    model: str = setting("name of the bundle")
    device: str = setting("node id of its device")
    edge: str | None = setting("node id of its edge (default: no edge)", default=None)
    cloud: str | None = setting("node id of its cloud node (default: no cloud)", default=None)
    first_cut: str = setting("cut point at the end of the device's part, or a share of the work: 20%")
    second_cut: str = setting("cut point at the end of the edge's part, or a share of the work: 60%")
    codecs: tuple[str, ...] = setting("one codec per hop", default=())

    def __post_init__(self) -> None:
        for name in ("stream", "device"):
            try:
                check_name(getattr(self, name), field_name=name)
            except BadMessage as error:
                raise SettingsError(
                    f"bad setting {name} of a plan", expected=error.expected, came=error.came, fix="correct the name"
                ) from error


@dataclass(frozen=True, kw_only=True)
class Settings(NodeSettings):
    """The hub of a site: its bus, its streams and their plans."""

    embedded_broker: bool = setting("run a broker in this process (to try out: no access control)", default=False)
    plans: tuple[PlanSettings, ...] = setting("plans of the site's streams", default=())
