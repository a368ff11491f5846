"""The parts of a planning problem, checked against each other: variants, nodes, links, codecs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from tiercut.planner.document_forms import LinkForm, ModelForm, ModelForm2, NodeForm, NodeForm2, VariantForm2
from tiercut.planner.objectives import OBJECTIVES, Floats, Objective
from tiercut.planner.problem import RAW, Codec, Link, Loaded, Node, Variant
from tiercut.planner.reading import Reader

READER = Reader("planning problem")


def variants_of(model: ModelForm | ModelForm2, where: str, seen: set[str]) -> Iterable[Variant]:
    """The variants of a model.

    Args:
        model: The model.
        where: Its field.
        seen: Names that others have.
    """
    if not model.variants:
        READER.refuse(f"{where}.variants", "at least one variant", model.variants)
    for index, form in enumerate(model.variants):
        field = f"{where}.variants[{index}]"
        READER.once(form.name, seen, f"{field}.name")
        cut_bytes = READER.numbers(form.cut_bytes, f"{field}.cut_bytes")
        if len(cut_bytes) < 2:  # noqa: PLR2004 - one block has two ends
            READER.refuse(f"{field}.cut_bytes", "one entry more than there are blocks, so at least 2", form.cut_bytes)
        variant = Variant(form.name, form.accuracy, cut_bytes)
        if isinstance(form, VariantForm2):
            weights = _per_block(form.block_weights_mb, variant, f"{field}.block_weights_mb")
            peak = _per_block(form.block_peak_mb, variant, f"{field}.block_peak_mb")
            variant = replace(variant, block_weights_mb=weights, block_peak_mb=peak)
        yield variant


def nodes_of(forms: Sequence[NodeForm | NodeForm2], variants: Sequence[Variant]) -> Iterable[Node]:
    """The nodes."""
    if not forms:
        READER.refuse("nodes", "at least one node", forms)
    seen: set[str] = set()
    for index, form in enumerate(forms):
        where = f"nodes[{index}]"
        READER.once(form.id, seen, f"{where}.id")
        blocks = dict(_seconds_by_variant(form.block_seconds, f"{where}.block_seconds", variants))
        node = Node(form.id, form.tier, blocks, form.slowdown, form.queue_seconds, form.power_watts)
        if isinstance(form, NodeForm2):
            loaded = frozenset(_loaded(form, f"{where}.loaded", {each.name: each for each in variants}))
            node = replace(node, memory_mb=form.memory_mb, memory_taken_mb=form.memory_taken_mb, loaded=loaded)
            node = _in_batches(node, form, where, variants)
        yield node


def links_of(forms: Sequence[LinkForm], nodes: Sequence[Node]) -> Iterable[tuple[tuple[str, str], Link]]:
    """The links by their ends."""
    names = sorted(node.id for node in nodes)
    seen: set[str] = set()
    for index, link in enumerate(forms):
        for key, end in (("from", link.start), ("to", link.end)):
            if end not in names:
                READER.refuse(f"links[{index}].{key}", f"one of {', '.join(names)}", end)
        READER.once(f"{link.start} to {link.end}", seen, f"links[{index}]")
        yield (link.start, link.end), Link(link.latency_seconds, link.mbps, link.watts)


def codecs_of(codecs: Sequence[Codec], entries: Sequence[object]) -> Iterable[Codec]:
    """The codecs beside ``raw``; ``entries`` as they came, for messages."""
    seen: set[str] = set()
    for index, (codec, entry) in enumerate(zip(codecs, entries, strict=True)):
        where = f"codecs[{index}]"
        if codec.cuts is not None and codec.cuts[0] > codec.cuts[1]:
            READER.refuse(f"{where}.cuts", "two cuts, [first, last], with 0 <= first <= last", list(codec.cuts))
        READER.once(codec.name, seen, f"{where}.name")
        if codec.name != RAW.name:
            yield codec
        elif replace(codec, cuts=None) != RAW:
            READER.refuse(where, "another name: 'raw' always exists, with ratio 1, no cost and no noise", entry)


def objective_of(name: object) -> Objective:
    """The objective of a name."""
    if not isinstance(name, str) or name not in OBJECTIVES:
        READER.refuse("objective", f"one of {', '.join(OBJECTIVES)}", name)
    return OBJECTIVES[name]


def _seconds_by_variant(
    given: Mapping[str, object], where: str, variants: Sequence[Variant]
) -> Iterable[tuple[str, Floats]]:
    READER.no_misspelling(given, {variant.name for variant in variants}, where)
    for variant in variants:
        if variant.name in given:
            yield variant.name, _of_blocks(given[variant.name], variant, f"{where}.{variant.name}")


def _in_batches(node: Node, form: NodeForm2, where: str, variants: Sequence[Variant]) -> Node:
    """The node with the seconds of whole batches, of the variants that it computes so."""
    if (form.batch is None) == bool(form.batch_block_seconds):
        missing = "batch" if form.batch is None else "batch_block_seconds"
        READER.refuse(f"{where}.{missing}", "both 'batch' and 'batch_block_seconds', or neither", "one of them")
    field = f"{where}.batch_block_seconds"
    seconds = dict(_seconds_by_variant(form.batch_block_seconds, field, variants))
    for name in seconds:
        if name not in node.block_seconds:
            READER.refuse(f"{field}.{name}", "a variant that it has 'block_seconds' of", name)
    return replace(node, block_seconds={**node.block_seconds, **seconds}, batch=dict.fromkeys(seconds, form.batch or 1))


def _loaded(form: NodeForm2, where: str, variants: Mapping[str, Variant]) -> Iterable[Loaded]:
    for index, (name, start, end) in enumerate(form.loaded):
        if name not in variants:
            READER.refuse(f"{where}[{index}]", f"a variant: one of {', '.join(variants)}", name)
        if not start < end <= variants[name].blocks:
            expected = f"two cuts of '{name}', 0 <= first < last <= {variants[name].blocks}"
            READER.refuse(f"{where}[{index}]", expected, f"{start}, {end}")
        yield name, start, end


def _per_block(values: object, variant: Variant, field: str) -> Floats | None:
    return None if values is None else _of_blocks(values, variant, field)


def _of_blocks(values: object, variant: Variant, field: str) -> Floats:
    numbers = READER.numbers(values, field)
    if len(numbers) != variant.blocks:
        expected = f"{variant.blocks} numbers, one per block of the variant"
        READER.refuse(field, expected, f"{len(numbers)} numbers")
    return numbers
