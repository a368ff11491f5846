"""A planning problem, version 1, read and checked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, cast, get_args

from tiercut.plan import TIERS, Tier
from tiercut.planner.fields import (
    Floats,
    a_list,
    a_map,
    a_text,
    integer,
    no_misspelling,
    number,
    numbers,
    one_of,
    refuse,
)

FORMAT = "tiercut-plan-problem/1"

Objective = Literal["latency", "accuracy", "energy", "throughput"]
OBJECTIVES: tuple[Objective, ...] = get_args(Objective)

_PROBLEM = ("format", "model", "nodes", "links", "codecs", "objective", "constraints")
_VARIANT = ("name", "accuracy", "cut_bytes")
_NODE = ("id", "tier", "block_seconds", "slowdown", "queue_seconds", "power_watts")
_LINK = ("from", "to", "latency_seconds", "mbps", "watts")
_CODEC = ("name", "ratio", "encode_seconds_per_mb", "decode_seconds_per_mb", "accuracy_drop", "cuts", "noise")
_CONSTRAINTS = ("min_first_cut", "deadline_seconds", "max_accuracy_drop", "min_noise")


@dataclass(frozen=True, slots=True)
class Variant:
    """One way through the network; ``cut_bytes`` has one entry more than there are blocks."""

    name: str
    accuracy: float
    cut_bytes: Floats

    @property
    def blocks(self) -> int:
        """How many blocks the variant has."""
        return len(self.cut_bytes) - 1


@dataclass(frozen=True, slots=True)
class Node:
    """One node; ``block_seconds`` by variant name, of those variants it can run."""

    id: str
    tier: Tier
    block_seconds: Mapping[str, Floats]
    slowdown: float
    queue_seconds: float
    power_watts: float


@dataclass(frozen=True, slots=True)
class Link:
    """One directed link."""

    latency_seconds: float
    mbps: float
    watts: float


@dataclass(frozen=True, slots=True)
class Codec:
    """One codec.

    Attributes:
        name: As plans have it.
        ratio: Bytes in by bytes out.
        encode_seconds_per_mb: Seconds per 1e6 bytes in.
        decode_seconds_per_mb: The same.
        accuracy_drop: Accuracy lost.
        cuts: First and last cut it may be used at, ``None`` for every cut between blocks.
        noise: Scale of the noise that it adds to what it encodes.
    """

    name: str
    ratio: float = 1.0
    encode_seconds_per_mb: float = 0.0
    decode_seconds_per_mb: float = 0.0
    accuracy_drop: float = 0.0
    cuts: tuple[int, int] | None = None
    noise: float = 0.0


#: What always exists; usable at every cut that is sent.
RAW = Codec("raw")


@dataclass(frozen=True, slots=True)
class Problem:
    """All that a choice of cuts depends on. ``codecs`` begins with `RAW`; ``max_first_cut`` serves the baselines."""

    name: str
    variants: tuple[Variant, ...]
    device: Node
    edges: tuple[Node, ...]
    clouds: tuple[Node, ...]
    links: Mapping[tuple[str, str], Link]
    codecs: tuple[Codec, ...]
    objective: Objective
    min_first_cut: int = 0
    deadline_seconds: float | None = None
    max_accuracy_drop: float | None = None
    min_noise: float | None = None
    max_first_cut: int | None = None

    @property
    def best_accuracy(self) -> float:
        """Accuracy of the best variant, from which ``max_accuracy_drop`` counts."""
        return max(variant.accuracy for variant in self.variants)


def parse(document: Mapping[str, Any]) -> Problem:
    """Read a problem.

    Raises:
        SettingsError: a field is missing, of the wrong type or out of range, or the parts contradict each other.
    """
    document = a_map(document, "the problem")
    one_of(document, "format", "", (FORMAT,))
    no_misspelling(document, "", _PROBLEM)
    model = a_map(document.get("model"), "model")
    variants = tuple(_variants(model))
    nodes = tuple(_nodes(document, {variant.name: variant.blocks for variant in variants}))
    constraints = a_map(document.get("constraints", {}), "constraints")
    for name in constraints:
        if name not in _CONSTRAINTS:
            refuse(f"constraints.{name}", f"one of {', '.join(_CONSTRAINTS)}", str(name))
    return Problem(
        name=a_text(model, "name", "model", "model"),
        variants=variants,
        device=_the_device(nodes),
        edges=tuple(node for node in nodes if node.tier == "edge"),
        clouds=tuple(node for node in nodes if node.tier == "cloud"),
        links=dict(_links(document, {node.id for node in nodes})),
        codecs=(RAW, *_codecs(document)),
        objective=cast("Objective", one_of(document, "objective", "", OBJECTIVES)),
        min_first_cut=integer(constraints, "min_first_cut", "constraints", 0),
        deadline_seconds=_optional(constraints, "deadline_seconds"),
        max_accuracy_drop=_optional(constraints, "max_accuracy_drop"),
        min_noise=_optional(constraints, "min_noise"),
    )


def _variants(model: Mapping[str, Any]) -> Iterable[Variant]:
    entries = a_list(model.get("variants"), "model.variants")
    if not entries:
        refuse("model.variants", "at least one variant", entries)
    seen: set[str] = set()
    for index, item in enumerate(entries):
        where = f"model.variants[{index}]"
        entry = a_map(item, where)
        no_misspelling(entry, where, _VARIANT)
        name = a_text(entry, "name", where)
        _once(name, seen, f"{where}.name")
        cut_bytes = numbers(entry.get("cut_bytes"), f"{where}.cut_bytes")
        if len(cut_bytes) < 2:  # noqa: PLR2004 - one block has two ends
            refuse(f"{where}.cut_bytes", "one entry more than there are blocks, so at least 2", entry["cut_bytes"])
        yield Variant(name, number(entry, "accuracy", where, default=1.0, most=1.0), cut_bytes)


def _nodes(document: Mapping[str, Any], blocks: Mapping[str, int]) -> Iterable[Node]:
    seen: set[str] = set()
    for index, item in enumerate(a_list(document.get("nodes"), "nodes")):
        where = f"nodes[{index}]"
        entry = a_map(item, where)
        no_misspelling(entry, where, _NODE)
        node = a_text(entry, "id", where)
        _once(node, seen, f"{where}.id")
        yield Node(
            id=node,
            tier=cast("Tier", one_of(entry, "tier", where, TIERS)),
            block_seconds=dict(_block_seconds(entry, where, blocks)),
            slowdown=number(entry, "slowdown", where, default=1.0, above=0.0),
            queue_seconds=number(entry, "queue_seconds", where, default=0.0),
            power_watts=number(entry, "power_watts", where, default=0.0),
        )


def _block_seconds(entry: Mapping[str, Any], where: str, blocks: Mapping[str, int]) -> Iterable[tuple[str, Floats]]:
    table = a_map(entry.get("block_seconds", {}), f"{where}.block_seconds")
    no_misspelling(table, f"{where}.block_seconds", blocks)
    for name, count in blocks.items():
        if name in table:
            field = f"{where}.block_seconds.{name}"
            seconds = numbers(table[name], field)
            if len(seconds) != count:
                refuse(field, f"{count} numbers, one per block of the variant", f"{len(seconds)} numbers")
            yield name, seconds


def _the_device(nodes: tuple[Node, ...]) -> Node:
    devices = [node for node in nodes if node.tier == "device"]
    if len(devices) != 1:
        refuse("nodes", "exactly one with tier 'device'", [node.id for node in devices])
    return devices[0]


def _links(document: Mapping[str, Any], nodes: set[str]) -> Iterable[tuple[tuple[str, str], Link]]:
    seen: set[str] = set()
    for index, item in enumerate(a_list(document.get("links", []), "links")):
        where = f"links[{index}]"
        entry = a_map(item, where)
        no_misspelling(entry, where, _LINK)
        ends = tuple(one_of(entry, key, where, sorted(nodes)) for key in ("from", "to"))
        _once(f"{ends[0]} to {ends[1]}", seen, where)
        yield (
            (ends[0], ends[1]),
            Link(
                latency_seconds=number(entry, "latency_seconds", where),
                mbps=number(entry, "mbps", where, above=0.0),
                watts=number(entry, "watts", where, default=0.0),
            ),
        )


def _codecs(document: Mapping[str, Any]) -> Iterable[Codec]:
    seen: set[str] = set()
    for index, item in enumerate(a_list(document.get("codecs", []), "codecs")):
        where = f"codecs[{index}]"
        entry = a_map(item, where)
        no_misspelling(entry, where, _CODEC)
        codec = Codec(
            name=a_text(entry, "name", where),
            ratio=number(entry, "ratio", where, above=0.0),
            encode_seconds_per_mb=number(entry, "encode_seconds_per_mb", where, default=0.0),
            decode_seconds_per_mb=number(entry, "decode_seconds_per_mb", where, default=0.0),
            accuracy_drop=number(entry, "accuracy_drop", where, default=0.0, most=1.0),
            cuts=_cuts(entry.get("cuts"), f"{where}.cuts"),
            noise=number(entry, "noise", where, default=0.0),
        )
        _once(codec.name, seen, f"{where}.name")
        if codec.name != RAW.name:
            yield codec
        elif replace(codec, cuts=None) != RAW:
            refuse(where, "another name: 'raw' always exists, with ratio 1, no cost and no noise", item)


def _cuts(value: object, field: str) -> tuple[int, int] | None:
    if value is None:
        return None
    cuts = a_list(value, field)
    whole = all(isinstance(cut, int) and not isinstance(cut, bool) for cut in cuts)
    if not whole or len(cuts) != 2 or not 0 <= cuts[0] <= cuts[1]:  # noqa: PLR2004 - first and last
        refuse(field, "two cuts, [first, last], with 0 <= first <= last", value)
    return cuts[0], cuts[1]


def _optional(constraints: Mapping[str, Any], key: str) -> float | None:
    return None if constraints.get(key) is None else number(constraints, key, "constraints")


def _once(name: str, seen: set[str], field: str) -> None:
    if name in seen:
        refuse(field, "a name that no other has", name, "rename one of the two")
    seen.add(name)
