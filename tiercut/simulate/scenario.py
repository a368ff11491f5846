"""A scenario: who is there, what links and nodes do over time, and how the stream runs. TOML or JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta

from tiercut.coordinator.site.lines import Line
from tiercut.coordinator.stream_goal import StreamGoal
from tiercut.fields import Name
from tiercut.plan import Tier, node_id
from tiercut.planner.objectives import OBJECTIVES
from tiercut.planner.problem import Amount, Count, Positive, Share, Text
from tiercut.simulate.lines import FORMAT as LINE_FORMAT
from tiercut.simulate.parts import LineForm, LinkForm, LinkSpec, NodeForm, Parts, ProfileForm, document_at, parts_of
from tiercut.simulate.site import SimStream, Site, cuts_of
from tiercut.simulate.traces import READER, Trace, constant, trace_of
from tiercut.simulate.wishes import CodecForm, ExitForm, check_exits, table_of, variants_of, with_exits

FORMAT = "tiercut-scenario/1"
#: The name of the only stream.
STREAM = "simulated"

AtLeastOne = Annotated[int, Meta(ge=1, description="a whole number, at least 1")]

_HOPS: tuple[tuple[Tier, Tier], ...] = (("device", "edge"), ("edge", "cloud"), ("device", "cloud"))


class StreamForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``streams[]``: one of several; what it does not say is the scenario's."""

    name: Name
    device: Text
    frames_per_second: Positive | None = None
    objective: Text | None = None
    min_first_cut: Count | None = None
    in_flight: AtLeastOne | None = None
    deadline_seconds: Positive | None = None
    max_accuracy_drop: Share | None = None


class ScenarioForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A scenario as its file says it."""

    format: Annotated[Literal["tiercut-scenario/1"], Meta(description=f"'{FORMAT}'")]
    name: Text
    duration_seconds: Positive
    frames_per_second: Positive
    profile: ProfileForm
    about: Text = "no word about it"
    seed: Count = 0
    objective: Text = "latency"
    min_first_cut: Count = 0
    in_flight: AtLeastOne = 6
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
    lines: list[LineForm] = []
    streams: list[StreamForm] = []


@dataclass(frozen=True, slots=True)
class LinkTraces:
    """What a directed link does: rate in Mbps (0: it is down) and one-way delay in seconds.

    Links of one ``line`` send one message at a time together.
    """

    mbps: Trace
    latency_seconds: Trace
    line: str | None = None


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
        timeout_s: A frame without an outcome after this is lost.
        load_s: How long a node takes to load a segment.
        detect_s: How long until a link that is down (or back) is noticed; shorter outages are not.
        noise: Standard deviation of the logarithm of a segment's time.
        seed: Of all chance.
    """

    name: str
    about: str
    site: Site
    links: Mapping[tuple[str, str], LinkTraces]
    slowdowns: Mapping[str, Trace]
    duration_s: float
    timeout_s: float
    load_s: float
    detect_s: float
    noise: float
    seed: int

    @property
    def fps(self) -> float:
        """Frames per second of the only stream, or of the first."""
        return self.site.streams[0].fps

    @property
    def in_flight(self) -> int:
        """Frames that may be in flight, of the same."""
        return self.site.streams[0].in_flight

    def alone(self, stream: SimStream, *, without: Iterable[str] = ()) -> Scenario:
        """The scenario as if a stream were the only one of its site, and some nodes were not there."""
        others = {node.id for node in self.site.of_tier("device")} - {stream.goal.device} | set(without)
        nodes = tuple(node for node in self.site.nodes if node.id not in others)
        links = {ends: traces for ends, traces in self.links.items() if others.isdisjoint(ends)}
        return replace(self, site=Site(nodes, (stream,), self.site.direct), links=links)


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
    if isinstance(document, Mapping) and document.get("format") == LINE_FORMAT:
        fix = f"give a scenario whose link is like it, or run 'python -m bench.lines --only {document.get('name')}'"
        READER.refuse("format", f"'{FORMAT}': this is a line, which a scenario may have", LINE_FORMAT, fix)
    form = READER.read(document, ScenarioForm)
    chosen = form.seed if seed is None else seed
    seen: set[str] = set()
    for index, line in enumerate(form.lines):
        READER.once(line.name, seen, f"lines[{index}].name")
    reader = _Traces(chosen, form.duration_seconds, folder, {line.name: line.mbps for line in form.lines})
    parts = parts_of(form.profile, form.nodes, form.links, folder)
    links, changes = parts.links, {each.id: each for each in form.nodes}
    return Scenario(
        name=form.name,
        about=form.about,
        site=_site(form, parts),
        links={link.ends: reader.link(link) for link in links},
        slowdowns={node.id: reader.slowdown(node.id, changes.get(node.id)) for node in parts.nodes},
        duration_s=form.duration_seconds,
        timeout_s=form.timeout_seconds,
        load_s=form.load_seconds,
        detect_s=form.detect_seconds,
        noise=form.noise,
        seed=chosen,
    )


