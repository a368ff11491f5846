"""A scenario: who is there, what links and nodes do over time, and how the stream runs. TOML or JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta

from tiercut.coordinator.stream_goal import StreamGoal
from tiercut.plan import Tier
from tiercut.planner.objectives import OBJECTIVES
from tiercut.planner.problem import Amount, Count, Positive, Share, Text
from tiercut.simulate.parts import LinkForm, LinkSpec, NodeForm, Parts, ProfileForm, document_at, parts_of
from tiercut.simulate.site import Site, cuts_of
from tiercut.simulate.traces import READER, Trace, constant, trace_of
from tiercut.simulate.wishes import CodecForm, ExitForm, check_exits, table_of, variants_of, with_exits

STREAM = "simulated"

_HOPS: tuple[tuple[Tier, Tier], ...] = (("device", "edge"), ("edge", "cloud"), ("device", "cloud"))


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
    max_accuracy_drop: Share | None = None
    accuracy: Share | None = None
    exits: list[ExitForm] = []
    codecs: list[CodecForm] = []
    timeout_seconds: Positive = 10.0
    load_seconds: Amount = 0.2
    detect_seconds: Amount = 1.5
    noise: Amount = 0.05
    nodes: list[NodeForm] = []
    links: list[LinkForm] = []


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
    seed: int


def load_scenario(path: Path, *, seed: int | None = None) -> Scenario:
    """Read a scenario from a file, TOML unless its name ends with ``.json``.

    Args:
        path: The file; what it names is looked for beside it.
        seed: In place of the file's own.

    Raises:
        SettingsError: it cannot be read, or a field is wrong.
    """
    return scenario_of(document_at(path, "file"), folder=path.parent, seed=seed)


def scenario_of(document: Mapping[str, Any], *, folder: Path, seed: int | None = None) -> Scenario:
    """The scenario that a document says; see `load_scenario`."""
    form = READER.read(document, ScenarioForm)
    chosen = form.seed if seed is None else seed
    reader = _Traces(chosen, form.duration_seconds, folder)
    parts = parts_of(form.profile, form.nodes, form.links, folder)
    links, changes = parts.links, {each.id: each for each in form.nodes}
    return Scenario(
        name=form.name,
        about=form.about,
        site=_site(form, parts),
        links={link.ends: reader.link(link) for link in links},
        slowdowns={node.id: reader.slowdown(node.id, changes.get(node.id)) for node in parts.nodes},
        duration_s=form.duration_seconds,
        fps=form.frames_per_second,
        timeout_s=form.timeout_seconds,
        load_s=form.load_seconds,
        detect_s=form.detect_seconds,
        noise=form.noise,
        in_flight=form.in_flight,
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

    def link(self, link: LinkSpec) -> LinkTraces:
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


def _site(form: ScenarioForm, parts: Parts) -> Site:
    nodes, ends = parts.nodes, {link.ends for link in parts.links}
    if len({node.id for node in nodes}) != len(nodes) or [node.tier for node in nodes].count("device") != 1:
        READER.refuse("nodes", "exactly one device, and names that no two share", [node.id for node in nodes])
    wanted = {hop: {(a.id, b.id) for a in nodes for b in nodes if (a.tier, b.tier) == hop} for hop in _HOPS}
    direct = bool(ends & wanted["device", "cloud"])
    needed = wanted["device", "edge"] | wanted["edge", "cloud"] | (wanted["device", "cloud"] if direct else set())
    if ends != needed:  # the coordinator takes it that all of a tier are reached, or none
        READER.refuse("links", "one for every hop, those from device to cloud all or none", sorted(ends ^ needed))
    if form.objective not in OBJECTIVES:
        READER.refuse("objective", f"one of {', '.join(OBJECTIVES)}", form.objective)
    device = next(node for node in nodes if node.tier == "device").profile
    check_exits(form.exits, device.end)
    cuts, accuracy = cuts_of(device), parts.accuracy if form.accuracy is None else form.accuracy
    goal = StreamGoal(
        name=STREAM,
        model=device.model,
        model_name=device.model_name,
        cuts=cuts,
        device=next(node.id for node in nodes if node.tier == "device"),
        objective=form.objective,
        min_first_cut=form.min_first_cut,
        codecs=tuple(sorted({point.codec for point in device.codecs})),
        variants=variants_of(cuts, form.exits, accuracy),
        accuracy=accuracy,
        table=table_of(device, parts.drops, form.codecs),
        deadline_s=form.deadline_seconds,
        max_accuracy_drop=form.max_accuracy_drop,
    )
    return Site(tuple(with_exits(nodes, form.exits)), goal, direct)
