"""What nodes of a simulated site say of themselves: their names, tiers and profiles, from one of three sources."""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tiercut import __version__
from tiercut.coordinator.stream_goal import StreamGoal
from tiercut.model.cuts import CutPoint, TensorSpec
from tiercut.plan import Tier, known_tier
from tiercut.planner import solve
from tiercut.profiling.machine import Machine
from tiercut.profiling.profile import CodecPoint, Profile
from tiercut.profiling.store import read_profile
from tiercut.protocol.nodes import NodeStatus
from tiercut.simulate.fields import integer, number, only, refuse, table_of, tables, text


@dataclass(frozen=True, slots=True)
class SimNode:
    """A node as it announces itself."""

    id: str
    tier: Tier
    profile: Profile
    power_watts: float = 0.0


@dataclass(frozen=True, slots=True)
class Site:
    """All that may be known without measuring: what live policies are given.

    Attributes:
        nodes: One device, and any number of edges and clouds.
        goal: The stream.
        direct: The device reaches cloud nodes without an edge between.
    """

    nodes: tuple[SimNode, ...]
    goal: StreamGoal
    direct: bool

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
        )


def node_name(text_: str) -> str:
    """A name that fits a topic, from one that a planning problem has."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", text_).strip("-")


def cuts_of(profile: Profile) -> tuple[CutPoint, ...]:
    """Cut points with the bytes of a profile; one tensor each."""
    tensors = [(TensorSpec(f"cut{k}", (size,), "uint8"),) for k, size in enumerate(profile.cut_bytes)]
    return tuple(CutPoint(index=k, after=None, tensors=t, macs=k, parameters=0) for k, t in enumerate(tensors))


def synthetic(table: Mapping[str, Any], where: str) -> Profile:
    """A convolutional network drawn from a seed: tensors grow at the start and then shrink, work is even.

    Codecs are as those of ``tiercut.codecs``: JPEG makes a tenth of the frame, int8+zstd a fifth of tensors.
    """
    only(table, where, ("seed", "blocks", "device_seconds", "frame_bytes"))
    draw = random.Random(integer(table, "seed", where, default=0))  # noqa: S311 - a model of chance, repeatable
    blocks = integer(table, "blocks", where, default=20, least=2)
    total_s = number(table, "device_seconds", where, default=0.4, above=0.0)
    frame = integer(table, "frame_bytes", where, default=150_000, least=1)
    weights = [draw.uniform(0.5, 1.5) for _ in range(blocks)]
    seconds = [total_s * sum(weights[:k]) / sum(weights) for k in range(blocks + 1)]
    shape = [16 * (1 - k / blocks) ** 3 * draw.uniform(0.7, 1.3) for k in range(1, blocks)]
    sizes = [frame, *(max(4000, int(frame * factor)) for factor in shape), 4000]
    points = [_codec_point("int8+zstd", k, sizes[k], 5.0, 0.008, 0.004) for k in range(1, blocks)]
    return _profile("synthetic", seconds, sizes, [_codec_point("jpeg", 0, frame, 10.0, 0.02, 0.02), *points])


def from_problem(path: Path, variant: str) -> tuple[list[SimNode], list[Mapping[str, Any]]]:
    """Nodes and links of a planning problem (or an example of one, with its answer beside it).

    Raises:
        SettingsError: it is no planning problem, or has no such variant.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        refuse("profile.problem", "a planning problem, version 1", error)
    problem = table_of(document.get("problem", document), "profile.problem")
    solve(problem)  # checks it
    chosen = next((each for each in problem["model"]["variants"] if each["name"] == variant), None)
    if chosen is None:
        refuse("profile.variant", f"one of {[each['name'] for each in problem['model']['variants']]}", variant)
    nodes = [_problem_node(problem, node, chosen) for node in problem["nodes"] if variant in node["block_seconds"]]
    links = [link | {"from": node_name(link["from"]), "to": node_name(link["to"])} for link in problem["links"]]
    return nodes, [{k: v for k, v in link.items() if k != "watts"} for link in links]


def from_profile(document: Mapping[str, Any], folder: Path) -> list[SimNode]:
    """Nodes of a scenario's ``nodes``, each ``times`` as slow as the profile of ``file`` or ``synthetic``.

    Raises:
        SettingsError: a field is wrong.
    """
    table = table_of(document.get("profile"), "profile")
    if "file" in table:
        only(table, "profile", ("file",))
        profile = read_profile(folder / text(table, "file", "profile"))
    else:
        only(table, "profile", ("synthetic",))
        profile = synthetic(table_of(table.get("synthetic"), "profile.synthetic"), "profile.synthetic")
    return list(_scaled(profile, tables(document.get("nodes"), "nodes")))


def _scaled(profile: Profile, nodes: Iterable[Mapping[str, Any]]) -> Iterable[SimNode]:
    for index, node in enumerate(nodes):
        where = f"nodes[{index}]"
        tier = known_tier(text(node, "tier", where))
        if tier is None:
            refuse(f"{where}.tier", "device, edge or cloud", node["tier"])
        times = number(node, "times", where, default=1.0, above=0.0)
        yield SimNode(
            text(node, "id", where), tier, profile.scaled(times), number(node, "power_watts", where, default=0.0)
        )


def _problem_node(problem: Mapping[str, Any], node: Mapping[str, Any], variant: Mapping[str, Any]) -> SimNode:
    sizes = [int(size) for size in variant["cut_bytes"]]
    seconds = [0.0]
    for each in node["block_seconds"][variant["name"]]:
        seconds.append(seconds[-1] + each * node.get("slowdown", 1.0))
    codecs: list[CodecPoint] = []
    for codec in problem.get("codecs", ()):
        first, last = codec.get("cuts", (1, len(sizes) - 2))
        times = [codec.get(f"{which}_seconds_per_mb", 0.0) for which in ("encode", "decode")]
        cuts = range(first, min(last, len(sizes) - 2) + 1)
        codecs += [_codec_point(codec["name"], cut, sizes[cut], codec["ratio"], *times) for cut in cuts]
    tier = known_tier(node["tier"])
    assert tier is not None  # noqa: S101 - the problem was checked
    profile = _profile(problem["model"]["name"], seconds, sizes, codecs)
    return SimNode(node_name(node["id"]), tier, profile, node.get("power_watts", 0.0))


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


def with_power(node: SimNode, watts: float) -> SimNode:
    """The same node, drawing so much while it computes."""
    return replace(node, power_watts=watts)