@dataclass(frozen=True, slots=True)
class _Traces:
    seed: int
    duration_s: float
    folder: Path
    lines: Mapping[str, Any]

    def read(self, spec: object, where: str) -> Trace:
        seed = f"{self.seed} {where}"
        return trace_of(spec, where, seed=seed, duration_s=self.duration_s, folder=self.folder)

    def link(self, link: LinkSpec) -> LinkTraces:
        where = f"links.{link.said}"
        latency = self.read(0.0 if link.latency_seconds is UNSET else link.latency_seconds, f"{where}.latency_seconds")
        if link.line is None:
            return LinkTraces(self.read(None if link.mbps is UNSET else link.mbps, f"{where}.mbps"), latency)
        if link.line not in self.lines:
            READER.refuse(f"{where}.line", f"one of the lines {sorted(self.lines)}", link.line)
        return LinkTraces(self.read(self.lines[link.line], f"lines.{link.line}.mbps"), latency, link.line)

    def slowdown(self, node: str, form: NodeForm | None) -> Trace:
        where = f"nodes.{node}.slowdown"
        trace = constant(1.0) if form is None or form.slowdown is UNSET else self.read(form.slowdown, where)
        if min(trace.values) <= 0:
            READER.refuse(where, "factors > 0", min(trace.values))
        return trace


def _site(form: ScenarioForm, parts: Parts) -> Site:
    nodes, ends = parts.nodes, {link.ends for link in parts.links}
    devices = [node.id for node in nodes if node.tier == "device"]
    if len({node.id for node in nodes}) != len(nodes) or not devices or (len(devices) > 1 and not form.streams):
        expected = "names that no two share, and one device, or several with 'streams'"
        READER.refuse("nodes", expected, [node.id for node in nodes])
    wanted = {hop: {(a.id, b.id) for a in nodes for b in nodes if (a.tier, b.tier) == hop} for hop in _HOPS}
    direct = bool(ends & wanted["device", "cloud"])
    needed = wanted["device", "edge"] | wanted["edge", "cloud"] | (wanted["device", "cloud"] if direct else set())
    if ends != needed:  # the coordinator takes it that all of a tier are reached, or none
        READER.refuse("links", "one for every hop, those from device to cloud all or none", sorted(ends ^ needed))
    streams = tuple(_streams(form, parts, devices))
    return Site(tuple(with_exits(nodes, form.exits)), streams, direct, tuple(_lines(parts)))


def _lines(parts: Parts) -> Iterable[Line]:
    """The lines as a hub's settings would have them: which links share one, not what it carries."""
    ids = {node.id: node_id(node.tier, node.id) for node in parts.nodes}
    for name in dict.fromkeys(link.line for link in parts.links if link.line is not None):
        yield Line(name, tuple((ids[link.start], ids[link.end]) for link in parts.links if link.line == name))


def _streams(form: ScenarioForm, parts: Parts, devices: list[str]) -> Iterable[SimStream]:
    """The streams; the first frames of several are spread over the time between two frames."""
    seen: set[str] = set()
    said = form.streams or [StreamForm(STREAM, devices[0])]
    for index, stream in enumerate(said):
        where = f"streams[{index}]."
        READER.once(stream.name, seen, f"{where}name")
        if stream.device not in devices:
            READER.refuse(f"{where}device", f"one of {', '.join(devices)}", stream.device)
        fps = stream.frames_per_second or form.frames_per_second
        goal = _goal(form, parts, stream, where if form.streams else "")
        yield SimStream(goal, fps, stream.in_flight or form.in_flight, index / len(said) / fps)


def _goal(form: ScenarioForm, parts: Parts, stream: StreamForm, where: str) -> StreamGoal:
    device = next(node for node in parts.nodes if node.id == stream.device).profile
    objective = stream.objective or form.objective
    if objective not in OBJECTIVES:
        READER.refuse(f"{where}objective", f"one of {', '.join(OBJECTIVES)}", objective)
    check_exits(form.exits, device.end)
    cuts, accuracy = cuts_of(device), parts.accuracy if form.accuracy is None else form.accuracy
    return StreamGoal(
        name=stream.name,
        model=device.model,
        model_name=device.model_name,
        cuts=cuts,
        device=stream.device,
        objective=objective,
        min_first_cut=form.min_first_cut if stream.min_first_cut is None else stream.min_first_cut,
        codecs=tuple(sorted({point.codec for point in device.codecs})),
        variants=variants_of(cuts, form.exits, accuracy),
        accuracy=accuracy,
        table=table_of(device, parts.drops, form.codecs),
        deadline_s=stream.deadline_seconds or form.deadline_seconds,
        max_accuracy_drop=form.max_accuracy_drop if stream.max_accuracy_drop is None else stream.max_accuracy_drop,
    )
