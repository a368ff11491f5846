"""Settings of the hub."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tiercut.coordinator.site.lines import Line, line_of
from tiercut.errors import SettingsError
from tiercut.node.settings import NodeSettings
from tiercut.plan import FULL
from tiercut.protocol.stream_settings import StreamSettings
from tiercut.settings import check_names, setting

#: What a line may carry, Mbit/s: from a radio of 1 kbit/s to a fibre of 1 Tbit/s.
MIN_LINE_MBPS, MAX_LINE_MBPS = 0.001, 1_000_000


@dataclass(frozen=True, kw_only=True)
class PlanSettings:
    """The plan of one stream, given by hand: the coordinator leaves it alone."""

    stream: str = setting("name of the stream")
    model: str = setting("name of the bundle")
    device: str = setting("node id of its device")
    edge: str | None = setting("node id of its edge (default: no edge)", default=None)
    cloud: str | None = setting("node id of its cloud node (default: no cloud)", default=None)
    exit: str = setting("variant: full, an early exit, or another input size", default=FULL)
    threshold: float | None = setting(
        "frames leave at any earlier exit whose confidence is at least this, 0..1", default=None
    )
    first_cut: str = setting("cut point at the end of the device's part, or a share of the work: 20%")
    second_cut: str = setting("cut point at the end of the edge's part, or a share of the work: 60%")
    codecs: tuple[str, ...] = setting("one codec per hop", default=())

    def __post_init__(self) -> None:
        check_names(self, "stream", "device")


@dataclass(frozen=True, kw_only=True)
class LineSettings:
    """A line that several links of the site cross, such as its uplink."""

    name: str = setting("its name, for people")
    hops: tuple[str, ...] = setting(
        'the links that cross it: ["device -> cloud", "edge -> cloud"]; ends are tiers, or nodes such as edge/porch'
    )
    mbps: float | None = setting("what it carries, Mbit/s, until that is measured (default: a guess)", default=None)

    def __post_init__(self) -> None:
        check_names(self, "name")
        mbps = self.mbps
        if mbps is not None and (isinstance(mbps, bool) or not MIN_LINE_MBPS <= mbps <= MAX_LINE_MBPS):
            raise SettingsError(
                f"bad setting mbps of line '{self.name}'",
                expected=f"a number of {MIN_LINE_MBPS} to {MAX_LINE_MBPS}",
                came=str(mbps),
                fix="correct it, or omit it",
            )
        if not self.hops:
            raise SettingsError(
                f"bad setting hops of line '{self.name}'",
                expected='at least one, such as "edge -> cloud"',
                came="none",
                fix="say which links cross it, or omit the line",
            )
        self.line()

    def line(self) -> Line:
        """It as the coordinator has it.

        Raises:
            SettingsError: a hop is none.
        """
        return line_of(self.name, self.hops, self.mbps)


@dataclass(frozen=True, kw_only=True)
class Settings(NodeSettings):
    """The hub of a site: its bus, its streams and their plans."""

    embedded_broker: bool = setting("run a broker as a child process (for trials: no access control)", default=False)
    embedded_port_v311: int | None = setting(
        "a second port of that broker, for sensors limited to MQTT 3.1.1", default=None
    )
    listen: str = setting(
        "serve models and the registry at https://HOST:PORT, or http://127.0.0.1:PORT (default: nowhere)", default=""
    )
    acl_file: Path | None = setting("Mosquitto's access rules, written whenever streams change", default=None)
    home_assistant: bool = setting("announce streams to Home Assistant (MQTT discovery)", default=False)
    home_assistant_prefix: str = setting("Home Assistant's discovery prefix", default="homeassistant")
    streams: tuple[StreamSettings, ...] = setting("streams that the coordinator plans live", default=())
    plans: tuple[PlanSettings, ...] = setting("plans given by hand", default=())
    as_one: bool = setting("plan all streams together where the site is too full for each by itself", default=True)
    lines: tuple[LineSettings, ...] = setting("lines that several links share, such as the uplink", default=())

    def __post_init__(self) -> None:
        super().__post_init__()
        names = [*(each.name for each in self.streams), *(each.stream for each in self.plans)]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise SettingsError(
                "a stream has two entries",
                expected="each stream once, in streams or in plans",
                came=", ".join(twice),
                fix="remove one",
            )
        lines = [line.name for line in self.lines]
        if len(set(lines)) < len(lines):
            raise SettingsError(
                "two lines have one name",
                expected="a name of its own for each",
                came=", ".join(lines),
                fix="rename one",
            )
