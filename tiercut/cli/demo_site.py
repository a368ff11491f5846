"""The demo's sites: programs that run as processes of their own, on one machine."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tiercut.errors import ExportError
from tiercut.launch.processes import Processes, ProgramSettings, free_port

#: Photographs that scikit-image ships, in the order in which the demo's cameras see them.
PHOTOGRAPHS = ("chelsea.png", "coffee.png", "motorcycle_left.png", "rocket.jpg", "astronaut.png", "camera.png")

HUB = "hub"
CLOUD, EDGE, DEVICE = ("cloud-1", "edge-1", "device-1")
STREAM = "camera"


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
class DemoSite(ABC):
    """What runs in a demo.

    Attributes:
        bundles: Folder of bundles.
        model: Name of the bundle.
        fps: Photographs per second of each camera.
        port: The broker's port.
        name: The site's.
    """

    bundles: Path
    model: str
    fps: float
    port: int = field(default_factory=free_port)
    name: str = "demo"

    @property
    def url(self) -> str:
        """The broker."""
        return f"mqtt://127.0.0.1:{self.port}"

    @property
    @abstractmethod
    def devices(self) -> tuple[str, ...]:
        """The devices' names."""

    @property
    @abstractmethod
    def emulated(self) -> str | None:
        """A sentence about what is emulated, if anything is."""

    @abstractmethod
    def processes(self, folder: Path) -> Processes:
        """Its programs, ready to be started: the hub, then the nodes; settings and logs go to ``folder``."""

    def common(self) -> dict[str, Any]:
        """Settings of all its programs."""
        return {"site": self.name, "broker_url": self.url, "bundles": str(self.bundles)}

    def hub(self) -> dict[str, Any]:
        """Settings of the hub, but for its streams."""
        return self.common() | {"node": HUB, "embedded_broker": True}


@dataclass(frozen=True, kw_only=True)
class SiteByHand(DemoSite):
    """One node per tier, and a plan given by hand.

    Attributes:
        cuts: First and second cut.
        codec: Codec of both hops.
        mbps: Rate of the emulated link, ``None`` for the real one.
        delay_ms: Delay of the emulated link.
    """

    cuts: tuple[int, int]
    codec: str
    mbps: float | None = None
    delay_ms: float = 0.0

    @property
    def devices(self) -> tuple[str, ...]:
        """One."""
        return (DEVICE,)

    @property
    def emulated(self) -> str | None:
        """The links, if they are."""
        if self.mbps is None and not self.delay_ms:
            return None
        rate = "any rate" if self.mbps is None else f"{self.mbps:g} Mbit/s"
        return f"EMULATED links: {rate}, {self.delay_ms:g} ms"

    def processes(self, folder: Path) -> Processes:
        """The hub and a node per tier."""
        common, slow = self.common(), self._slow()
        programs: dict[str, tuple[str, ProgramSettings]] = {
            HUB: ("broker", self.hub() | {"plans": [self._plan(*self.cuts)]}),
            CLOUD: ("cloud_node", common | {"node": CLOUD}),
            EDGE: ("edge_node", common | {"node": EDGE} | slow),
            DEVICE: ("iot_node", common | {"node": DEVICE, "streams": [self._stream()]} | slow),
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
