"""A scenario: who is there, what links and nodes do over time, and how the stream runs. TOML or JSON."""

from __future__ import annotations

import itertools
import json
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta

from tiercut.coordinator.stream_goal import StreamGoal
from tiercut.plan import Tier
from tiercut.planner.document import read_problem
from tiercut.planner.document_forms import TierName
from tiercut.planner.objectives import OBJECTIVES
from tiercut.planner.problem import Amount, Count, Positive, Problem, Text
from tiercut.profiling.profile import Profile
from tiercut.profiling.store import read_profile
from tiercut.simulate.site import SimNode, Site, Synthetic, cuts_of, from_problem, node_name
from tiercut.simulate.traces import READER, Trace, constant, trace_of

STREAM = "simulated"

_HOPS: tuple[tuple[Tier, Tier], ...] = (("device", "edge"), ("edge", "cloud"), ("device", "cloud"))


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


class ProfileForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``profile``: one of a planning problem, a profile's file, and a network that is drawn."""

    problem: Text | None = None
    variant: Text = "full"
    file: Text | None = None
    synthetic: Synthetic | None = None


class ScenarioForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A scenario as its file says it."""

    format: Literal["tiercut-scenario/1"]
    name: Text
    duration_seconds: Positive
    frames_per_second: Positive
    profile: ProfileForm
    about: Text = "no word about it"
    seed: Count = 0
    objective: Text = "latency"
    min_first_cut: Count = 0
    in_flight: Annotated[int, Meta(ge=1, description="a whole number, at least 1")] = 6
    deadline_seconds: Positive | None = None
    timeout_seconds: Positive = 10.0
    load_seconds: Amount = 0.2
    detect_seconds: Amount = 1.5
    noise: Amount = 0.05
    nodes: list[NodeForm] = []
    links: list[LinkForm] = []


@dataclass(frozen=True, slots=True)
class _Link:
    """One link between two nodes; the specs of its traces are as in the file."""

    start: str
    end: str
    mbps: Any
    latency_seconds: Any
    said: str

    @property
    def ends(self) -> tuple[str, str]:
        return self.start, self.end


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
        duration_s: How long frames are captured.
        fps: Frames per second.
        timeout_s: A frame without an outcome after this is lost.
        load_s: How long a node takes to load a segment.
        detect_s: How long until a link that is down (or back) is noticed; shorter outages are not.
        noise: Standard deviation of the logarithm of a segment's time.
        in_flight: Frames that may be in flight.
        deadline_s: Age after which a result is useless.
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
    return scenario_of(_document(path, "file"), folder=path.parent, seed=seed)


def _document(path: Path, field: str) -> Any:
    """TOML, or JSON where the file's name ends so."""
    try:
        content = path.read_text(encoding="utf-8")
        return json.loads(content) if path.suffix == ".json" else tomllib.loads(content)
    except (OSError, ValueError, RecursionError) as error:
        READER.refuse(field, f"TOML or JSON at '{path}'", str(error))


