"""A planning problem: all that a choice of cuts depends on. `document` reads one from JSON."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, NoReturn

from msgspec import Meta

from tiercut.errors import SettingsError
from tiercut.plan import Tier
from tiercut.planner.objectives import Floats, Objective

if TYPE_CHECKING:
    from tiercut.planner.way_back import WayBack

#: Greatest number that a problem may hold: sums of such are finite.
MAX_NUMBER = 1e300

Amount = Annotated[float, Meta(ge=0, le=MAX_NUMBER, description="a number at least 0")]
Positive = Annotated[float, Meta(gt=0, le=MAX_NUMBER, description="a number greater than 0")]
Share = Annotated[float, Meta(ge=0, le=1, description="a number at least 0 and at most 1")]
Text = Annotated[str, Meta(min_length=1, description="a text that is not empty")]
Count = Annotated[int, Meta(ge=0, description="a whole number, at least 0")]
#: A segment that a node has loaded: variant, first cut, last cut.
Loaded = tuple[str, int, int]
CutRange = Annotated[tuple[Count, Count] | None, Meta(description="two cuts, [first, last], with 0 <= first <= last")]


@dataclass(frozen=True, slots=True, eq=False)
class Variant:
    """One way through the network; ``cut_bytes`` has one entry more than there are blocks.

    ``block_weights_mb`` is what a block's weights take as long as it is loaded, ``block_peak_mb`` what its activations
    take while it runs (`memory`); ``None`` where unknown, which counts as nothing.
    """

    name: str
    accuracy: float
    cut_bytes: Floats
    block_weights_mb: Floats | None = None
    block_peak_mb: Floats | None = None

    @property
    def blocks(self) -> int:
        """How many blocks the variant has."""
        return len(self.cut_bytes) - 1


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """One node; ``block_seconds`` by variant name, of those variants it can run.

    ``memory_mb`` is what models may take there, ``None`` without a limit; ``memory_taken_mb`` of it is taken whichever
    plan is chosen: by other streams' segments, or by the program itself where ``memory_mb`` is all that there is.
    Segments that are ``loaded`` are part of what is taken: a plan that runs one of them needs nothing more for it.
    ``batch`` says how many frames of a variant the node computes at once, where that is more than one: then its
    ``block_seconds`` are those of all of them.
    """

    id: str
    tier: Tier
    block_seconds: Mapping[str, Floats]
    slowdown: float = 1.0
    queue_seconds: float = 0.0
    power_watts: float = 0.0
    memory_mb: float | None = None
    memory_taken_mb: float = 0.0
    loaded: frozenset[Loaded] = frozenset()
    batch: Mapping[str, int] = field(default_factory=dict)

    @property
    def free_mb(self) -> float | None:
        """What a plan's segment may take there, MB; ``None`` for any."""
        return None if self.memory_mb is None else max(0.0, self.memory_mb - self.memory_taken_mb)

    def frames_of(self, variant: str) -> int:
        """How many frames of a variant it computes at once."""
        return self.batch.get(variant, 1)

    def __post_init__(self) -> None:
        if any(frames < 1 for frames in self.batch.values()):
            _refuse(f"the node '{self.id}'", "a batch of 1 frame or more", dict(self.batch))
        if not (self.memory_mb is None or 0 <= self.memory_mb < math.inf) or not 0 <= self.memory_taken_mb < math.inf:
            _refuse(f"the node '{self.id}'", "memory_mb and memory_taken_mb of 0 or more", self)
        fits = 0 < self.slowdown < math.inf and 0 <= self.queue_seconds < math.inf and 0 <= self.power_watts < math.inf
        if not fits:
            _refuse(f"the node '{self.id}'", "a slowdown above 0; queue_seconds and power_watts of 0 or more", self)


@dataclass(frozen=True, slots=True)
class Link:
    """One directed link."""

    latency_seconds: Amount
    mbps: Positive
    watts: Amount = 0.0

    def __post_init__(self) -> None:
        if not (0 <= self.latency_seconds <= math.inf and 0 < self.mbps < math.inf and 0 <= self.watts < math.inf):
            _refuse("a link", "mbps above 0; latency_seconds and watts of 0 or more", self)


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

    name: Text
    ratio: Positive
    encode_seconds_per_mb: Amount = 0.0
    decode_seconds_per_mb: Amount = 0.0
    accuracy_drop: Share = 0.0
    cuts: CutRange = None
    noise: Amount = 0.0


#: What always exists; usable at every cut that is sent.
RAW = Codec("raw", 1.0)


@dataclass(frozen=True, slots=True, eq=False)
class Problem:
    """All that a choice of cuts depends on.

    Attributes:
        name: The model's, for people.
        variants: At least one.
        device: Where frames come from.
        edges: In the order that decides between equal plans.
        clouds: The same.
        links: By (from, to).
        codecs: Begins with `RAW`.
        objective: What is best.
        min_first_cut: Blocks that the device must run.
        deadline_seconds: Latency that plans keep to.
        max_accuracy_drop: Accuracy that plans may lose, below the best variant.
        min_noise: Noise that the codec of the first hop must add.
        max_first_cut: Blocks that the device may run; serves the baselines.
        way_back: Of the result, to whoever waits for it: latencies then have it in them. ``None``: they end where the
            model does.
    """

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
    way_back: WayBack | None = None

    @property
    def nodes(self) -> tuple[Node, ...]:
        """The device, the edges, the clouds."""
        return (self.device, *self.edges, *self.clouds)

    def back_seconds(self, node: str) -> float:
        """What the result's way back takes from a node."""
        return 0.0 if self.way_back is None else self.way_back.seconds.get(node, math.inf)

    @property
    def best_accuracy(self) -> float:
        """Accuracy of the best variant, from which ``max_accuracy_drop`` counts."""
        return max(variant.accuracy for variant in self.variants)

    def with_nodes(self, changed: Callable[[Node], Node]) -> Problem:
        """The problem with other figures of its nodes."""
        return replace(
            self,
            device=changed(self.device),
            edges=tuple(map(changed, self.edges)),
            clouds=tuple(map(changed, self.clouds)),
        )

    def without(self, nodes: AbstractSet[str]) -> Problem:
        """The problem without some edges and clouds, and without their links; the device stays."""
        nodes = nodes - {self.device.id}
        return replace(
            self,
            edges=tuple(node for node in self.edges if node.id not in nodes),
            clouds=tuple(node for node in self.clouds if node.id not in nodes),
            links={ends: link for ends, link in self.links.items() if nodes.isdisjoint(ends)},
        )


def _refuse(what: str, expected: str, came: object) -> NoReturn:
    raise SettingsError(f"{what} is wrong", expected=expected, came=str(came)[:200], fix="correct the problem")
