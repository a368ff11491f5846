"""The plan of a stream: where its model is cut, who runs what, how tensors travel."""

from __future__ import annotations

import math
from typing import Annotated, Literal, get_args

from msgspec import Meta, Struct

from tiercut.errors import SettingsError
from tiercut.fields import CodecName, Count, Name, ShortText, always, reason

#: Name of the variant that is the whole model.
FULL = "full"

Tier = Literal["device", "edge", "cloud"]
TIERS: tuple[Tier, ...] = get_args(Tier)


#: A result that comes later is of use to nobody.
MAX_DEADLINE_S = 3600.0
#: A stream that changes its plan every second reaches it in 68 years.
MAX_EPOCH = 2**31


def known_tier(text: str) -> Tier | None:
    """The tier of a name, ``None`` when it is none."""
    return next((tier for tier in TIERS if tier == text), None)


def node_id(tier: Tier, name: str) -> str:
    """What names a node among those of all tiers (names are unique within a tier only): ``edge/porch``."""
    return f"{tier}/{name}"


def name_of(identity: str) -> str:
    """The name in such an id."""
    return identity.rpartition("/")[2]


#: What happens when frames queue up: the newest wins and older ones are dropped, or none is and the sensor waits.
DeliveryMode = Literal["latest", "every"]


#: A frame has time to spare if it has so many times what the rest of its way takes at least.
WITH_CARE = 1.5
#: (an edge takes part, a cloud node does) → the hops of a frame: ``(from tier, to tier)``
_HOPS: dict[tuple[bool, bool], tuple[tuple[Tier, Tier], ...]] = {
    (False, False): (),
    (True, False): (("device", "edge"),),
    (False, True): (("device", "cloud"),),
    (True, True): (("device", "edge"), ("edge", "cloud")),
}

_Rest = Annotated[float, Meta(ge=0, le=MAX_DEADLINE_S)]


class Deadline(Struct, frozen=True, kw_only=True):
    """When the result of a frame is of use, and how a plan keeps to it.

    Attributes:
        seconds: After capture.
        drop: Frames that cannot make it any more are dropped. ``False``: no plan makes it, this is the fastest one, and
            results are published however late they are.
        rest_s: Least seconds to the result from when a frame reaches each node of the route, device first; empty where
            nobody knows.
        in_flight: Frames that may be in flight before they wait for each other; ``None`` where that is unknown.
    """

    seconds: Annotated[float, Meta(gt=0, le=MAX_DEADLINE_S)]
    drop: bool = True
    rest_s: Annotated[tuple[_Rest, ...], Meta(max_length=len(TIERS))] = ()
    in_flight: Annotated[int, Meta(ge=1)] | None = None

    def __post_init__(self) -> None:
        times_fit = 0 < self.seconds <= MAX_DEADLINE_S and all(0 <= each <= MAX_DEADLINE_S for each in self.rest_s)
        if not times_fit or (self.in_flight is not None and self.in_flight < 1):
            raise SettingsError(
                "a plan's deadline is not valid",
                expected=f"more than 0 seconds, times of 0 to {MAX_DEADLINE_S:g} s, and at least one frame in flight",
                came=f"{self.seconds} s, rest {list(self.rest_s)}, in flight {self.in_flight}",
                fix="correct it",
            )


def _unsound(expected: str, came: str, fix: str) -> SettingsError:
    return SettingsError("a plan is inconsistent", expected=expected, came=came, fix=fix)


