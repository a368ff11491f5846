"""The border of site plans: form 2 with many streams, read from what JSON gave, and the answer in the same form.

``docs/planning.md`` defines both.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from tiercut.planner import best
from tiercut.planner.answer_form import form_of
from tiercut.planner.document_forms import FORM_2, LinkForm, ModelForm2, NodeForm2, VariantForm2, rows_of
from tiercut.planner.document_parts import READER, codecs_of, links_of, nodes_of, variants_of
from tiercut.planner.objectives import THROUGHPUT
from tiercut.planner.problem import RAW, Codec, Link, Node, Problem, Variant
from tiercut.planner.reading import names_of
from tiercut.planner.site.forms import LineForm, SiteAnswerForm, SiteForm, StreamAnswerForm, StreamForm, WayForm
from tiercut.planner.site.plan import SitePlan, Way
from tiercut.planner.site.problem import SharedLine, SiteProblem, SiteStream
from tiercut.planner.site.solve import plan_site
from tiercut.planner.way_back import way_back_to


@dataclass(frozen=True, slots=True)
class _Parts:
    """What the streams of a site choose from.

    Attributes:
        models: By name, each with its variants.
        nodes: All devices, edges and cloud nodes.
        links: Between any of them.
        codecs: All.
    """

    models: Mapping[str, tuple[Variant, ...]]
    nodes: Sequence[Node]
    links: Mapping[tuple[str, str], Link]
    codecs: Sequence[Codec]

    def problem(self, stream: StreamForm, where: str) -> Problem:
        """A stream's problem as if it were alone: its device, all edges and clouds, and the links between them."""
        model, device = self._model(stream, where), self._device(stream, where)
        nodes = [device, *(node for node in self.nodes if node.tier != "device")]
        here = {node.id for node in nodes}
        links = {ends: link for ends, link in self.links.items() if here.issuperset(ends)}
        destination = stream.destination
        return Problem(
            name=model,
            variants=self.models[model],
            device=device,
            edges=tuple(node for node in nodes if node.tier == "edge"),
            clouds=tuple(node for node in nodes if node.tier == "cloud"),
            links=links,
            codecs=tuple(self._codecs(stream, where)),
            objective=THROUGHPUT,
            way_back=None if destination is None else way_back_to(destination, nodes, links),
            **msgspec.structs.asdict(stream.constraints),
        )

    def _model(self, stream: StreamForm, where: str) -> str:
        """The one that it names, or the only one there is."""
        name = next(iter(self.models)) if stream.model is None and len(self.models) == 1 else stream.model
        if not isinstance(name, str) or name not in self.models:
            READER.refuse(f"{where}.model", f"one of {', '.join(self.models)}", stream.model)
        return name

    def _device(self, stream: StreamForm, where: str) -> Node:
        devices = {node.id: node for node in self.nodes if node.tier == "device"}
        if not isinstance(stream.device, str) or stream.device not in devices:
            READER.refuse(f"{where}.device", f"one of {', '.join(devices) or 'the devices'}", stream.device)
        return devices[stream.device]

    def _codecs(self, stream: StreamForm, where: str) -> Iterable[Codec]:
        """All, or those that it names."""
        known = [codec.name for codec in self.codecs]
        for index, name in enumerate(stream.codecs or ()):
            if name not in known:
                READER.refuse(f"{where}.codecs[{index}]", f"one of {', '.join(known)}", name)
        wanted = known if stream.codecs is None else [RAW.name, *stream.codecs]
        return (codec for codec in self.codecs if codec.name in wanted)


def is_site(document: object) -> bool:
    """Whether a document is a problem of many streams."""
    return isinstance(document, Mapping) and document.get("format") == FORM_2 and "streams" in document


def solve_site(document: Mapping[str, Any]) -> dict[str, Any]:
    """Plan all streams of a site, as JSON gave them.

    Returns:
        The answer of the form; ``feasible`` where every stream has a plan.

    Raises:
        SettingsError: the problem is not valid; the message names the field.
    """
    site = read_site(document)
    return written_site(site, plan_site(site))


def written_site(site: SiteProblem, plan: SitePlan) -> dict[str, Any]:
    """A site's plan as values that JSON knows."""
    streams = [_stream_answer(stream, plan) for stream in site.streams]
    document: dict[str, Any] = msgspec.to_builtins(
        SiteAnswerForm(
            feasible=all(stream.ways for stream in streams),
            frames_per_second=plan.frames_per_second,
            bound_frames_per_second=plan.bound_frames_per_second,
            gap=plan.gap,
            streams=streams,
            load=dict(plan.load),
        )
    )
    return document


