"""What nodes of a simulated site say of themselves: their names, tiers and profiles."""

from __future__ import annotations

import hashlib
import random
import re
from dataclasses import dataclass
from typing import Annotated

import msgspec
from msgspec import Meta

from tiercut import __version__
from tiercut.coordinator.site.lines import Line
from tiercut.coordinator.stream_goal import StreamGoal
from tiercut.model.cuts import CutPoint, TensorSpec
from tiercut.plan import Tier
from tiercut.planner.problem import Count, Node, Positive, Problem, Variant
from tiercut.profiling.machine import Machine
from tiercut.profiling.profile import CodecPoint, Profile
from tiercut.protocol.nodes import NodeStatus


@dataclass(frozen=True, slots=True)
class SimNode:
    """A node as it announces itself."""

    id: str
    tier: Tier
    profile: Profile
    power_watts: float = 0.0


@dataclass(frozen=True, slots=True)
class SimStream:
    """A stream.

    Attributes:
        goal: What it wants of its plan.
        fps: Frames per second.
        in_flight: Frames that may be in flight.
        starts_s: When its first frame is captured.
    """

    goal: StreamGoal
    fps: float
    in_flight: int
    starts_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Site:
    """All that may be known without measuring: what live policies are given.

    Attributes:
        nodes: Devices, edges and clouds.
        streams: At least one, each of one of the devices.
        direct: Devices reach cloud nodes without an edge between.
        lines: Lines that several links share.
    """

    nodes: tuple[SimNode, ...]
    streams: tuple[SimStream, ...]
    direct: bool
    lines: tuple[Line, ...] = ()

    @property
    def goal(self) -> StreamGoal:
        """The goal of the only stream, or of the first."""
        return self.streams[0].goal

    def of_tier(self, tier: Tier) -> tuple[SimNode, ...]:
        """The nodes of a tier."""
        return tuple(node for node in self.nodes if node.tier == tier)

    def status(self, node: SimNode, *, online: bool, pace: float | None = None) -> NodeStatus:
        """What a node's retained status says."""
        return NodeStatus(
            node=node.id,
            tier=node.tier,
            state="online" if online else "offline",
            version=__version__,
            models={node.profile.model_name: node.profile.model},
            load={} if pace is None else {"pace": pace},
            reaches_cloud=self.direct if node.tier == "device" else True,
            power_watts=node.power_watts,
            mixes=node.tier == "device",
        )


def node_name(text_: str) -> str:
    """A name that fits a topic, from one that a planning problem has."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", text_).strip("-")


def cuts_of(profile: Profile) -> tuple[CutPoint, ...]:
    """Cut points with the bytes of a profile; one tensor each."""
    tensors = [(TensorSpec(f"cut{k}", (size,), "uint8"),) for k, size in enumerate(profile.cut_bytes)]
    return tuple(CutPoint(index=k, after=None, tensors=t, macs=k, parameters=0) for k, t in enumerate(tensors))


class Synthetic(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A convolutional network drawn from a seed: tensors grow at the start and then shrink, work is even.

    Codecs are as those of ``tiercut.codecs``: JPEG makes a tenth of the frame, int8+zstd a fifth of tensors.
    """

    seed: Count = 0
    blocks: Annotated[int, Meta(ge=2, le=1000, description="a whole number of 2 to 1000")] = 20
    device_seconds: Positive = 0.4
    frame_bytes: Annotated[int, Meta(ge=1, le=10**9, description="a whole number of 1 to 10⁹")] = 150_000

    def profile(self) -> Profile:
        """On a machine that takes ``device_seconds`` for the whole."""
        draw, blocks, frame = random.Random(self.seed), self.blocks, self.frame_bytes  # noqa: S311 - a model of chance
        weights = [draw.uniform(0.5, 1.5) for _ in range(blocks)]
        seconds = [self.device_seconds * sum(weights[:k]) / sum(weights) for k in range(blocks + 1)]
        shape = [16 * (1 - k / blocks) ** 3 * draw.uniform(0.7, 1.3) for k in range(1, blocks)]
        sizes = [frame, *(max(4000, int(frame * factor)) for factor in shape), 4000]
        points = [_codec_point("int8+zstd", k, sizes[k], 5.0, 0.008, 0.004) for k in range(1, blocks)]
        return _profile("synthetic", seconds, sizes, [_codec_point("jpeg", 0, frame, 10.0, 0.02, 0.02), *points])


def from_problem(problem: Problem, variant: Variant) -> list[SimNode]:
    """The nodes of a planning problem that run a variant."""
    return [_problem_node(problem, node, variant) for node in problem.nodes if variant.name in node.block_seconds]


def _problem_node(problem: Problem, node: Node, variant: Variant) -> SimNode:
    sizes = [int(size) for size in variant.cut_bytes]
    seconds = [0.0]
    for each in node.block_seconds[variant.name].tolist():
        seconds.append(seconds[-1] + each * node.slowdown)
    points: list[CodecPoint] = []
    for codec in problem.codecs[1:]:
        first, last = codec.cuts or (1, variant.blocks - 1)
        times = (codec.encode_seconds_per_mb, codec.decode_seconds_per_mb)
        cuts = range(first, min(last, variant.blocks - 1) + 1)
        points += [_codec_point(codec.name, cut, sizes[cut], codec.ratio, *times) for cut in cuts]
    return SimNode(node_name(node.id), node.tier, _profile(problem.name, seconds, sizes, points), node.power_watts)


def _codec_point(  # noqa: PLR0917 - a row of a table
    name: str, cut: int, size: int, ratio: float, encode: float, decode: float
) -> CodecPoint:
    return CodecPoint(
        codec=name,
        cut=cut,
        bytes=max(1, round(size / ratio)),
        encode_seconds=encode * size / 1e6,
        decode_seconds=decode * size / 1e6,
    )


def _profile(name: str, seconds: list[float], sizes: list[int], codecs: list[CodecPoint]) -> Profile:
    return Profile(
        model=hashlib.sha256(f"{name} {sizes}".encode()).hexdigest(),
        model_name=name,
        machine=Machine(cpu="simulated", cores=1, arch="none", runtime="none", threads=1),
        source="measured",
        cut_seconds=tuple(seconds),
        cut_bytes=tuple(sizes),
        codecs=tuple(codecs),
    )
