"""The demo's full site: more cameras than its edge or its uplink carry alone, all on nodes that are emulated."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from tiercut.cli.demo_site import CLOUD, EDGE, HUB, DemoSite, photographs
from tiercut.launch.processes import Processes, ProgramSettings
from tiercut.plan import Tier
from tiercut.profiling.profile import Profile
from tiercut.profiling.store import ProfileStore

#: Cameras, unless the command says another number, and at most.
CAMERAS, MOST = 6, 16
#: Seconds that a frame takes a node of each tier, whole: so much that two real cores carry the site.
SECONDS: dict[Tier, float] = {"device": 0.38, "edge": 0.11, "cloud": 0.04}
#: What a camera's link to the edge and the edge's uplink carry, Mbit/s, and how long they take, ms.
LAN_MBPS, LAN_MS = 30.0, 2.0
UPLINK_MBPS, UPLINK_MS = 1.2, 10.0
#: The uplink while it is narrow.
NARROW_MBPS = 0.4
#: How many times as fast the edge is in the end.
FASTER = 2.0
#: Longest side of a photograph, pixels: a small camera's, which costs a node little to read.
SIDE = 320


@dataclass(frozen=True, slots=True)
class Chapter:
    """A part of the demo's story.

    Attributes:
        at_s: When it begins, in seconds since the edge is there.
        words: What is true in it.
        mbps: What the uplink carries.
        faster: How many times as fast as at first the edge is.
    """

    at_s: float
    words: str
    mbps: float = UPLINK_MBPS
    faster: float = 1.0


STORY = (
    Chapter(0.0, f"the uplink carries {UPLINK_MBPS:g} Mbit/s"),
    Chapter(30.0, f"the uplink has narrowed to {NARROW_MBPS:g} Mbit/s", mbps=NARROW_MBPS),
    Chapter(60.0, f"the uplink carries {UPLINK_MBPS:g} Mbit/s again"),
    Chapter(90.0, "the edge is twice as fast", faster=FASTER),
    Chapter(120.0, "the edge is as slow as at first"),
)


def cameras_of(count: int) -> tuple[str, ...]:
    """The names of so many cameras."""
    return tuple(f"camera-{number}" for number in range(1, count + 1))


@dataclass(frozen=True, kw_only=True)
class FullSite(DemoSite):
    """Cameras, one edge and one cloud node; the coordinator plans them.

    All that goes to the cloud goes through the edge, so that its link is the uplink of all.

    Attributes:
        cameras: How many.
        profile: Of the model on this machine: what its parts take relative to each other, and codecs.
        pictures: What the cameras see.
    """

    cameras: int
    profile: Profile
    pictures: tuple[Path, ...]

    @property
    def devices(self) -> tuple[str, ...]:
        """The cameras; each has a stream of its own name."""
        return cameras_of(self.cameras)

    @property
    def emulated(self) -> str:
        """How slow all is."""
        device, edge, cloud = (f"{SECONDS[tier] * 1e3:.0f}" for tier in ("device", "edge", "cloud"))
        return f"EMULATED: a frame takes a camera {device} ms, the edge {edge} ms, the cloud {cloud} ms"

    def slowdown(self, tier: Tier) -> float:
        """How many times as long as this machine a node takes; a slow machine emulates no faster one."""
        return max(1.0, SECONDS[tier] / self.profile.cut_seconds[-1])

    def processes(self, folder: Path) -> Processes:
        """The hub, the cloud node, the edge and the cameras; profiles of nodes as slow as they are go to ``folder``."""
        streams = [{"name": name, "model": self.model, "device": name} for name in self.devices]
        programs: dict[str, tuple[str, ProgramSettings]] = {
            HUB: ("broker", self.hub() | {"streams": streams}),
            CLOUD: ("cloud_node", self._node("cloud", CLOUD, folder)),
            EDGE: ("edge_node", self._node("edge", EDGE, folder) | self._uplink()),
        }
        for index, name in enumerate(self.devices):
            own = {"direct_to_cloud": False, "emulated_mbps": LAN_MBPS, "emulated_delay_ms": LAN_MS}
            stream = {"streams": [self._stream(name, index)]}
            programs[name] = ("iot_node", self._node("device", name, folder) | own | stream)
        return Processes(folder, programs)

    def _node(self, tier: Tier, name: str, folder: Path) -> dict[str, Any]:
        slowdown, store = self.slowdown(tier), folder / f"profiles-{tier}"
        ProfileStore(store).save(self.profile.scaled(slowdown))
        return self.common() | {
            "node": name,
            "profiles": str(store),
            "emulated_slowdown": slowdown,
            "emulated_profile": True,
            "status_every_s": 1.0,
        }

    def _uplink(self) -> dict[str, Any]:
        slowdown = self.slowdown("edge")
        later = [
            {"at_s": each.at_s, "mbps": each.mbps, "slowdown": max(1.0, slowdown / each.faster)} for each in STORY[1:]
        ]
        return {"emulated_mbps": UPLINK_MBPS, "emulated_delay_ms": UPLINK_MS, "emulation": later}

    def _stream(self, name: str, index: int) -> dict[str, Any]:
        """A camera's stream; no two see the same photograph at the same time, as far as there are enough."""
        first = index % len(self.pictures)
        return {
            "name": name,
            "model": self.model,
            "sensor": "images",
            "path": [str(path) for path in (*self.pictures[first:], *self.pictures[:first])],
            "fps": self.fps,
        }


def small_photographs(folder: Path) -> tuple[Path, ...]:
    """The demo's photographs as a small camera gives them, made in a folder if they are not there.

    Raises:
        ExportError: scikit-image is not installed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for path in photographs():
        target = folder / f"{path.stem}.jpg"
        if not target.exists():
            picture = Image.open(path).convert("RGB")
            picture.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
            unfinished = target.with_suffix(".new")
            picture.save(unfinished, format="JPEG", quality=95)
            unfinished.replace(target)
        made.append(target)
    return tuple(made)
