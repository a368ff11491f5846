"""A site of cameras with EfficientNet-Lite0, for planning alone: its measured profile with other machines and lines."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tiercut.planner import Problem, SharedLine, SiteProblem, SiteStream
from tiercut.planner.objectives import LATENCY
from tiercut.planner.problem import RAW, Codec, Link, Node, Variant

PROFILE = Path(__file__).parent.parent / "tests" / "data" / "site" / "efficientnet-lite0.json"

#: The whole model on one thread of the machine that counts as 1 (docs/benchmarks.md, the testbed's).
WHOLE_SECONDS = 0.0094

#: A photograph of 224 x 224 as JPEG.
JPEG_BYTES = 16_000

#: Of ``int8+zstd`` on this model's tensors, and of JPEG; measured by `tiercut profile` at seven cuts.
SECONDS_PER_MB = {"int8+zstd": (0.0006, 0.0004), "jpeg": (0.0015, 0.0022)}

#: Cuts behind the first layer: before it the tensors are still the frame.
LAYERS = (5, 97)


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What differs between sites.

    Attributes:
        device: How many times slower than the cloud node.
        edge: The same.
        lan_mbps: From a device to the edge, each.
        uplink_mbps: From the site to the cloud, all together.
        ratio: What a codec makes of an intermediate result: bytes in by bytes out.
        frame_bytes: Of a frame as it is sent whole; `JPEG_BYTES`, or 150,528 as it is.
        uplink_seconds: Latency of the uplink.
    """

    device: float = 8.0
    edge: float = 2.0
    lan_mbps: float = 100.0
    uplink_mbps: float = 5.0
    ratio: float = 4.0
    frame_bytes: int = JPEG_BYTES
    uplink_seconds: float = 0.01


def problem_of(setting: Setting, device: str = "device-0") -> Problem:
    """One camera's planning problem."""
    profile = json.loads(PROFILE.read_text(encoding="utf-8"))
    share, sizes = np.array(profile["block_share"]), np.array(profile["cut_bytes"], dtype=np.float64)
    seconds = {"full": share / share.sum() * WHOLE_SECONDS}
    up = Link(setting.uplink_seconds, setting.uplink_mbps)
    jpeg = Codec("jpeg", float(sizes[0]) / setting.frame_bytes, *SECONDS_PER_MB["jpeg"], cuts=(0, 0))
    pictures = (jpeg,) if setting.frame_bytes < sizes[0] else ()
    return Problem(
        name="efficientnet-lite0",
        variants=(Variant("full", 1.0, sizes),),
        device=Node(device, "device", seconds, setting.device),
        edges=(Node("edge", "edge", seconds, setting.edge),),
        clouds=(Node("cloud", "cloud", seconds, 1.0),),
        links={(device, "edge"): Link(0.001, setting.lan_mbps), ("edge", "cloud"): up, (device, "cloud"): up},
        codecs=(RAW, *pictures, Codec("int8+zstd", setting.ratio, *SECONDS_PER_MB["int8+zstd"], cuts=LAYERS)),
        objective=LATENCY,
    )


def site_of(setting: Setting, cameras: int, frames_per_second: float = math.inf) -> SiteProblem:
    """So many cameras at one edge, behind one uplink; nodes and lines may be busy all of their time."""
    names = [f"device-{index}" for index in range(cameras)]
    streams = [
        SiteStream(name=name, problem=problem_of(setting, name), frames_per_second=frames_per_second) for name in names
    ]
    uplinks = frozenset((name, "cloud") for name in (*names, "edge"))
    line = SharedLine(name="uplink", links=uplinks, mbps=setting.uplink_mbps)
    return SiteProblem(streams=tuple(streams), lines=(line,), filled=1.0)
