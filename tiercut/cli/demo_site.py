"""The demo's site: a hub with the embedded broker and one node per tier, each a process of its own."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tiercut.errors import ExportError
from tiercut.launch.processes import Processes, ProgramSettings, free_port

#: Photographs that scikit-image ships, in the order in which the demo's camera sees them.
PHOTOGRAPHS = ("chelsea.png", "coffee.png", "motorcycle_left.png", "rocket.jpg", "astronaut.png", "camera.png")

HUB = "hub"
CLOUD, EDGE, DEVICE = ("cloud-1", "edge-1", "device-1")
STREAM = "camera"

#: What the coordinator is shown: a device ten times slower than this machine, an edge twice, ordinary links; then the
#: device's link narrows, widens again, and the edge gets busy.
STORY: dict[str, dict[str, Any]] = {
    CLOUD: {},
    EDGE: {
        "emulated_slowdown": 2.0,
        "emulated_mbps": 20.0,
        "emulated_delay_ms": 10.0,
        "emulation": [{"at_s": 60.0, "slowdown": 12.0}, {"at_s": 80.0, "slowdown": 2.0}],
    },
    DEVICE: {
        "emulated_slowdown": 10.0,
        "emulated_mbps": 50.0,
        "emulated_delay_ms": 3.0,
        "emulation": [{"at_s": 20.0, "mbps": 1.1}, {"at_s": 40.0, "mbps": 50.0}],
        "direct_to_cloud": False,
    },
}
STORY_WORDS = "at 20 s the device's link narrows to 1.1 Mbit/s, at 40 s it widens; from 60 to 80 s the edge is busy"


def photographs() -> list[Path]:
    """The demo's photographs.

    Raises:
        ExportError: scikit-image is not installed.
    """
    try:
        import skimage  # noqa: PLC0415 - only the demo has it
    except ImportError as error:
        raise ExportError(
            "the demo has no photographs", expected="scikit-image", came=str(error), fix="pip install tiercut[demo]"
        ) from error
    return [Path(skimage.__file__).parent / "data" / name for name in PHOTOGRAPHS]


@dataclass(frozen=True, kw_only=True)
class DemoSite:
    """What runs in the demo.

    Attributes:
        bundles: Folder of bundles.
        model: Name of the bundle.
        cuts: First and second cut, given by hand; ``None`` lets the coordinator choose, on emulated hardware that
            changes as it runs (`STORY`).
        codec: Codec of both hops, where the cuts are given by hand.
        fps: Photographs per second.
        min_first_cut: Least cut on the device where the coordinator chooses: the photographs stay there.
        mbps: Rate of the emulated link, ``None`` for the real one.
        delay_ms: Delay of the emulated link.
        port: The broker's port.
    """

    bundles: Path
    model: str
    cuts: tuple[int, int] | None
    codec: str
    fps: float
    min_first_cut: int = 0
    mbps: float | None = None
    delay_ms: float = 0.0
    port: int = field(default_factory=free_port)
    name: str = "demo"

    @property
    def url(self) -> str:
        """The broker."""
        return f"mqtt://127.0.0.1:{self.port}"

    @property
    def profiles(self) -> Path:
        """Where profiles of this machine are kept."""
        return self.bundles.parent / "profiles"

    @property
    def emulated(self) -> str | None:
        """A sentence about the emulated links."""
        if self.cuts is None:
            return f"EMULATED: slow nodes and links that change; {STORY_WORDS}"
        if self.mbps is None and not self.delay_ms:
            return None
        rate = "any rate" if self.mbps is None else f"{self.mbps:g} Mbit/s"
        return f"EMULATED links: {rate}, {self.delay_ms:g} ms"

    def processes(self, folder: Path) -> Processes:
        """Its programs, ready to be started: the hub, then the nodes; settings and logs go to ``folder``."""
        common: dict[str, Any] = {"site": self.name, "broker_url": self.url, "bundles": str(self.bundles)}
        hub = common | {"node": HUB, "embedded_broker": True}
        nodes: dict[str, dict[str, Any]] = {CLOUD: {}, EDGE: self._slow(), DEVICE: self._slow()}
        if self.cuts is None:
            goal = {"name": STREAM, "model": self.model, "device": DEVICE, "min_first_cut": self.min_first_cut}
            hub["streams"] = [goal]
            common |= {"profiles": str(self.profiles), "status_every_s": 1.0}
            nodes = STORY
        else:
            hub["plans"] = [self._plan(*self.cuts)]
        programs: dict[str, tuple[str, ProgramSettings]] = {
            HUB: ("broker", hub),
            CLOUD: ("cloud_node", common | {"node": CLOUD} | nodes[CLOUD]),
            EDGE: ("edge_node", common | {"node": EDGE} | nodes[EDGE]),
            DEVICE: ("iot_node", common | {"node": DEVICE, "streams": [self._stream()]} | nodes[DEVICE]),
        }
        return Processes(folder, programs)

    def _slow(self) -> dict[str, Any]:
        rate = {} if self.mbps is None else {"emulated_mbps": self.mbps}
        return {"emulated_delay_ms": self.delay_ms, **rate}

    def _stream(self) -> dict[str, Any]:
        return {
            "name": STREAM,
            "model": self.model,
            "sensor": "images",
            "path": [str(path) for path in photographs()],
            "fps": self.fps,
            "delivery": "every",
            "min_first_cut": 0 if self.cuts else self.min_first_cut,
        }

    def _plan(self, first: int, second: int) -> dict[str, Any]:
        return {
            "stream": STREAM,
            "model": self.model,
            "device": DEVICE,
            "edge": EDGE,
            "cloud": CLOUD,
            "first_cut": str(first),
            "second_cut": str(second),
            "codecs": [self.codec, self.codec],
        }
