"""Problems of many streams and their answers as JSON has them: the fields, with their limits."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from tiercut.planner.answer_form import ViolationForm
from tiercut.planner.document_forms import ConstraintsForm, DestinationName, LinkForm, ModelForm2, NodeForm2
from tiercut.planner.problem import Amount, Codec, Positive, Share, Text
from tiercut.planner.site.problem import FILLED

Taken = Annotated[dict[str, Share], Meta(description="parts of their time, each at least 0 and at most 1, by name")]
Weight = Annotated[float, Meta(ge=1e-3, le=1e3, description="a number of 0.001 to 1000")]
Ends = Annotated[tuple[str, str], Meta(description="a link as [from, to], the names of two nodes")]


class LineForm(msgspec.Struct, frozen=True):
    """``lines[]``: links, each as ``[from, to]``, that share a line."""

    name: Text
    mbps: Amount
    links: list[Ends]


class StreamForm(msgspec.Struct, frozen=True):
    """``streams[]``."""

    name: Text
    device: Any = None
    model: Any = None
    frames_per_second: Positive | None = None
    weight: Weight = 1.0
    codecs: list[str] | None = None
    constraints: ConstraintsForm = ConstraintsForm()
    destination: DestinationName = None


class SiteForm(msgspec.Struct, frozen=True):
    """A planning problem of many streams."""

    nodes: list[NodeForm2]
    streams: list[StreamForm]
    model: ModelForm2 | None = None
    models: list[ModelForm2] = []
    links: list[LinkForm] = []
    codecs: list[Codec] = []
    lines: list[LineForm] = []
    taken: Taken = {}
    filled: Share = FILLED
    format: Any = None


class WayForm(msgspec.Struct, frozen=True, kw_only=True):
    """One of the plans that a stream's frames follow."""

    variant: str
    device: str
    edge: str | None
    cloud: str | None
    first_cut: int
    second_cut: int
    codecs: list[str]
    frames_per_second: float
    latency_seconds: float


class StreamAnswerForm(msgspec.Struct, frozen=True, kw_only=True):
    """What one stream gets; ``violates`` says why one without ways has none."""

    name: str
    frames_per_second: float
    asked_frames_per_second: float | None
    ways: list[WayForm]
    short: list[str]
    violates: list[ViolationForm] | msgspec.UnsetType = msgspec.UNSET


class SiteAnswerForm(msgspec.Struct, frozen=True, kw_only=True):
    """What a site does."""

    feasible: bool
    frames_per_second: float
    bound_frames_per_second: float
    gap: float
    streams: list[StreamAnswerForm]
    load: dict[str, float]