class Plan(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Two cuts, an exit, the nodes and the codecs of one stream.

    The device runs ``[0, first_cut)``, the edge ``[first_cut, second_cut)``, the cloud ``[second_cut, end)``, as in
    the planning problem, version 1. Without an edge ``first_cut == second_cut``; without a cloud ``second_cut`` is the
    end of the model, which only the bundle knows (`check_fits`).

    Attributes:
        epoch: Number of the plan within its stream, counted up at each change.
        first_cut: Cut point at the end of the device's segment.
        second_cut: Cut point at the end of the edge's segment.
        exit: Name of the variant: ``"full"``, an early exit, or another input size.
        threshold: Frames leave at any earlier exit that is at least so sure, 0..1; ``None``: none does.
        deadline: When results are of use.
        device: Node id of the device.
        edge: Node id of the edge, ``None`` when no frame goes there. With ``first_cut == second_cut`` it only relays.
        cloud: Node id of the cloud node, ``None`` when no frame goes there.
        codecs: One codec name per hop, in the order of the hops.
    """

    epoch: Annotated[int, Meta(ge=0, lt=MAX_EPOCH), reason("bad_plan")]
    first_cut: Count
    second_cut: Count
    exit: ShortText = always(FULL)
    device: Name
    edge: Name | None = always(None)
    cloud: Name | None = always(None)
    codecs: Annotated[tuple[CodecName, ...], Meta(max_length=len(TIERS) - 1)] = always(())
    threshold: Annotated[float, Meta(ge=0, le=1), reason("bad_plan")] | None = None
    deadline: Annotated[Deadline, reason("bad_deadline")] | None = None

    def __post_init__(self) -> None:
        if self.epoch < 0 or not 0 <= self.first_cut <= self.second_cut:
            came = f"epoch {self.epoch}, first_cut {self.first_cut}, second_cut {self.second_cut}"
            raise _unsound("epoch >= 0 and 0 <= first_cut <= second_cut", came, "swap or correct the cuts")
        if self.edge is None and self.first_cut != self.second_cut:
            came = f"first_cut {self.first_cut}, second_cut {self.second_cut}, no edge"
            expected = "first_cut equal to second_cut when no edge takes part"
            raise _unsound(expected, came, "name an edge, or make the cuts equal")
        if self.threshold is not None and not 0 <= self.threshold <= 1:
            raise SettingsError(
                "a plan's threshold is not valid",
                expected="a confidence of 0 to 1, from which on frames leave at an early exit",
                came=str(self.threshold),
                fix="correct it, or omit it so that no frame leaves early",
            )
        if self.deadline is not None and len(self.deadline.rest_s) not in {0, len(self.hops) + 1}:
            expected = f"a rest of the deadline per node, {len(self.hops) + 1} in all, or none"
            raise _unsound(expected, f"{len(self.deadline.rest_s)}", "correct it")
        if len(self.codecs) != len(self.hops):
            came = f"{len(self.codecs)} codecs {list(self.codecs)}"
            raise _unsound(
                f"one codec per hop, {len(self.hops)} in all", came, "give one codec per hop, 'raw' for none"
            )

    @property
    def hops(self) -> tuple[tuple[Tier, Tier], ...]:
        """The hops a frame takes, in order: ``(from tier, to tier)``."""
        return _HOPS[self.edge is not None, self.cloud is not None]

    def node(self, tier: Tier) -> str | None:
        """Node id of a tier, ``None`` when the tier takes no part."""
        return self.device if tier == "device" else self.edge if tier == "edge" else self.cloud

    def next_tier(self, tier: Tier) -> Tier:
        """Where the hop leads that leaves a tier; the tier must have one."""
        return "edge" if tier == "device" and self.edge is not None else "cloud"

    def rest_s(self, tier: Tier) -> float:
        """Least seconds from a frame's arrival at a tier, which takes part, to its result; 0 where that is unknown."""
        if self.deadline is None or not self.deadline.rest_s:
            return 0.0
        return self.deadline.rest_s[["device", *(to for _, to in self.hops)].index(tier)]

    def due_s(self, tier: Tier, deadline_s: float | None, captured_s: float) -> float:
        """When work on a frame must begin at a tier, for it to make its deadline even if all takes somewhat longer.

        Args:
            tier: It takes part.
            deadline_s: The frame's.
            captured_s: When it was captured, on any clock; the answer is on the same.

        Returns:
            Infinity where nothing is lost by being late.
        """
        if deadline_s is None or (self.deadline is not None and not self.deadline.drop):
            return math.inf
        return captured_s + deadline_s - WITH_CARE * self.rest_s(tier)

    def due_still_s(self, tier: Tier, due_s: float, now_s: float) -> float:
        """The same as it is seen at a time: a frame that cannot make its deadline any more has no hurry."""
        if not math.isfinite(due_s):
            return due_s
        return due_s if due_s + (WITH_CARE - 1) * self.rest_s(tier) >= now_s else math.inf

    def codec_after(self, tier: Tier) -> str:
        """Codec of the hop that leaves a tier; the tier must have one."""
        return self.codecs[0 if tier == "device" else 1]

    def passes(self, tier: Tier, cut: int) -> bool:
        """Whether a tier only passes on a frame that has got to ``cut``: another one does all that is left."""
        if tier == "device":
            return bool(self.hops) and cut == self.first_cut
        return tier == "edge" and self.edge is not None and self.cloud is not None and cut == self.second_cut

    def segment_end(self, tier: Tier, end: int) -> int:
        """Cut point where a tier's segment ends, in a model that ends at cut ``end``.

        The last tier on the route runs to the end whatever the plan's numbers say.
        """
        if tier == "cloud" or (self.cloud is None and (tier == "edge" or self.edge is None)):
            return end
        return self.first_cut if tier == "device" else self.second_cut

    def check_fits(self, end: int, *, model: str) -> None:
        """Check the cuts against a model that ends at cut ``end``.

        Raises:
            SettingsError: a cut is past the end, or the last tier on the route would stop short of it.
        """
        last = self.first_cut if not self.hops else self.second_cut
        if self.second_cut > end or (self.cloud is None and last != end):
            wanted = f"0 <= first_cut <= second_cut <= {end}" + (
                "" if self.cloud else f", and second_cut {end} because no cloud node takes part"
            )
            raise SettingsError(
                f"the plan does not fit the model '{model}'",
                expected=wanted,
                came=f"first_cut {self.first_cut}, second_cut {self.second_cut}",
                fix="choose cuts from the table that 'tiercut inspect BUNDLE' prints",
            )