def scenario_of(document: Mapping[str, Any], *, folder: Path, seed: int | None = None) -> Scenario:
    """The scenario that a document says; see `load_scenario`."""
    form = READER.read(document, ScenarioForm)
    chosen = form.seed if seed is None else seed
    reader = _Traces(chosen, form.duration_seconds, folder)
    nodes, links = _parts(form, folder)
    changes = {each.id: each for each in form.nodes}
    return Scenario(
        name=form.name,
        about=form.about,
        site=_site(form, nodes, {link.ends for link in links}),
        links={link.ends: reader.link(link) for link in links},
        slowdowns={node.id: reader.slowdown(node.id, changes.get(node.id)) for node in nodes},
        duration_s=form.duration_seconds,
        fps=form.frames_per_second,
        timeout_s=form.timeout_seconds,
        load_s=form.load_seconds,
        detect_s=form.detect_seconds,
        noise=form.noise,
        in_flight=form.in_flight,
        deadline_s=form.deadline_seconds,
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

    def link(self, link: _Link) -> LinkTraces:
        where = f"links.{link.said}"
        mbps = None if link.mbps is UNSET else link.mbps
        latency = 0.0 if link.latency_seconds is UNSET else link.latency_seconds
        return LinkTraces(self.read(mbps, f"{where}.mbps"), self.read(latency, f"{where}.latency_seconds"))

    def slowdown(self, node: str, form: NodeForm | None) -> Trace:
        where = f"nodes.{node}.slowdown"
        trace = constant(1.0) if form is None or form.slowdown is UNSET else self.read(form.slowdown, where)
        if min(trace.values) <= 0:
            READER.refuse(where, "factors > 0", min(trace.values))
        return trace


def _parts(form: ScenarioForm, folder: Path) -> tuple[list[SimNode], list[_Link]]:
    """Nodes and links, with what the scenario changes of those of a planning problem."""
    source = form.profile
    if sum(each is not None for each in (source.problem, source.file, source.synthetic)) != 1:
        READER.refuse("profile", "one of problem, file, synthetic", source)
    if source.problem is None:
        whole = (
            read_profile(folder / source.file)
            if source.file is not None
            else (source.synthetic or Synthetic()).profile()
        )
        nodes = list(_scaled(whole, form.nodes))
        return nodes, list(_expanded(form.links, nodes))
    document = _document(folder / source.problem, "profile.problem")
    problem = read_problem(document.get("problem", document) if isinstance(document, dict) else document)
    variant = next((each for each in problem.variants if each.name == source.variant), None)
    if variant is None:
        READER.refuse("profile.variant", f"one of {[each.name for each in problem.variants]}", source.variant)
    nodes = from_problem(problem, variant)
    watts = {each.id: each.power_watts for each in form.nodes if each.power_watts is not None}
    said, known = {each.id for each in form.nodes}, {node.id for node in nodes}
    if said - known:
        READER.refuse("nodes", f"some of {sorted(known)}", sorted(said - known))
    links = {link.ends: link for link in _problem_links(problem)}
    for link in _expanded(form.links, nodes):
        if link.ends not in links:
            READER.refuse("links", f"links of the problem: {sorted(links)}", link.ends)
        old = links[link.ends]
        mbps = old.mbps if link.mbps is UNSET else link.mbps
        latency_seconds = old.latency_seconds if link.latency_seconds is UNSET else link.latency_seconds
        links[link.ends] = replace(link, mbps=mbps, latency_seconds=latency_seconds)
    return [replace(node, power_watts=watts.get(node.id, node.power_watts)) for node in nodes], list(links.values())


def _scaled(profile: Profile, nodes: Iterable[NodeForm]) -> Iterable[SimNode]:
    """Nodes that are each ``times`` as slow as a profile."""
    for index, node in enumerate(nodes):
        if node.tier is None:
            READER.refuse(f"nodes[{index}].tier", "one of device, edge, cloud", None)
        yield SimNode(node.id, node.tier, profile.scaled(node.times), node.power_watts or 0.0)


def _problem_links(problem: Problem) -> Iterable[_Link]:
    for ends, link in problem.links.items():
        start, end = map(node_name, ends)
        yield _Link(start, end, link.mbps, link.latency_seconds, f"{start}.{end}")


def _expanded(links: Iterable[LinkForm], nodes: list[SimNode]) -> Iterable[_Link]:
    """Links with the name of a tier as one per node of it; they share a trace, each with a line of its own."""
    for index, link in enumerate(links):
        ends = (link.start, link.end)
        starts, stops = ([node.id for node in nodes if end in {node.id, node.tier}] for end in ends)
        if not starts or not stops:
            READER.refuse(f"links[{index}]", f"names or tiers of {sorted(node.id for node in nodes)}", ends)
        for start, stop in itertools.product(starts, stops):
            yield _Link(start, stop, link.mbps, link.latency_seconds, ".".join(ends))


def _site(form: ScenarioForm, nodes: list[SimNode], ends: set[tuple[str, str]]) -> Site:
    if len({node.id for node in nodes}) != len(nodes) or [node.tier for node in nodes].count("device") != 1:
        READER.refuse("nodes", "exactly one device, and names that no two share", [node.id for node in nodes])
    wanted = {hop: {(a.id, b.id) for a in nodes for b in nodes if (a.tier, b.tier) == hop} for hop in _HOPS}
    direct = bool(ends & wanted["device", "cloud"])
    needed = wanted["device", "edge"] | wanted["edge", "cloud"] | (wanted["device", "cloud"] if direct else set())
    if ends != needed:  # the coordinator takes it that all of a tier are reached, or none
        READER.refuse("links", "one for every hop, those from device to cloud all or none", sorted(ends ^ needed))
    if form.objective not in OBJECTIVES:
        READER.refuse("objective", f"one of {', '.join(OBJECTIVES)}", form.objective)
    device = next(node for node in nodes if node.tier == "device")
    goal = StreamGoal(
        name=STREAM,
        model=device.profile.model,
        model_name=device.profile.model_name,
        cuts=cuts_of(device.profile),
        device=device.id,
        objective=form.objective,
        min_first_cut=form.min_first_cut,
        codecs=tuple(sorted({point.codec for point in device.profile.codecs})),
    )
    return Site(tuple(nodes), goal, direct)
