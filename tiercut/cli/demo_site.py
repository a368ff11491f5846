"""The demo's site: a hub with the embedded broker and one node per tier, each a process of its own."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tiercut.cli.processes import Processes, ProgramSettings, free_port
from tiercut.errors import ExportError

#: Photographs that scikit-image ships, in the order in which the demo's camera sees them.
PHOTOGRAPHS = ("chelsea.png", "coffee.png", "motorcycle_left.png", "rocket.jpg", "astronaut.png", "camera.png")

HUB = "hub"
CLOUD, EDGE, DEVICE = NODES = ("cloud-1", "edge-1", "device-1")


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
        first: First cut.
        second: Second cut.
        codec: Codec of both hops.
        fps: Photographs per second.
        mbps: Rate of the emulated link, ``None`` for the real one.
        delay_ms: Delay of the emulated link.
        port: The broker's port.
    """

    bundles: Path
    model: str
    first: int
    second: int
    codec: str
    fps: float
    mbps: float | None = None
    delay_ms: float = 0.0
    port: int = field(default_factory=free_port)
    name: str = "demo"

    @property
    def url(self) -> str:
        """The broker."""
        return f"mqtt://127.0.0.1:{self.port}"

    @property
    def emulated(self) -> str | None:
        """A sentence about the emulated links."""
        if self.mbps is None and not self.delay_ms:
            return None
        rate = "any rate" if self.mbps is None else f"{self.mbps:g} Mbit/s"
        return f"EMULATED links: {rate}, {self.delay_ms:g} ms"

    def processes(self, folder: Path) -> Processes:
        """Its programs, ready to be started: the hub, then the nodes; settings and logs go to ``folder``."""
        common = {"site": self.name, "broker_url": self.url, "bundles": str(self.bundles)}
        slow: dict[str, Any] = {"emulated_delay_ms": self.delay_ms}
        if self.mbps is not None:
            slow["emulated_mbps"] = self.mbps
        hub = common | {"node": HUB, "embedded_broker": True, "plans": [self._plan()]}
        programs: dict[str, tuple[str, ProgramSettings]] = {
            HUB: ("broker", hub),
            CLOUD: ("cloud_node", common | {"node": CLOUD}),
            EDGE: ("edge_node", common | slow | {"node": EDGE}),
            DEVICE: ("iot_node", common | slow | {"node": DEVICE, "streams": [self._stream()]}),
        }
        return Processes(folder, programs)

    def _stream(self) -> dict[str, Any]:
        return {
            "name": "camera",
            "model": self.model,
            "sensor": "images",
            "path": [str(path) for path in photographs()],
            "fps": self.fps,
            "delivery": "every",
        }

    def _plan(self) -> dict[str, Any]:
        return {
            "stream": "camera",
            "model": self.model,
            "device": DEVICE,
            "edge": EDGE,
            "cloud": CLOUD,
            "first_cut": str(self.first),
            "second_cut": str(self.second),
            "codecs": [self.codec, self.codec],
        }
