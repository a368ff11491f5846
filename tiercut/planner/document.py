"""The border: a planning problem, version 1, read from what JSON gave, and answers in the same form.

``docs/planning.md`` defines both. Inside, problems and answers are classes (`problem`, `answer`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from tiercut.plan import TIERS, Tier
from tiercut.planner import best
from tiercut.planner.answer import Answer
from tiercut.planner.answer_form import form_of
from tiercut.planner.objectives import OBJECTIVES, Floats, Objective
from tiercut.planner.problem import RAW, Amount, Codec, Count, Link, Node, Positive, Problem, Share, Text, Variant
from tiercut.planner.reading import Reader, names_of

FORMAT = "tiercut-plan-problem/1"

READER = Reader("planning problem")

TierName = Annotated[Tier, Meta(description=f"one of {', '.join(TIERS)}")]


class VariantForm(msgspec.Struct, frozen=True):
    """``model.variants[]``; numbers in lists are read by numpy."""

    name: Text
    cut_bytes: Any = None
    accuracy: Share = 1.0


class ModelForm(msgspec.Struct, frozen=True):
    """``model``."""

    variants: list[VariantForm]
    name: Text = "model"


class NodeForm(msgspec.Struct, frozen=True):
    """``nodes[]``."""

    id: Text
    tier: TierName
    block_seconds: Mapping[str, Any] = {}
    slowdown: Positive = 1.0
    queue_seconds: Amount = 0.0
    power_watts: Amount = 0.0


class LinkForm(msgspec.Struct, frozen=True, rename={"start": "from", "end": "to"}):
    """``links[]``: the ends, and the fields of `Link`."""

    latency_seconds: Amount
    mbps: Positive
    start: Any = None
    end: Any = None
    watts: Amount = 0.0


class ConstraintsForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``constraints``."""

    min_first_cut: Count = 0
    deadline_seconds: Amount | None = None
    max_accuracy_drop: Amount | None = None
    min_noise: Amount | None = None


class ProblemForm(msgspec.Struct, frozen=True):
    """A planning problem."""

    model: ModelForm
    nodes: list[NodeForm]
    objective: Any = None
    links: list[LinkForm] = []
    codecs: list[Codec] = []
    constraints: ConstraintsForm = ConstraintsForm()
    format: Any = None


def solve(problem: Mapping[str, Any]) -> dict[str, Any]:
    """Find the best plan of a planning problem, version 1, as JSON gave it.

    Returns:
        The answer of that form. Where no plan satisfies the constraints, ``feasible`` is false, ``violates`` says what
        the plan that comes nearest violates: given up are the deadline first, then the accuracy, then ``min_noise``,
        then ``min_first_cut``.

    Raises:
        SettingsError: the problem is not valid; the message names the field.
    """
    return written(best.solve(read_problem(problem)))


def written(answer: Answer) -> dict[str, Any]:
    """An answer as values that JSON knows."""
    document: dict[str, Any] = msgspec.to_builtins(form_of(answer))
    return document


def read_problem(document: Mapping[str, Any]) -> Problem:
    """Read a problem.

    Raises:
        SettingsError: a field is missing, of the wrong type or out of range, or the parts contradict each other.
    """
    if isinstance(document, Mapping):
        if document.get("format") != FORMAT:
            READER.refuse("format", f"one of {FORMAT}", document.get("format"))
        for where, table, kind in _tables(document):
            READER.no_misspelling(table, names_of(kind), where)
    form = READER.read(document, ProblemForm)
    variants = tuple(_variants(form.model))
    nodes = tuple(_nodes(form, variants))
    devices = [node for node in nodes if node.tier == "device"]
    if len(devices) != 1:
        READER.refuse("nodes", "exactly one with tier 'device'", [node.id for node in devices])
    return Problem(
        name=form.model.name,
        variants=variants,
        device=devices[0],
        edges=tuple(node for node in nodes if node.tier == "edge"),
        clouds=tuple(node for node in nodes if node.tier == "cloud"),
        links=dict(_links(form)),
        codecs=(RAW, *_codecs(form, document.get("codecs", ()))),
        objective=_objective(form),
        **msgspec.structs.asdict(form.constraints),
    )


