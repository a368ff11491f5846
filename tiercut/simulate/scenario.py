"""A scenario: who is there, what links and nodes do over time, and how the stream runs. TOML or JSON."""

from __future__ import annotations

import itertools
import json
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from tiercut.coordinator.stream_goal import StreamGoal
from tiercut.plan import Tier
from tiercut.planner.objectives import OBJECTIVES, Objective
from tiercut.simulate.fields import integer, number, one_of, only, refuse, table_of, tables, text
from tiercut.simulate.site import SimNode, Site, cuts_of, from_problem, from_profile, with_power
from tiercut.simulate.traces import Trace, constant, trace_of

FORMAT = "tiercut-scenario/1"
STREAM = "simulated"

_TIMES = ("duration_seconds", "frames_per_second", "timeout_seconds", "load_seconds", "detect_seconds", "noise")
_FIELDS = ("format", "name", "about", "seed", "objective", "min_first_cut", "in_flight", "deadline_seconds", *_TIMES)
_NODE = ("id", "tier", "times", "slowdown", "power_watts")
_LINK = ("from", "to", "mbps", "latency_seconds")
_HOPS: tuple[tuple[Tier, Tier], ...] = (("device", "edge"), ("edge", "cloud"), ("device", "cloud"))


@dataclass(frozen=True, slots=True)
class LinkTraces:
    """What a directed link does: rate in Mbps (0: it is down) and one-way delay in seconds."""

    mbps: Trace
    latency_seconds: Trace


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A scenario, read and checked.

    Attributes:
        name: Short, for file names.
        about: One sentence.
        site: What is known of the nodes beforehand.
        links: By (from, to).
        slowdowns: Factor on a node's profile, by node.
        duration_s: Frames are captured for so long.
        fps: Frames per second.
        timeout_s: A frame without an outcome after this is lost.
        load_s: A node takes so long to load a segment.
        detect_s: A link that is down (or back) is noticed after so long; shorter outages are not.
        noise: Standard deviation of the logarithm of a segment's time.
        in_flight: Frames that may be under way.
        deadline_s: Age after which a result is of no use.
        seed: Of all chance.
    """

    name: str
    about: str
    site: Site
    links: Mapping[tuple[str, str], LinkTraces]
    slowdowns: Mapping[str, Trace]
    duration_s: float
    fps: float
    timeout_s: float
    load_s: float
    detect_s: float
    noise: float
    in_flight: int
    deadline_s: float | None
    seed: int


def load_scenario(path: Path, *, seed: int | None = None) -> Scenario:
    """Read a scenario from a file, TOML unless its name ends with ``.json``.

    Args:
        path: The file; what it names is looked for beside it.
        seed: In place of the file's own.

    Raises:
        SettingsError: it cannot be read, or a field is wrong.
    """
    try:
        content = path.read_text(encoding="utf-8")
        document = json.loads(content) if path.suffix == ".json" else tomllib.loads(content)
    except (OSError, ValueError) as error:
        refuse("file", f"TOML or JSON at '{path}'", error)
    return scenario_of(document, folder=path.parent, seed=seed)


def scenario_of(document: Mapping[str, Any], *, folder: Path, seed: int | None = None) -> Scenario:
    """The scenario that a document says; see `load_scenario`."""
    document = table_of(document, "file")
    only(document, "", (*_FIELDS, "profile", "nodes", "links"))
    if document.get("format") != FORMAT:
        refuse("format", f"'{FORMAT}'", document.get("format"))
    chosen = integer(document, "seed", default=0) if seed is None else seed
    duration_s = number(document, "duration_seconds", above=0.0)
    reader = _Traces(chosen, duration_s, folder)
    nodes, links = _parts(document, folder)
    site = _site(document, nodes, {(str(link.get("from")), str(link.get("to"))) for link in links})
    changes = {str(each.get("id")): each for each in tables(document.get("nodes", []), "nodes")}
    return Scenario(
        name=text(document, "name"),
        about=text(document, "about", default="no word about it"),
        site=site,
        links={(link["from"], link["to"]): reader.link(link) for link in links},
        slowdowns={node.id: reader.slowdown(node.id, changes.get(node.id, {})) for node in nodes},
        duration_s=duration_s,
        fps=number(document, "frames_per_second", above=0.0),
        timeout_s=number(document, "timeout_seconds", default=10.0, above=0.0),
        load_s=number(document, "load_seconds", default=0.2),
        detect_s=number(document, "detect_seconds", default=1.5),
        noise=number(document, "noise", default=0.05),
        in_flight=integer(document, "in_flight", default=6, least=1),
        deadline_s=number(document, "deadline_seconds", above=0.0) if "deadline_seconds" in document else None,
        seed=chosen,
    )


@dataclass(frozen=True, slots=True)
class _Traces:
    seed: int
    duration_s: float
    folder: Path

    def read(self, spec: object, where: str) -> Trace:
        seed = f"{self.seed} {where}"
        return trace_of(spec, where, seed=seed, duration_s=self.duration_s, folder=self.folder)

    def link(self, table: Mapping[str, Any]) -> LinkTraces:
        where = f"links.{table.get('said', table['from'] + '.' + table['to'])}"
        latency = self.read(table.get("latency_seconds", 0.0), f"{where}.latency_seconds")
        return LinkTraces(self.read(table.get("mbps"), f"{where}.mbps"), latency)

    def slowdown(self, node: str, table: Mapping[str, Any]) -> Trace:
        trace = self.read(table["slowdown"], f"nodes.{node}.slowdown") if "slowdown" in table else constant(1.0)
        if min(trace.values) <= 0:
            refuse(f"nodes.{node}.slowdown", "factors > 0", min(trace.values))
        return trace


def _parts(document: Mapping[str, Any], folder: Path) -> tuple[list[SimNode], list[Mapping[str, Any]]]:
    """Nodes and links, with what the scenario changes of those of a planning problem."""
    said_nodes = tables(document.get("nodes", []), "nodes")
    said_links = tables(document.get("links", []), "links")
    for where, known, said in (("nodes", _NODE, said_nodes), ("links", _LINK, said_links)):
        for index, each in enumerate(said):
            only(each, f"{where}[{index}]", known)
    profile = table_of(document.get("profile"), "profile")
    if "problem" not in profile:
        nodes = from_profile(document, folder)
        return nodes, list(_expanded(said_links, nodes))
    only(profile, "profile", ("problem", "variant"))
    nodes, links = from_problem(
        folder / text(profile, "problem", "profile"), text(profile, "variant", "profile", default="full")
    )
    watts = {each["id"]: number(each, "power_watts", "nodes") for each in said_nodes if "power_watts" in each}
    _known_names("nodes", {str(each.get("id")) for each in said_nodes}, {node.id for node in nodes})
    by_ends = {(link["from"], link["to"]): link for link in links}
    for link in _expanded(said_links, nodes):
        ends = (link["from"], link["to"])
        if ends not in by_ends:
            refuse("links", f"links of the problem: {sorted(by_ends)}", ends)
        by_ends[ends] = {**by_ends[ends], **link}
    return [with_power(node, watts.get(node.id, node.power_watts)) for node in nodes], list(by_ends.values())


def _expanded(links: Iterable[Mapping[str, Any]], nodes: list[SimNode]) -> Iterable[Mapping[str, Any]]:
    """Links with the name of a tier as one per node of it; they share a trace, each with a line of its own."""
    for index, link in enumerate(links):
        ends = [text(link, key, f"links[{index}]") for key in ("from", "to")]
        starts, stops = ([node.id for node in nodes if end in {node.id, node.tier}] for end in ends)
        if not starts or not stops:
            refuse(f"links[{index}]", f"names or tiers of {sorted(node.id for node in nodes)}", ends)
        for start, stop in itertools.product(starts, stops):
            yield {**link, "from": start, "to": stop, "said": ".".join(ends)}


def _known_names(where: str, said: set[str], known: set[str]) -> None:
    if said - known:
        refuse(where, f"some of {sorted(known)}", sorted(said - known))


def _site(document: Mapping[str, Any], nodes: list[SimNode], ends: set[tuple[str, str]]) -> Site:
    if len({node.id for node in nodes}) != len(nodes) or [node.tier for node in nodes].count("device") != 1:
        refuse("nodes", "exactly one device, and names that no two share", [node.id for node in nodes])
    wanted = {hop: {(a.id, b.id) for a in nodes for b in nodes if (a.tier, b.tier) == hop} for hop in _HOPS}
    direct = bool(ends & wanted["device", "cloud"])
    needed = wanted["device", "edge"] | wanted["edge", "cloud"] | (wanted["device", "cloud"] if direct else set())
    if ends != needed:  # the coordinator takes it that all of a tier are reached, or none
        refuse("links", "one for every hop, those from device to cloud all or none", sorted(ends ^ needed))
    device = next(node for node in nodes if node.tier == "device")
    goal = StreamGoal(
        name=STREAM,
        model=device.profile.model,
        model_name=device.profile.model_name,
        cuts=cuts_of(device.profile),
        device=device.id,
        objective=cast("Objective", one_of(document, "objective", OBJECTIVES, default="latency")),
        min_first_cut=integer(document, "min_first_cut", default=0),
        codecs=tuple(sorted({point.codec for point in device.profile.codecs})),
    )
    return Site(tuple(nodes), goal, direct)
