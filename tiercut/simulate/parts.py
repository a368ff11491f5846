"""The nodes and links that a scenario names: of a planning problem, of a profile, or of a network that is drawn."""

from __future__ import annotations

import itertools
import json
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec
from msgspec import UNSET

from tiercut.planner.document import read_problem
from tiercut.planner.document_forms import TierName
from tiercut.planner.problem import Amount, Positive, Problem, Text
from tiercut.profiling.profile import Profile
from tiercut.profiling.store import read_profile
from tiercut.simulate.site import SimNode, Synthetic, from_problem, node_name
from tiercut.simulate.traces import READER


class NodeForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``nodes[]``: a node, or what changes of one that the planning problem has."""

    id: Text
    tier: TierName | None = None
    times: Positive = 1.0
    slowdown: Any = UNSET
    power_watts: Amount | None = None


class LinkForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"start": "from", "end": "to"}):
    """``links[]``; ends are names or tiers."""

    start: Text
    end: Text
    mbps: Any = UNSET
    latency_seconds: Any = UNSET
    line: Text | None = None


class LineForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``lines[]``: the rate that several links share."""

    name: Text
    mbps: Any


class ProfileForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``profile``: one of a planning problem, a profile's file, and a network that is drawn."""

    problem: Text | None = None
    variant: Text = "full"
    file: Text | None = None
    synthetic: Synthetic | None = None


@dataclass(frozen=True, slots=True)
class LinkSpec:
    """One link between two nodes; the specs of its traces are as in the file."""

    start: str
    end: str
    mbps: Any
    latency_seconds: Any
    said: str
    line: str | None = None

    @property
    def ends(self) -> tuple[str, str]:
        """From where to where."""
        return self.start, self.end


def document_at(path: Path, field: str) -> Any:
    """TOML, or JSON where the file's name ends so."""
    try:
        content = path.read_text(encoding="utf-8")
        return json.loads(content) if path.suffix == ".json" else tomllib.loads(content)
    except (OSError, ValueError, RecursionError) as error:
        READER.refuse(field, f"TOML or JSON at '{path}'", str(error))


@dataclass(frozen=True, slots=True)
class Parts:
    """What a site is made of.

    Attributes:
        nodes: Its nodes.
        links: Its links.
        accuracy: Of the whole network.
        drops: What codecs cost of it.
    """

    nodes: list[SimNode]
    links: list[LinkSpec]
    accuracy: float = 1.0
    drops: Mapping[str, float] = field(default_factory=dict)


def parts_of(
    source: ProfileForm, said_nodes: Sequence[NodeForm], said_links: Sequence[LinkForm], folder: Path
) -> Parts:
    """Nodes and links, with what the scenario changes of those of a planning problem."""
    if sum(each is not None for each in (source.problem, source.file, source.synthetic)) != 1:
        READER.refuse("profile", "one of problem, file, synthetic", source)
    if source.problem is None:
        whole = (
            read_profile(folder / source.file)
            if source.file is not None
            else (source.synthetic or Synthetic()).profile()
        )
        nodes = list(_scaled(whole, said_nodes))
        return Parts(nodes, list(_expanded(said_links, nodes)))
    document = document_at(folder / source.problem, "profile.problem")
    problem = read_problem(document.get("problem", document) if isinstance(document, dict) else document)
    variant = next((each for each in problem.variants if each.name == source.variant), None)
    if variant is None:
        READER.refuse("profile.variant", f"one of {[each.name for each in problem.variants]}", source.variant)
    nodes = from_problem(problem, variant)
    watts = {each.id: each.power_watts for each in said_nodes if each.power_watts is not None}
    said, known = {each.id for each in said_nodes}, {node.id for node in nodes}
    if said - known:
        READER.refuse("nodes", f"some of {sorted(known)}", sorted(said - known))
    links = {link.ends: link for link in _problem_links(problem)}
    for link in _expanded(said_links, nodes):
        if link.ends not in links:
            READER.refuse("links", f"links of the problem: {sorted(links)}", link.ends)
        old = links[link.ends]
        mbps = old.mbps if link.mbps is UNSET else link.mbps
        latency_seconds = old.latency_seconds if link.latency_seconds is UNSET else link.latency_seconds
        links[link.ends] = replace(link, mbps=mbps, latency_seconds=latency_seconds, line=link.line)
    return Parts(
        nodes=[replace(node, power_watts=watts.get(node.id, node.power_watts)) for node in nodes],
        links=list(links.values()),
        accuracy=variant.accuracy,
        drops={codec.name: codec.accuracy_drop for codec in problem.codecs[1:] if codec.accuracy_drop},
    )


def _scaled(profile: Profile, nodes: Iterable[NodeForm]) -> Iterable[SimNode]:
    """Nodes that are each ``times`` as slow as a profile."""
    for index, node in enumerate(nodes):
        if node.tier is None:
            READER.refuse(f"nodes[{index}].tier", "one of device, edge, cloud", None)
        yield SimNode(node.id, node.tier, profile.scaled(node.times), node.power_watts or 0.0)


def _problem_links(problem: Problem) -> Iterable[LinkSpec]:
    for ends, link in problem.links.items():
        start, end = map(node_name, ends)
        yield LinkSpec(start, end, link.mbps, link.latency_seconds, f"{start}.{end}")


def _expanded(links: Iterable[LinkForm], nodes: list[SimNode]) -> Iterable[LinkSpec]:
    """Links with the name of a tier as one per node of it; they share a trace, each with a line of its own."""
    for index, link in enumerate(links):
        ends = (link.start, link.end)
        starts, stops = ([node.id for node in nodes if end in {node.id, node.tier}] for end in ends)
        if not starts or not stops:
            READER.refuse(f"links[{index}]", f"names or tiers of {sorted(node.id for node in nodes)}", ends)
        if link.line is not None and link.mbps is not UNSET:
            READER.refuse(f"links[{index}].mbps", "nothing: the rate is its line's", link.mbps, "omit mbps or line")
        for start, stop in itertools.product(starts, stops):
            yield LinkSpec(start, stop, link.mbps, link.latency_seconds, ".".join(ends), link.line)