def _tables(document: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any], type]]:
    """The objects that may hold notes beside their fields: where each is, and the class that says the fields."""
    yield "", document, ProblemForm
    model = document.get("model")
    lists = (
        ("model.variants", model.get("variants") if isinstance(model, Mapping) else None, VariantForm),
        ("nodes", document.get("nodes"), NodeForm),
        ("links", document.get("links"), LinkForm),
        ("codecs", document.get("codecs"), Codec),
    )
    for name, tables, kind in lists:
        for index, table in enumerate(tables if isinstance(tables, list | tuple) else ()):
            if isinstance(table, Mapping):
                yield f"{name}[{index}]", table, kind


def _variants(model: ModelForm) -> Iterable[Variant]:
    if not model.variants:
        READER.refuse("model.variants", "at least one variant", model.variants)
    seen: set[str] = set()
    for index, form in enumerate(model.variants):
        where = f"model.variants[{index}]"
        READER.once(form.name, seen, f"{where}.name")
        cut_bytes = READER.numbers(form.cut_bytes, f"{where}.cut_bytes")
        if len(cut_bytes) < 2:  # noqa: PLR2004 - one block has two ends
            READER.refuse(f"{where}.cut_bytes", "one entry more than there are blocks, so at least 2", form.cut_bytes)
        yield Variant(form.name, form.accuracy, cut_bytes)


def _nodes(form: ProblemForm, variants: tuple[Variant, ...]) -> Iterable[Node]:
    seen: set[str] = set()
    for index, node in enumerate(form.nodes):
        where = f"nodes[{index}]"
        READER.once(node.id, seen, f"{where}.id")
        blocks = dict(_block_seconds(node, f"{where}.block_seconds", variants))
        yield Node(node.id, node.tier, blocks, node.slowdown, node.queue_seconds, node.power_watts)


def _block_seconds(node: NodeForm, where: str, variants: tuple[Variant, ...]) -> Iterable[tuple[str, Floats]]:
    READER.no_misspelling(node.block_seconds, {variant.name for variant in variants}, where)
    for variant in variants:
        if variant.name in node.block_seconds:
            field = f"{where}.{variant.name}"
            seconds = READER.numbers(node.block_seconds[variant.name], field)
            if len(seconds) != variant.blocks:
                expected = f"{variant.blocks} numbers, one per block of the variant"
                READER.refuse(field, expected, f"{len(seconds)} numbers")
            yield variant.name, seconds


def _links(form: ProblemForm) -> Iterable[tuple[tuple[str, str], Link]]:
    names = sorted(node.id for node in form.nodes)
    seen: set[str] = set()
    for index, link in enumerate(form.links):
        for key, end in (("from", link.start), ("to", link.end)):
            if end not in names:
                READER.refuse(f"links[{index}].{key}", f"one of {', '.join(names)}", end)
        READER.once(f"{link.start} to {link.end}", seen, f"links[{index}]")
        yield (link.start, link.end), Link(link.latency_seconds, link.mbps, link.watts)


def _codecs(form: ProblemForm, entries: Sequence[object]) -> Iterable[Codec]:
    seen: set[str] = set()
    for index, (codec, entry) in enumerate(zip(form.codecs, entries, strict=True)):
        where = f"codecs[{index}]"
        if codec.cuts is not None and codec.cuts[0] > codec.cuts[1]:
            READER.refuse(f"{where}.cuts", "two cuts, [first, last], with 0 <= first <= last", list(codec.cuts))
        READER.once(codec.name, seen, f"{where}.name")
        if codec.name != RAW.name:
            yield codec
        elif replace(codec, cuts=None) != RAW:
            READER.refuse(where, "another name: 'raw' always exists, with ratio 1, no cost and no noise", entry)


def _objective(form: ProblemForm) -> Objective:
    if not isinstance(form.objective, str) or form.objective not in OBJECTIVES:
        READER.refuse("objective", f"one of {', '.join(OBJECTIVES)}", form.objective)
    return OBJECTIVES[form.objective]