def read_site(document: Mapping[str, Any]) -> SiteProblem:
    """Read a problem of many streams.

    Raises:
        SettingsError: a field is missing, of the wrong type or out of range, or the parts contradict each other.
    """
    for where, table, kind in _tables(document):
        READER.no_misspelling(table, names_of(kind), where)
    for name in ("objective", "constraints", "destination"):
        if name in document:
            READER.refuse(name, "nothing: a site gives fair rates, limits are each stream's own", document[name])
    form = READER.read(document, SiteForm)
    models = dict(_models(form, several="models" in document))
    nodes = tuple(nodes_of(form.nodes, [variant for each in models.values() for variant in each]))
    links = dict(links_of(form.links, nodes))
    codecs = (RAW, *codecs_of(form.codecs, document.get("codecs", ())))
    streams = tuple(_streams(form, _Parts(models, nodes, links, codecs)))
    lines = tuple(_lines(form, links))
    known = [node.id for node in nodes] + [f"{start} -> {end}" for start, end in links] + [line.name for line in lines]
    for name in form.taken:
        if name not in known:
            READER.refuse(f"taken.{name}", f"a node, a link or a line: one of {', '.join(known)}", name)
    return SiteProblem(
        streams=streams,
        lines=lines,
        taken=tuple(form.taken.items()),
        filled=form.filled,
    )


def _tables(document: Mapping[str, Any]) -> Iterable[tuple[str, Mapping[str, Any], type]]:
    """The objects that may hold notes beside their fields."""
    yield "", document, SiteForm
    for name, kind in (
        ("nodes", NodeForm2),
        ("links", LinkForm),
        ("codecs", Codec),
        ("lines", LineForm),
        ("streams", StreamForm),
        ("models", ModelForm2),
    ):
        yield from rows_of(name, document.get(name), kind)
    one, several = document.get("model"), document.get("models")
    named = [("model", one), *((f"models[{k}]", each) for k, each in enumerate(_list(several)))]
    for name, model in named:
        if isinstance(model, Mapping):
            yield from rows_of(f"{name}.variants", model.get("variants"), VariantForm2)


def _list(value: object) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else ()


def _models(form: SiteForm, *, several: bool) -> Iterable[tuple[str, tuple[Variant, ...]]]:
    """By name; names of variants are unique among all models."""
    if (form.model is None) != several:
        READER.refuse("models", "either 'model' or 'models'", "both" if several else "neither")
    if several and not form.models:
        READER.refuse("models", "at least one model", form.models)
    names: set[str] = set()
    variants: set[str] = set()
    if form.model is not None:
        yield form.model.name, tuple(variants_of(form.model, "model", variants))
    for index, model in enumerate(form.models):
        READER.once(model.name, names, f"models[{index}].name")
        yield model.name, tuple(variants_of(model, f"models[{index}]", variants))


def _streams(form: SiteForm, parts: _Parts) -> Iterable[SiteStream]:
    if not form.streams:
        READER.refuse("streams", "at least one stream", form.streams)
    seen: set[str] = set()
    for index, stream in enumerate(form.streams):
        where = f"streams[{index}]"
        READER.once(stream.name, seen, f"{where}.name")
        rate = math.inf if stream.frames_per_second is None else stream.frames_per_second
        problem = parts.problem(stream, where)
        yield SiteStream(name=stream.name, problem=problem, frames_per_second=rate, weight=stream.weight)


def _lines(form: SiteForm, links: Mapping[tuple[str, str], Link]) -> Iterable[SharedLine]:
    for index, line in enumerate(form.lines):
        if not line.links:
            READER.refuse(f"lines[{index}].links", "at least one link", line.links)
        for place, ends in enumerate(line.links):
            if ends not in links:
                known = ", ".join(f"{start} to {end}" for start, end in links) or "a link"
                READER.refuse(f"lines[{index}].links[{place}]", f"one of {known}", list(ends))
        yield SharedLine(name=line.name, links=frozenset(line.links), mbps=line.mbps)


def _stream_answer(stream: SiteStream, plan: SitePlan) -> StreamAnswerForm:
    share = plan.shares[stream.name]
    asked = share.asked_frames_per_second
    return StreamAnswerForm(
        name=stream.name,
        frames_per_second=share.frames_per_second,
        asked_frames_per_second=None if asked == math.inf else asked,
        ways=[_way(stream.problem.device.id, way) for way in share.ways],
        short=list(share.short),
        violates=msgspec.UNSET if share.ways else form_of(best.solve(stream.problem)).violates,
    )


def _way(device: str, way: Way) -> WayForm:
    choice = way.choice
    return WayForm(
        variant=choice.variant,
        device=device,
        edge=choice.edge,
        cloud=choice.cloud,
        first_cut=choice.first_cut,
        second_cut=choice.second_cut,
        codecs=list(choice.codecs),
        frames_per_second=way.frames_per_second,
        latency_seconds=way.latency_seconds,
    )
