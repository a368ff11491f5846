"""What is declared of a full site, and what follows from it without running anything: the planner's bound."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from PIL import Image

from bench.testbed.models import PHOTOGRAPHS, Prepared, measured
from broker.coordination.goals import goal_of
from tiercut.authoring.export import export
from tiercut.cli.demo import cache_folder
from tiercut.cli.demo_site import photographs
from tiercut.coordinator.problem import ENVELOPE_BYTES, build
from tiercut.coordinator.site.lines import line_of
from tiercut.coordinator.site_view import SiteView
from tiercut.errors import BundleError
from tiercut.estimate.links import LinkEstimator
from tiercut.model.bundle import Bundle
from tiercut.plan import Tier
from tiercut.planner.site import SharedLine, SiteProblem, SiteStream
from tiercut.profiling.profile import Profile
from tiercut.profiling.store import ProfileStore
from tiercut.protocol.stream_settings import StreamSettings
from tiercut.zoo import efficientnet_lite0

#: EfficientNet-Lite0 for small pictures: two milliseconds of this machine, so that two cores carry a site of nodes that
#: wait out how slow they are declared to be.
SIZE = 96
NAME = "efficientnet-lite0-96"
UPLINK = line_of("uplink", ("device -> cloud", "edge -> cloud"), None)
#: Links have hardly a delay of their own in a namespace.
LATENCY_S = 0.001


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """A site.

    Attributes:
        cameras: How many devices, with a stream each.
        edges: How many edges.
        uplink_mbps: What all frames to the cloud share.
        lan_mbps: What all devices share towards the edges.
        seconds: Tier → what a frame takes its nodes; how that is shared out among blocks is as on this machine.
        fps: Frames per second of each camera; ``None`` for as many as are taken.
        deadline_ms: Results that are later do not count.
    """

    cameras: int
    edges: int
    uplink_mbps: float
    lan_mbps: float = 100.0
    seconds: dict[Tier, float]
    fps: float | None
    deadline_ms: float = 300.0

    def slowdown(self, tier: Tier, profile: Profile) -> float:
        """How many times as long as this machine the nodes of a tier take."""
        return self.seconds[tier] / profile.cut_seconds[-1]

    @property
    def devices(self) -> list[str]:
        """Their names."""
        return [f"d{index}" for index in range(self.cameras)]

    @property
    def edge_names(self) -> list[str]:
        """Their names."""
        return [f"e{index}" for index in range(self.edges)]

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.cameras} cameras, {self.edges} edges, uplink {self.uplink_mbps:g} Mbit/s"


def prepared(*, again: bool = False) -> Prepared:
    """The model and its profile on this machine, made if they were not before."""
    folder = cache_folder().parent / "capacity" / NAME
    target = folder / "bundles" / NAME
    images = tuple(path for path in photographs() if path.name in PHOTOGRAPHS)
    try:
        bundle = Bundle.load(target)
    except BundleError:
        target.parent.mkdir(parents=True, exist_ok=True)
        source = efficientnet_lite0.model()
        frame = replace(efficientnet_lite0.FRAME, size=(SIZE, SIZE))
        small = replace(source, name=NAME, example_inputs=(torch.zeros(1, 3, SIZE, SIZE),), preprocess=frame)
        bundle = export(small, None, target)
    return measured(bundle, folder / "profiles", _small(images, folder), again=again)


def _small(images: tuple[Path, ...], folder: Path) -> tuple[Path, ...]:
    """The photographs as a small camera has them: the bench is not about decoding."""
    made = []
    for path in images:
        target = folder / f"{path.stem}.png"
        if not target.exists():
            Image.open(path).convert("RGB").resize((SIZE, SIZE), Image.Resampling.BICUBIC).save(target)
        made.append(target)
    return tuple(made)


def profiles_of(prepared: Prepared, declared: Declared, folder: Path) -> dict[Tier, Path]:
    """Stores with the profile of each tier's nodes, as slow as they are declared."""
    stores: dict[Tier, Path] = {}
    for tier in declared.seconds:
        stores[tier] = folder / f"profiles-{tier}"
        ProfileStore(stores[tier]).save(prepared.profile.scaled(declared.slowdown(tier, prepared.profile)))
    return stores


def settings_of(declared: Declared, index: int, bundle: Bundle) -> dict[str, object]:
    """The settings of one camera's stream that the hub plans by."""
    return {
        "name": f"cam{index}",
        "model": bundle.name,
        "device": declared.devices[index],
        "deadline_ms": declared.deadline_ms,
        **({} if declared.fps else {"objective": "throughput"}),
    }


def problem_of(prepared: Prepared, declared: Declared, *, filled: float = 1.0) -> SiteProblem:
    """The site's problem by the declared figures: nothing is estimated."""
    view = SiteView()
    profile: Profile = prepared.profile
    nodes: list[tuple[Tier, str]] = [
        *(("device", name) for name in declared.devices),
        *(("edge", name) for name in declared.edge_names),
        ("cloud", "c"),
    ]
    for tier, name in nodes:
        node = view.node(tier, name, site="bench")
        node.profiles[profile.model] = profile.scaled(declared.slowdown(tier, profile))
        node.models = {prepared.bundle.name: profile.model}
    for start in nodes:
        for to in nodes:
            if (start[0], to[0]) in {("device", "edge"), ("edge", "cloud"), ("device", "cloud")}:
                mbps = declared.uplink_mbps if to[0] == "cloud" else declared.lan_mbps
                view.links[start, to] = LinkEstimator(mbps=mbps, latency_seconds=LATENCY_S, acknowledged=False)
    streams = []
    for index in range(declared.cameras):
        goal = goal_of(StreamSettings(**settings_of(declared, index, prepared.bundle)), prepared.bundle)  # type: ignore[arg-type]
        problem = build(goal, view, 0.0)
        assert problem is not None  # noqa: S101 - its device is there
        rate = float("inf") if declared.fps is None else declared.fps
        streams.append(SiteStream(name=goal.name, problem=problem, frames_per_second=rate))
    ends = {pair for stream in streams for pair in stream.problem.links}
    lines = (
        SharedLine(
            name="uplink",
            links=frozenset(pair for pair in ends if UPLINK.carries(*pair)),
            mbps=declared.uplink_mbps,
        ),
        SharedLine(
            name="lan",
            links=frozenset(pair for pair in ends if pair[1].startswith("edge/")),
            mbps=declared.lan_mbps,
        ),
    )
    return SiteProblem(streams=tuple(streams), lines=lines, frame_bytes=ENVELOPE_BYTES, filled=filled)
