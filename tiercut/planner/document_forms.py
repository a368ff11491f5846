"""Planning problems as JSON has them: the fields of both forms, with their limits.

Form 2 adds memory and who waits for the result; `site.document` its many streams. What form 1 does not know stays a
note there, so its problems keep their answers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from tiercut.plan import TIERS, Tier
from tiercut.planner.problem import Amount, Codec, Count, Positive, Share, Text
from tiercut.planner.way_back import Destination

FORM_1, FORM_2 = "tiercut-plan-problem/1", "tiercut-plan-problem/2"
#: Fields that only a site of many streams has, in form 2.
OF_SITES = frozenset({"models", "lines", "taken", "filled"})

#: In a batch.
MOST_FRAMES = 4096

TierName = Annotated[Tier, Meta(description=f"one of {', '.join(TIERS)}")]
DestinationName = Annotated[Destination | None, Meta(description="one of device, site, cloud")]


Frames = Annotated[int, Meta(ge=1, le=MOST_FRAMES, description=f"a whole number of frames, 1 to {MOST_FRAMES}")]
#: ``nodes[].loaded[]``.
LoadedForm = Annotated[
    tuple[str, Count, Count], Meta(description="a segment: [variant, first cut, last cut], with 0 <= first < last")
]


class VariantForm(msgspec.Struct, frozen=True):
    """``model.variants[]``; numbers in lists are read by numpy."""

    name: Text
    cut_bytes: Any = None
    accuracy: Share = 1.0


class VariantForm2(VariantForm, frozen=True):
    """The same with the memory that each block needs."""

    block_weights_mb: Any = None
    block_peak_mb: Any = None


class ModelForm(msgspec.Struct, frozen=True):
    """``model``."""

    variants: list[VariantForm]
    name: Text = "model"


class ModelForm2(msgspec.Struct, frozen=True):
    """The same in form 2."""

    variants: list[VariantForm2]
    name: Text = "model"


class NodeForm(msgspec.Struct, frozen=True):
    """``nodes[]``."""

    id: Text
    tier: TierName
    block_seconds: Mapping[str, Any] = {}
    slowdown: Positive = 1.0
    queue_seconds: Amount = 0.0
    power_watts: Amount = 0.0


class NodeForm2(NodeForm, frozen=True):
    """The same with its memory, and the frames that it computes at once."""

    memory_mb: Amount | None = None
    memory_taken_mb: Amount = 0.0
    loaded: list[LoadedForm] = []
    batch: Frames | None = None
    batch_block_seconds: Mapping[str, Any] = {}


class LinkForm(msgspec.Struct, frozen=True, rename={"start": "from", "end": "to"}):
    """``links[]``: the ends, and the fields of `problem.Link`."""

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


class ProblemForm2(msgspec.Struct, frozen=True):
    """The same in form 2."""

    model: ModelForm2
    nodes: list[NodeForm2]
    objective: Any = None
    links: list[LinkForm] = []
    codecs: list[Codec] = []
    constraints: ConstraintsForm = ConstraintsForm()
    destination: DestinationName = None
    format: Any = None


def tables(
    document: Mapping[str, Any], whole: type, variant: type, node: type
) -> Iterator[tuple[str, Mapping[str, Any], type]]:
    """The objects that may hold notes beside their fields: where each is, and the class that says the fields."""
    yield "", document, whole
    model = document.get("model")
    lists: tuple[tuple[str, object, type], ...] = (
        ("model.variants", model.get("variants") if isinstance(model, Mapping) else None, variant),
        ("nodes", document.get("nodes"), node),
        ("links", document.get("links"), LinkForm),
        ("codecs", document.get("codecs"), Codec),
    )
    for name, rows, kind in lists:
        yield from rows_of(name, rows, kind)


def rows_of(name: str, rows: object, kind: type) -> Iterator[tuple[str, Mapping[str, Any], type]]:
    """The objects of a list."""
    for index, table in enumerate(rows if isinstance(rows, list | tuple) else ()):
        if isinstance(table, Mapping):
            yield f"{name}[{index}]", table, kind
